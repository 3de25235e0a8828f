"""How many tokens a message is, as far as the window must know: rather too many than too few."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec

from corral.memory.units import Pairs, is_pinned
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
_BEYONDS = bytes(range(128, 256))
_LETTERS = bytes(sorted(set(range(256)) - {*_UPPERS, *_DIGITS, *_SIGNS, *_BEYONDS}))
_KINDS = ((_LETTERS, _LETTER), (_UPPERS, _UPPER), (_DIGITS, _DIGIT), (_SIGNS, _SIGN), (_BEYONDS, _BEYOND))
_WEIGHTS = bytes(next(weight for kind, weight in _KINDS if byte in kind) for byte in range(256))
_PER_TOKEN = 100
_SHORT = 160
"""Texts up to here are faster weighed byte by byte than sorted by kinds of bytes."""
_encode = msgspec.json.Encoder().encode


def safe_text_size(text: str) -> int:
    """Tokens that a text will hardly exceed, whichever vocabulary reads it."""
    return _weighed(text.encode(errors="replace"))


def _weighed(raw: bytes) -> int:
    if len(raw) <= _SHORT:
        return -(-sum(raw.translate(_WEIGHTS)) // _PER_TOKEN)
    return -(-sum((len(raw) - len(raw.translate(None, kind))) * weight for kind, weight in _KINDS) // _PER_TOKEN)


def safe_size(message: Message, _model: str = "") -> int:
    """Tokens of a message where nobody knows the model's way of counting."""
    return _MESSAGE + sum(map(_part, message.content))


def _part(part: dict[str, Any]) -> int:
    kind = part.get("type")
    if kind in ("text", "reasoning"):
        return safe_text_size(part.get("text") or "")
    if kind == "tool_use":
        return _TOOL + safe_text_size(part.get("name") or "") + _size_as_json(part.get("input") or {})
    if kind == "tool_result":
        return _TOOL + sum(map(_part, as_parts(part.get("content") or [])))
    if kind == "image":
        return _PICTURE
    if kind == "file":
        return _PICTURE + len(part.get("data") or "") // _FILE_BYTES_PER_TOKEN
    return _size_as_json(part)


def _size_as_json(value: object) -> int:
    try:
        return _weighed(_encode(value))
    except (TypeError, ValueError):
        return safe_text_size(str(value))


def as_json(value: object) -> str:
    """A value as a model is shown it."""
    try:
        return _encode(value).decode()
    except (TypeError, ValueError):
        return str(value)


class Sum:
    """A conversation added up, message by message."""

    __slots__ = ("_pairs", "largest", "messages", "pinned", "tokens")

    def __init__(self) -> None:
        """Of nothing yet."""
        self.messages: list[Message] = []
        self.tokens = 0
        self.pinned = 0
        """Of these: instructions, and what is pinned."""
        self.largest = 0
        """Of one message that is not pinned."""
        self._pairs = Pairs()

    @property
    def whole(self) -> bool:
        """Whether no call is without its result, nor a result without its call."""
        return self._pairs.whole

    def begins(self, messages: Sequence[Message]) -> bool:
        """Whether these begin with what was added up: the very same messages."""
        own = self.messages
        return len(own) <= len(messages) and all(map(operator.is_, own, messages))

    def add(self, message: Message, size: int) -> None:
        """The next one."""
        self.messages.append(message)
        self.tokens += size
        if is_pinned(message):
            self.pinned += size
        elif size > self.largest:
            self.largest = size
        self._pairs.add(message)


class Sizes:
    """How large the messages of one conversation are. They come again with every step of a run: each is weighed once.

    Whoever goes on with a conversation brings the sizes along, and they go when it ends.
    """

    __slots__ = ("_count", "_known", "_sum", "_tools", "estimated", "model")

    def __init__(
        self,
        count: CountMessage | None = None,
        model: str = "",
        tools: dict[int, tuple[ToolSpec, int]] | None = None,
    ) -> None:
        """`count` counts as the model does; without it the sizes are safe estimates. `tools`: what is known of these."""
        self.model = model
        self.estimated = count is None
        self._count = count or safe_size
        self._known: dict[int, tuple[Message, int]] = {}
        self._tools = {} if tools is None else tools
        self._sum = Sum()

    def of(self, message: Message) -> int:
        """Tokens of one message."""
        known = self._known.get(id(message))
        if known is not None and known[0] is message:  # held here, so that its id is not another's
            return known[1]
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        size = self._count(message, self.model)
        self._known[id(message)] = (message, size)
        return size

    def of_all(self, messages: Sequence[Message]) -> int:
        """Tokens of several."""
        return sum(map(self.of, messages))

    def sum_of(self, messages: Sequence[Message]) -> Sum:
        """All of the conversation: what was added since the last time, where it goes on from there."""
        found = self._sum
        if not found.begins(messages):
            found = self._sum = Sum()
        for message in islice(messages, len(found.messages), None):
            found.add(message, self._count(message, self.model))
        return found

    def of_text(self, text: str) -> int:
        """Tokens of a text as a message of its own."""
        return self._count(said("user", text), self.model)

    def of_tools(self, tools: Sequence[ToolSpec]) -> int:
        """Tokens of what a model is told about its tools."""
        return sum(map(self._of_tool, tools))

    def _of_tool(self, tool: ToolSpec) -> int:
        known = self._tools.get(id(tool))
        if known is not None and known[0] is tool:  # held here as well
            return known[1]
        size = _TOOL + self.of_text(f"{tool.name} {tool.description} {as_json(tool.parameters)}")
        if len(self._tools) >= _KNOWN_MAX:
            self._tools.clear()
        self._tools[id(tool)] = (tool, size)
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
