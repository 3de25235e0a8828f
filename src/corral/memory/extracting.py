"""Older messages in a few words without asking any model: what was said first and last, each by its beginning."""

from __future__ import annotations

import re
from collections.abc import Sequence

from corral.memory.sizes import Sizes
from corral.messages import Message

_SENTENCE = re.compile(r"(.+?[.!?])(\s|$)", re.DOTALL)
_CHARS = 240
_MIN_TOKENS = 40
_SEAMS = 16
"""For the ends of lines, and the note of what is skipped."""


def extract_of(messages: Sequence[Message], most: int, sizes: Sizes) -> str:
    """An extract of at most `most` tokens that says of itself that it is one; empty when there is no room for it.

    The same messages always give the same text.
    """
    lines = [line for line in map(line_of, messages) if line]
    if most < _MIN_TOKENS or not lines:
        return ""
    head = f"Earlier in this conversation ({len(messages)} messages), the beginnings of some of them, not a summary:"
    room = most - sizes.of_text(head) - _SEAMS
    first = lines[0]
    room -= sizes.of_text(first)
    if room < 0:
        return ""
    newest: list[str] = []
    for line in reversed(lines[1:]):
        room -= sizes.of_text(line)
        if room < 0:
            break
        newest.append(line)
    skipped = len(lines) - 1 - len(newest)
    gap = [f"(… {skipped} more …)"] if skipped else []
    text = "\n".join([head, first, *gap, *reversed(newest)])
    return text if sizes.of_text(text) <= most else sizes.beginning(text, most)


def line_of(message: Message) -> str:
    """Who spoke, and how it began."""
    said = [_beginning(part.get("text") or "") for part in message.content if part.get("type") == "text"]
    said += [f"called {part.get('name')}" for part in message.content if part.get("type") == "tool_use"]
    text = "; ".join(words for words in said if words)
    return f"{message.role}: {text}" if text else ""


def _beginning(text: str) -> str:
    plain = " ".join(text.split())
    found = _SENTENCE.match(plain)
    sentence = found.group(1) if found else plain
    return sentence if len(sentence) <= _CHARS else f"{sentence[:_CHARS]}…"
