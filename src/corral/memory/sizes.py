"""How many tokens a message is, as far as the window must know: rather too many than too few."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from corral.memory.units import Halves, halves_of, is_pinned
from corral.messages import Message, ToolSpec, as_parts

CountMessage = Callable[[Message, str], int]
"""Tokens of one message with all around it, as the model of that name counts. Pure, fast, and never waits."""

_MESSAGE = 5
_TOOL = 12
_PICTURE = 1_600
_FILE_BYTES_PER_TOKEN = 8
_KNOWN_MAX = 4_096

# What a byte of text adds, in hundredths of a token. Each weight is above what the public vocabularies need on prose, code and JSON.
_LETTER, _UPPER, _DIGIT, _SIGN, _BEYOND = 30, 62, 100, 80, 75
_UPPERS = bytes(range(65, 91))
_DIGITS = bytes(range(48, 58))
_SIGNS = bytes([10, *range(33, 48), *range(58, 65), *range(91, 97), *range(123, 127)])
_SHORT = 24
"""Texts up to here are faster weighed byte by byte."""
_WEIGHTS = [
    _UPPER if byte in _UPPERS else _DIGIT if byte in _DIGITS else _SIGN if byte in _SIGNS else _LETTER
    for byte in range(128)
]


def safe_text_size(text: str) -> int:
    """Tokens that a text will hardly exceed, whichever vocabulary reads it."""
    raw = text.encode(errors="replace")
    if len(raw) <= _SHORT and text.isascii():
        return -(-sum(map(_WEIGHTS.__getitem__, raw)) // 100)
    upper = len(raw) - len(raw.translate(None, _UPPERS))
    digits = len(raw) - len(raw.translate(None, _DIGITS))
    signs = len(raw) - len(raw.translate(None, _SIGNS))
    beyond = 0 if text.isascii() else len(raw) - len(text) + sum(1 for char in text if char > "\x7f")
    letters = len(raw) - upper - digits - signs - beyond
    return -(-(_LETTER * letters + _UPPER * upper + _DIGIT * digits + _SIGN * signs + _BEYOND * beyond) // 100)


def safe_size(message: Message, _model: str = "") -> int:
    """Tokens of a message where nobody knows the model's way of counting."""
    return _MESSAGE + sum(map(_part, message.content))


def _part(part: dict[str, Any]) -> int:
    match part.get("type"):
        case "text" | "reasoning":
            return safe_text_size(part.get("text") or "")
        case "image":
            return _PICTURE
        case "file":
            return _PICTURE + len(part.get("data") or "") // _FILE_BYTES_PER_TOKEN
        case "tool_use":
            return _TOOL + safe_text_size(part.get("name") or "") + safe_text_size(as_json(part.get("input") or {}))
        case "tool_result":
            return _TOOL + sum(map(_part, as_parts(part.get("content") or [])))
        case _:
            return safe_text_size(as_json(part))


def as_json(value: object) -> str:
    """A value as a model is shown it."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return str(value)


class Measured(msgspec.Struct, frozen=True):
    """What a window must know of a message."""

    message: Message
    size: int
    """Its tokens."""
    pinned: bool
    halves: Halves | None


class Sizes:
    """Looks at messages once: those of a conversation come again with every step of a run."""

    def __init__(self, count: CountMessage | None = None, model: str = "") -> None:
        """`count` counts as the model does; without it the sizes are safe estimates."""
        self._count = count or safe_size
        self._model = model
        self.estimated = count is None
        self._known: OrderedDict[int, Measured] = OrderedDict()
        self._tools: OrderedDict[int, tuple[ToolSpec, int]] = OrderedDict()

    def look(self, message: Message) -> Measured:
        """At one message."""
        known = self._known.get(id(message))
        if known is not None and known.message is message:  # held here, so that its id is not another's
            return known
        known = Measured(message, self._count(message, self._model), is_pinned(message), halves_of(message))
        self._known[id(message)] = known
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        return known

    def of(self, message: Message) -> int:
        """Tokens of one message."""
        return self.look(message).size

    def of_all(self, messages: Sequence[Message]) -> int:
        """Tokens of several."""
        return sum(map(self.of, messages))

    def of_text(self, text: str) -> int:
        """Tokens of a text as a message of its own."""
        return self._count(said("user", text), self._model)

    def of_tools(self, tools: Sequence[ToolSpec]) -> int:
        """Tokens of what a model is told about its tools."""
        return sum(map(self._of_tool, tools))

    def _of_tool(self, tool: ToolSpec) -> int:
        known = self._tools.get(id(tool))
        if known is not None and known[0] is tool:  # held here as well
            return known[1]
        size = _TOOL + self.of_text(f"{tool.name} {tool.description} {as_json(tool.parameters)}")
        self._tools[id(tool)] = (tool, size)
        if len(self._tools) > _KNOWN_MAX:
            self._tools.popitem(last=False)
        return size

    def beginning(self, text: str, most: int) -> str:
        """As much of a text as fits into `most` tokens."""
        if most <= 0:
            return ""
        size = self.of_text(text)
        while size > most and text:
            text = text[: min(len(text) - 1, int(len(text) * most / size * 0.97))]
            size = self.of_text(text)
        return text if size <= most else ""


def said(role: str, text: str, **metadata: Any) -> Message:
    """A message of one text."""
    return Message(role=role, content=[{"type": "text", "text": text}], metadata=metadata)  # type: ignore[arg-type]  # a role
