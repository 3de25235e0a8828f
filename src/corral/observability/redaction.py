"""Keeps secrets out of what is written: values of keys that sound secret, and credentials inside of texts."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

MASK = "[redacted]"
TEXT_MAX = 32_768
"""Longer texts are cut: a log line is not an archive."""

_DEPTH_MAX = 6
_KEY_MAX = 64

_SECRET_KEY = re.compile(
    r"(?i)(^|[_\-.])(authorization|api[_-]?key|password|passwd|secret|token|cookie|credential)s?($|[_\-.])"
)
_CREDENTIAL = re.compile(
    r"(?i)((?:authorization|api[_-]?key|password|passwd|secret|token)[\"']?\s?[=:]\s?[\"']?)"  # what comes after its name
    r"(?!\[redacted\]|(?:(?:bearer|basic)\s+)?…[`.]*(?:[\s\"',;)}\]]|$))"  # nor what only stands in the place of one
    r"(?:(?:bearer|basic)\s+)?[^\s\"',;&)}\]]+"
    r"|\b(?:bearer|basic(?=\s+[a-z]*[0-9+/=]))\s+[a-z0-9._~+/=-]{8,}"  # an Authorization header's value
    r"|\b(?:sk|pk|rk)-[a-z0-9_-]{16,}"  # keys of model providers
    r"|\bAKIA[0-9A-Z]{16}\b"  # AWS access keys
    r"|\bgh[opusr]_[a-z0-9]{20,}"  # GitHub tokens
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"  # JSON web tokens
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # a password in a URL
)
_HINTS = (
    *("bearer", "basic", "key", "pass", "secret", "token", "authorization", "sk-", "pk-", "rk-", "akia", "eyj", "://"),
    *("gho_", "ghp_", "ghu_", "ghs_", "ghr_"),
)
_harmless: set[str] = set()
"""Short texts in which there was not even a hint: names of models, of tools, of agents come again and again."""
_plain_keys: set[str] = set()
"""Short names that sound like no secret."""
_SHORT, _HARMLESS_MAX = 40, 4096
_PLAIN = frozenset({int, float, bool, type(None), date, time, timedelta, Decimal, UUID})


def redacted(value: Any, depth: int = 0) -> Any:
    """The value as plain data that JSON can hold, with secrets masked. Never raises."""
    kind = type(value)
    if kind is str:
        return redacted_text(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, str | PurePath):
        return redacted_text(str(value))
    if depth < _DEPTH_MAX:
        try:
            return _redacted_inside(value, depth + 1)
        except Exception:  # noqa: BLE001 - a container of the user's may do anything; its text is shown instead
            return _shown(value)
    return _shown(value)


def _redacted_inside(value: Any, depth: int) -> Any:
    if type(value) is dict:
        if value.keys() <= _plain_keys:  # as nearly always: a span's, an entry's
            return {
                key: part
                if type(part) in _PLAIN or (type(part) is str and part in _harmless)
                else redacted(part, depth)
                for key, part in value.items()
            }
        parts: Mapping[Any, Any] | None = value
    elif isinstance(value, list | tuple | set | frozenset):
        return [redacted(part, depth) for part in value]
    else:
        parts = _parts(value)
    if parts is None:
        return _shown(value)
    return {
        _key(key): MASK if is_secret(key) else part if type(part) in _PLAIN else redacted(part, depth)
        for key, part in parts.items()
    }


def redacted_text(text: str) -> str:
    """The text with credentials masked, and cut when it is very long."""
    if text in _harmless:
        return text
    if len(text) > TEXT_MAX:
        text = f"{text[:TEXT_MAX]}… ({len(text)} characters)"
    clean = without_credentials(text)
    if clean is text and len(text) <= _SHORT:
        if len(_harmless) >= _HARMLESS_MAX:
            _harmless.clear()
        _harmless.add(text)
    return clean


def without_credentials(text: str) -> str:
    """The text with credentials masked, however long it is; without a hint of any it is the very same."""
    lower = text.lower()
    for hint in _HINTS:  # a search for plain words is ten times cheaper than the expression, which most texts then skip
        if hint in lower:
            return _CREDENTIAL.sub(_mask, text)
    return text


def is_secret(key: object) -> bool:
    """Whether a key's value is to be masked. Counts of tokens are no secret."""
    if type(key) is str and len(key) <= _KEY_MAX:
        secret = _sounds_secret(key)  # the same few names come again and again
        if not secret:
            if len(_plain_keys) >= _HARMLESS_MAX:
                _plain_keys.clear()
            _plain_keys.add(key)
        return secret
    return isinstance(key, str) and _sounds_secret.__wrapped__(key)


@functools.lru_cache(maxsize=4096)
def _sounds_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None and not key.lower().endswith("_tokens")


def _mask(found: re.Match[str]) -> str:
    return f"{found[1] or ''}{MASK}"


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """What a mapping, a dataclass or a msgspec struct consists of."""
    if isinstance(value, Mapping):
        return value
    names = getattr(type(value), "__struct_fields__", None) or getattr(type(value), "__dataclass_fields__", None)
    return None if names is None else {name: getattr(value, name) for name in names}


def _key(key: object) -> str:
    return key if type(key) is str else str(key)


def _shown(value: object) -> str:
    try:
        return redacted_text(repr(value))
    except Exception:  # noqa: BLE001 - a user's __repr__ may do anything
        return f"<{type(value).__name__}>"
