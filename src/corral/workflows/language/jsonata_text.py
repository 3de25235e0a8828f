"""The functions of JSONata that read and make text: bounded, and with patterns and pictures that cannot take long."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from corral.workflows.language import regexes
from corral.workflows.language.jsonata_bounds import ITEMS_MAX, TEXT_MAX, too_big
from corral.workflows.language.jsonata_library import Functions, JException, Utils
from corral.workflows.language.jsonata_values import number_of, refuse_nulls, running, text_of

PICTURE_MAX = 256
WORDS_MAX = 10**21
_WIDE = re.compile(r",[^\]]*\d{4}")


def as_string(value: Any, pretty: Any) -> Any:
    """`$string`."""
    if isinstance(value, Utils.JList) and value.outer_wrapper:
        value = value[0]
    return None if value is None else text_of(value, pretty=bool(pretty) and pretty is not Utils.NULL_VALUE)


def lowercase(text: Any) -> Any:
    """`$lowercase`."""
    refuse_nulls(text)
    return None if text is None else text.lower()


def pad(text: Any, width: Any, filler: Any) -> Any:
    """`$pad`."""
    refuse_nulls(text, width, filler)
    if text is None or width is None:
        return text
    missing = abs(int(width)) - len(text)
    if missing <= 0:
        return text
    running().bounds.text(abs(int(width)))
    filler = filler or " "
    padding = (filler * (missing // len(filler) + 1))[:missing]
    return padding + text if width < 0 else text + padding


def join(texts: Any, separator: Any) -> Any:
    """`$join`."""
    refuse_nulls(separator)
    if texts is None:
        return None
    separator = separator or ""
    if any(not isinstance(one, str) for one in texts):
        raise JException("T0412", -1, 1, "join", "s")
    running().bounds.text(sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1))
    return separator.join(texts)


def split(text: Any, separator: Any, limit: Any) -> Any:
    """`$split`, at text or at a pattern."""
    refuse_nulls(text, limit)
    if text is None:
        return None
    if limit is not None and limit < 0:
        raise JException("D3020", -1, text)
    most = ITEMS_MAX if limit is None else int(limit)
    if isinstance(separator, str):
        pieces = list(text[: most + 1]) if not separator else text.split(separator, min(most, ITEMS_MAX) + 1)
    else:
        pieces = separator.split(text, min(most, ITEMS_MAX) + 1)
    pieces = pieces if limit is None else pieces[:most]
    running().bounds.items(len(pieces))
    return pieces


def _pattern(given: Any) -> regexes.Pattern:
    if not isinstance(given, regexes.Pattern):
        raise JException("T1010", -1, "match")
    return given


def match_all(text: Any, pattern: Any, limit: Any) -> Any:
    """`$match`."""
    refuse_nulls(text, limit)
    if text is None:
        return None
    if limit is not None and limit < 0:
        raise JException("D3040", -1, limit)
    found = Utils.create_sequence()
    for number, match in enumerate(_pattern(pattern).finditer(text)):
        if limit is not None and number >= limit:
            break
        groups = [group if group is not None else "" for group in match.groups()]
        one = {"match": match.group(), "index": match.start(), "groups": groups}
        running().bounds.made(one)
        found.append(one)
    return found


def contains(text: Any, token: Any) -> Any:
    """`$contains`."""
    if text is None or text is Utils.NULL_VALUE:
        return None
    return token in text if isinstance(token, str) else _pattern(token).search(text) is not None


def replace(text: Any, pattern: Any, replacement: Any, limit: Any) -> Any:
    """`$replace`, of text or of a pattern, by text or by what a function gives."""
    refuse_nulls(text, limit)
    if text is None:
        return None
    if pattern == "":
        raise JException("D3010", -1)
    if limit is not None and limit < 0:
        raise JException("D3011", -1)
    if limit is not None and int(limit) == 0:
        return text
    bounds, size = running().bounds, len(text)

    def counted(made: str) -> str:
        nonlocal size
        size += len(made)
        if size > TEXT_MAX:
            raise too_big("a text grows too long")
        return made

    count = -1 if limit is None else int(limit)
    if isinstance(pattern, str):
        if not isinstance(replacement, str):
            raise JException("D3012", -1)
        times = text.count(pattern) if count < 0 else min(count, text.count(pattern))
        bounds.text(len(text) + times * max(0, len(replacement) - len(pattern)))
        return text.replace(pattern, replacement, count)
    return _pattern(pattern).sub(lambda match: counted(_replaced(match, replacement)), text, max(count, 0))


def _replaced(match: regexes.Match, replacement: Any) -> str:
    if isinstance(replacement, str):
        return (
            _DOLLAR.sub(lambda found: _dollar(found.group(1), match), replacement)
            if "$" in replacement
            else replacement
        )
    groups = [group if group is not None else "" for group in match.groups()]
    told = {"match": match.group(), "start": match.start(), "end": match.end(), "groups": groups}
    result = Functions.func_apply(replacement, [told])
    if not isinstance(result, str):
        raise JException("D3012", -1)
    return result


_DOLLAR = re.compile(r"\$(\$|\d{1,4})")


def _dollar(text: str, match: regexes.Match) -> str:
    """`$$` is a dollar, `$0` the match, `$12` the twelfth group, or the first and a 2 where there are fewer."""
    if text == "$":
        return "$"
    many = len(match.groups())
    for end in range(len(text), 0, -1):
        number = int(text[:end])
        if number <= many:
            return (match.group(number) or "") + text[end:]
    return text[1:]


def as_number(value: Any) -> Any:
    """`$number`."""
    refuse_nulls(value)
    if not isinstance(value, str):
        return int(value) if isinstance(value, bool) else value
    if _NUMBER.fullmatch(value):
        return number_of(float(value))
    radix = {"0x": 16, "0b": 2, "0o": 8}.get(value[:2].lower())
    if radix is None or len(value) > PICTURE_MAX or not value[2:].isalnum():
        raise JException("D3030", -1, value)
    try:
        return number_of(float(int(value[2:], radix)))
    except ValueError:
        raise JException("D3030", -1, value) from None


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[Ee][-+]?[0-9]{1,4})?")


def format_integer(value: Any, picture: Any) -> Any:
    """`$formatInteger`."""
    _picture(picture)
    if value is not None and abs(value) > WORDS_MAX:
        raise JException("D3137", -1, "$formatInteger takes numbers up to 1e21")
    return Functions.format_integer(value, picture)


def format_number(value: Any, picture: Any, options: Any) -> Any:
    """`$formatNumber`."""
    _picture(picture)
    for name, option in (options or {}).items():
        long = name in {"NaN", "infinity"}
        if not isinstance(option, str) or len(option) > (PICTURE_MAX if long else 1) or not option:
            raise JException("D3137", -1, f"$formatNumber: the option {name!r} must be one character")
    return Functions.format_number(value, picture, options)


def _picture(*texts: Any) -> None:
    """Pictures of numbers and dates, and what is read by them, are short."""
    for text in texts:
        if isinstance(text, str) and (len(text) > PICTURE_MAX or _WIDE.search(text)):
            raise JException("D3137", -1, f"A picture, and what is read by it, has at most {PICTURE_MAX} characters")


def pictured(call: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the library whose picture is looked at before."""

    def guarded(*given: Any) -> Any:
        _picture(*given)
        return call(*given)

    return guarded


def to_millis(text: Any, picture: Any) -> Any:
    """`$toMillis`."""
    if picture is None and isinstance(text, str):
        try:
            return Functions.datetime_to_millis(text, None)
        except ValueError:
            raise JException("D3110", -1, text) from None
    return Functions.datetime_to_millis(text, picture)
