"""What of a conversation belongs together: a tool's call never stands without its result, nor a result without its call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from corral.messages import Message

Half = Literal["no_result", "no_call"]
"""A call without its result, or a result without its call."""

_HALVES = frozenset({"tool_use", "tool_result"})


class Unit(msgspec.Struct, frozen=True):
    """Messages next to each other that stay or go together: from the first to the last, both included."""

    first: int
    last: int
    turn: bool
    """Somebody begins to speak here: a user's words, not the result of a tool."""


def is_pinned(message: Message) -> bool:
    """Instructions always stay, and what says so itself: `metadata={"pinned": True}`."""
    return message.role == "system" or bool(message.metadata.get("pinned"))


def is_question(message: Message) -> bool:
    """Whether a user speaks here."""
    return message.role == "user" and not _ids(message, "tool_result", "tool_use_id")


class Pairs:
    """Calls and their results, as the messages of a conversation come one after the other."""

    __slots__ = ("_open", "_torn")

    def __init__(self) -> None:
        """None yet."""
        self._open: set[str] = set()
        self._torn = False

    def add(self, message: Message) -> None:
        """The next message. A call that no model made, or a result that a model wrote, never finds its other half."""
        asks = message.role == "assistant"
        for part in message.content:
            kind = part.get("type")
            if kind == "tool_use":
                call = str(part.get("id"))
                if not asks or call in self._open:  # the one before it is never answered
                    self._torn = True
                self._open.add(call)
            elif kind == "tool_result":
                call = str(part.get("tool_use_id"))
                if asks or call not in self._open:
                    self._torn = True
                self._open.discard(call)

    @property
    def whole(self) -> bool:
        """Whether every call has its result and every result its call: `mended` would change nothing."""
        return not self._open and not self._torn


def mended(messages: Sequence[Message]) -> tuple[list[tuple[int, Message]], list[tuple[int, Half]]]:
    """The messages with their places, without calls that have no result and results that have no call; and what went.

    A model's provider refuses either. A message of which nothing is left goes as well.
    """
    links = _links(messages)
    paired = set(links) | set(links.values())
    kept: list[tuple[int, Message]] = []
    gone: list[tuple[int, Half]] = []
    for index, message in enumerate(messages):
        content: list[dict[str, Any]] = []
        for place, part in enumerate(message.content):
            if part.get("type") in _HALVES and (index, place) not in paired:
                gone.append((index, "no_result" if part["type"] == "tool_use" else "no_call"))
            else:
                content.append(part)
        if len(content) == len(message.content):
            kept.append((index, message))
        elif content:
            kept.append((index, msgspec.structs.replace(message, content=content)))
    return kept, gone


def units_of(messages: Sequence[Message]) -> list[Unit]:
    """The conversation in units, in order, none of them empty. Calls and results are paired (see `mended`)."""
    reach = list(range(len(messages)))
    for (call, _), (result, _) in _links(messages).items():
        reach[call] = max(reach[call], result)
    units: list[Unit] = []
    first = 0
    while first < len(messages):
        last = place = first
        while place <= last:
            last = max(last, reach[place])
            place += 1
        units.append(Unit(first, last, is_question(messages[first])))
        first = last + 1
    return units


def _links(messages: Sequence[Message]) -> dict[tuple[int, int], tuple[int, int]]:
    """Where each call stands (message, part), and where its result does. Ids are used again: the latest open call counts."""
    links: dict[tuple[int, int], tuple[int, int]] = {}
    open_calls: dict[str, tuple[int, int]] = {}
    for index, message in enumerate(messages):
        for place, part in enumerate(message.content):
            kind = part.get("type")
            if kind == "tool_use" and message.role == "assistant":
                open_calls[str(part.get("id"))] = (index, place)
            elif kind == "tool_result" and message.role != "assistant":
                call = open_calls.pop(str(part.get("tool_use_id")), None)
                if call is not None:
                    links[call] = (index, place)
    return links


def _ids(message: Message, kind: str, name: str) -> list[str]:
    return [str(part.get(name)) for part in message.content if part.get("type") == kind]
