"""A model that follows a script, and tools that count: for tests of what agents do with both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from corral.agents.event import AgentEvent
from corral.messages import Delta, ModelCall, ModelEvent, ModelReply, Usage, as_parts

USED = Usage(input=10, output=5)

Line = ModelReply | Exception | str | Callable[[ModelCall], Any]


def says(text: str, **facts: Any) -> ModelReply:
    """An answer that ends a run."""
    return ModelReply(content=as_parts(text), model="scripted", usage=USED, cost_usd=0.001, **facts)


def wants(
    *calls: tuple[str, dict[str, Any]] | str, text: str = "", ids: Iterable[str] = (), **facts: Any
) -> ModelReply:
    """An answer that asks for tools: `wants(("lookup", {"id": 1}), "clock")`."""
    names = list(ids)
    content = as_parts(text) if text else []
    for index, one in enumerate(calls):
        name, given = (one, {}) if isinstance(one, str) else one
        call_id = names[index] if index < len(names) else f"c{index}"
        content.append({"type": "tool_use", "id": call_id, "name": name, "input": given})
    return ModelReply(content=content, model="scripted", stop_reason="tool_use", usage=USED, cost_usd=0.001, **facts)


class ScriptedModel:
    """Says its lines one after the other, the last one again and again; remembers what it was asked."""

    def __init__(self, *lines: Line) -> None:
        self.lines = list(lines)
        self.calls: list[ModelCall] = []
        self.open = 0
        self.hold: asyncio.Event | None = None
        """Set: an answer stops after its first piece, until this is set."""

    async def __call__(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        self.calls.append(call)
        line = self.lines[min(len(self.calls), len(self.lines)) - 1]
        if callable(line) and not isinstance(line, ModelReply):
            line = line(call)
        if isinstance(line, Exception):
            raise line
        reply = says(line) if isinstance(line, str) else line
        self.open += 1
        try:
            if call.stream:
                for index, part in enumerate(reply.content):
                    if part["type"] == "text":
                        for word in part["text"].split(" "):
                            yield Delta("text", word + " ", index)
                            if self.hold is not None:
                                await self.hold.wait()
            yield reply
        finally:
            self.open -= 1

    @property
    def last(self) -> ModelCall:
        return self.calls[-1]


async def heard(events: AsyncIterator[AgentEvent]) -> list[AgentEvent]:
    """All events of a run."""
    async with aclosing(events) as pieces:  # type: ignore[type-var]  # generators, although their types do not say so
        return [event async for event in pieces]


def kinds(events: Iterable[AgentEvent]) -> list[str]:
    """What happened, in short: neighbours that are the same once."""
    names: list[str] = []
    for event in events:
        name = type(event).__name__
        if not names or names[-1] != name:
            names.append(name)
    return names
