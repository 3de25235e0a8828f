"""Texts cut into pieces of the size that models write, and counted by them."""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

_PIECE = re.compile(r"\s?[^\W\d_]{1,7}|\s?\d{1,3}|\s?[^\w\s]|\s|_")
_EXACT_CHARS_MAX = 4_000
"""Longer texts are counted by their beginning: what is read is counted with every call."""
IMAGE_TOKENS = 512
MESSAGE_TOKENS = 3
"""What a message costs besides its content."""


def pieces_of(text: str) -> list[str]:
    """The text in the pieces in which it is written; joined, they are the text again."""
    return _PIECE.findall(text)


@functools.lru_cache(maxsize=2_048)
def _counted(text: str) -> int:
    return len(_PIECE.findall(text))


def count(text: str) -> int:
    """How many tokens a text is."""
    if len(text) <= _EXACT_CHARS_MAX:
        return _counted(text)
    return _counted(text[:_EXACT_CHARS_MAX]) * len(text) // _EXACT_CHARS_MAX


def count_part(part: dict[str, Any]) -> int:
    """How many tokens one part of a message is."""
    match part.get("type"):
        case "text" | "reasoning":
            return count(part.get("text", ""))
        case "image":
            return IMAGE_TOKENS
        case "file":
            return max(IMAGE_TOKENS, len(part.get("data", "")) // 6)
        case "tool_result":
            return MESSAGE_TOKENS + sum(count_part(inner) for inner in part.get("content", ()))
        case "tool_use":
            return MESSAGE_TOKENS + count(part.get("name", "")) + count(as_json(part.get("input", {})))
        case _:
            return count(as_json(part))


def as_json(value: object) -> str:
    """A value as models write it."""
    return msgspec.json.encode(value).decode()
