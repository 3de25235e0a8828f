"""The elements of a JSON array one by one, however long it is; and of a value inside of a document."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from corral.workflows.distributed.faults import ItemsFailed
from corral.workflows.distributed.lines import RECORD_MAX, texts

DOCUMENT_MAX = 64 * 1024 * 1024
"""Characters of a document that has to be read as a whole, because `ItemsPointer` leads into it."""

NOT_ITERABLE = "Attempting to map over non-iterable node."

_BLANK = " \t\r\n"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse).raw_decode


async def elements(pieces: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """The elements of an array that is the whole document."""
    text = ""
    at = 0
    inside = False
    seen = "first"  # what was read last: nothing, a value, a comma
    source = texts(pieces)
    ended = False
    while True:
        at = _skip(text, at)
        if at < len(text) and not inside:
            if text[at] != "[":
                raise ItemsFailed(await _what_is_it(text[at:], source))
            inside, at = True, at + 1
            continue
        found = _next(text, at, seen, ended=ended) if inside and at < len(text) else None
        if found is None:
            if ended:
                raise ItemsFailed("The file is not JSON: the array does not end." if inside else "The file is empty.")
            if len(text) - at > RECORD_MAX:
                raise ItemsFailed(f"An element is longer than {RECORD_MAX} characters, or the file is not JSON.")
            more = await anext(source, None)
            text, at = text[at:] + (more or ""), 0
            ended = more is None
            continue
        kind, value, at = found
        if kind == "end":
            break
        seen = kind
        if kind == "value":
            yield value
    await _nothing_more(text[at:], source)


async def document(pieces: AsyncIterator[bytes]) -> Any:
    """A whole document."""
    parts: list[str] = []
    size = 0
    async for text in texts(pieces):
        parts.append(text)
        size += len(text)
        if size > DOCUMENT_MAX:
            raise ItemsFailed(f"A file with an ItemsPointer may have {DOCUMENT_MAX} characters; this one has more.")
    try:
        return json.loads("".join(parts), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ItemsFailed(f"The file is not JSON: {error}.") from error


def pointed(value: Any, pointer: str) -> Any:
    """What a JSON pointer leads to."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ItemsFailed(f"The ItemsPointer {pointer!r} leads nowhere: there is no {key!r}.") from None
    return value


def _next(text: str, at: int, seen: str, *, ended: bool) -> tuple[str, Any, int] | None:
    """What stands at a place: a comma, the end, or a value. None: more has to be read to tell."""
    char = text[at]
    if char == "]" and seen != "comma":
        return "end", None, at + 1
    if char == ",":
        if seen != "value":
            raise ItemsFailed("The file is not JSON: a comma, and nothing before it.")
        return "comma", None, at + 1
    try:
        value, end = _decode(text, at)
    except RecursionError as error:
        raise ItemsFailed("The file is nested too deeply.") from error
    except ValueError as error:
        if ended:
            raise ItemsFailed(f"The file is not JSON: {error}.") from error
        return None
    after = _skip(text, end)
    if not ended and isinstance(value, int | float) and _digits(text, at) == len(text):
        return None  # a number may go on in the next piece
    if after == len(text) and not ended:
        return None
    if text[after : after + 1] not in {",", "]"}:
        raise ItemsFailed("The file is not JSON: an element is followed by neither a comma nor the end of the array.")
    return "value", value, after


def _digits(text: str, at: int) -> int:
    """Where what may belong to a number ends."""
    while at < len(text) and text[at] not in ",]} \t\r\n":
        at += 1
    return at


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


async def _what_is_it(text: str, source: AsyncIterator[str]) -> str:
    """Why a file that is no array cannot be gone over: JSON that is something else, or no JSON at all."""
    parts, size = [text], len(text)
    async for more in source:
        parts.append(more)
        size += len(more)
        if size > RECORD_MAX:
            return NOT_ITERABLE
    try:
        json.loads("".join(parts), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return f"The file is not JSON: {error}."
    return NOT_ITERABLE


async def _nothing_more(text: str, source: AsyncIterator[str]) -> None:
    rest = text.strip(_BLANK)
    while not rest:
        more = await anext(source, None)
        if more is None:
            return
        rest = more.strip(_BLANK)
    raise ItemsFailed("The file is not JSON: something follows the array.")
