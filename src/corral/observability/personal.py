"""Words about people that nobody need keep: addresses, numbers of telephones, cards and accounts, and credentials beside them.

What is found has the form of such a thing and, where it has check digits, the right ones. Names of people have no form, and stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from corral.observability.redaction import without_credentials

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_CARD = re.compile(r"(?<![\w-])[0-9](?:[ -]?[0-9]){12,18}(?![\w-])", flags=re.ASCII)
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{1,4}){3,8}\b", flags=re.ASCII)
_SOCIAL = re.compile(r"(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])", flags=re.ASCII)
_PHONE = re.compile(
    r"(?<![\w+])\+[0-9][0-9 ().-]{6,20}[0-9](?!\w)"  # with the country's number
    r"|(?<![\w(+-])\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}(?![\w-])",
    flags=re.ASCII,
)
_PHONE_MIN, _PHONE_MAX = 8, 15
_CARD_MIN = 13


def masked(value: Any) -> Any:
    """JSON with its texts masked; names of members stay."""
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, list | tuple):
        return [masked(one) for one in value]
    if isinstance(value, dict):
        return {name: masked(one) for name, one in value.items()}
    return value


def masked_text(text: str) -> str:
    """A text with what is personal in it replaced by what it was: `[email]`, `[card]`, `[iban]`, `[ssn]`, `[phone]`, `[redacted]`.

    Masked again it stays the same.
    """
    text = without_credentials(text)
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    if not any(sign in text for sign in "0123456789"):
        return text
    text = _IBAN.sub(_checked("[iban]", _is_iban), text)
    text = _CARD.sub(_checked("[card]", _is_card), text)
    text = _SOCIAL.sub("[ssn]", text)
    return _PHONE.sub(_checked("[phone]", _is_phone), text)


def _checked(mask: str, is_one: Callable[[str], bool]) -> Callable[[re.Match[str]], str]:
    return lambda found: mask if is_one(found[0]) else found[0]


def _digits(text: str) -> list[int]:
    return [int(sign) for sign in text if sign.isdigit()]


def _is_card(text: str) -> bool:
    """By its check digit (Luhn)."""
    digits = _digits(text)[::-1]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[1::2]]  # noqa: PLR2004 - the sum of its two digits
    return len(digits) >= _CARD_MIN and (sum(digits[::2]) + sum(doubled)) % 10 == 0 and any(digits)


def _is_iban(text: str) -> bool:
    """By its check digits (ISO 7064)."""
    plain = text.replace(" ", "")
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    return _PHONE_MIN <= len(_digits(text)) <= _PHONE_MAX
