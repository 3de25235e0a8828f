"""A clock that is turned, and models that do as they are told: for tests of the layers between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from corral.messages import Delta, Message, ModelCall, ModelEvent, ModelReply, as_parts, closing


class TurnedClock:
    """Time passes when somebody says so, and whoever sleeps until then wakes."""

    def __init__(self, at: float = 1_000.0) -> None:
        self.at = at
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def nap(self, seconds: float) -> None:
        """Sleep without waiting for anybody: the clock itself goes on."""
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        """Sleep until `turn` has come that far."""
        self.slept.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self.at + seconds, future)
        self._sleepers.append(entry)
        try:
            await future
        finally:
            self._sleepers.remove(entry)

    async def turn(self, seconds: float) -> None:
        """Let time pass, and let everybody act on it."""
        await settled()
        self.at += seconds
        for due, future in list(self._sleepers):
            if due <= self.at and not future.done():
                future.set_result(None)
        await settled()

    @property
    def sleeping(self) -> int:
        return len(self._sleepers)


async def settled() -> None:
    """Let all that can run, run."""
    for _ in range(30):
        await asyncio.sleep(0)


Said = ModelEvent | Exception | asyncio.Event | Callable[[ModelCall], Any]


class Scripted:
    """A model that says for each call what its script says: events, errors to raise, and events to wait for."""

    def __init__(self, script: Callable[[ModelCall], list[Said]] | None = None) -> None:
        self.script = script or (lambda call: [answer(f"from {call.model}")])
        self.calls: list[ModelCall] = []
        self.open = 0
        """Iterators that were begun and are not closed."""
        self.closed_early = 0

    async def __call__(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        self.calls.append(call)
        self.open += 1
        finished = False
        try:
            for said in self.script(call):
                if isinstance(said, Exception):
                    finished = True
                    raise said
                if isinstance(said, asyncio.Event):
                    await said.wait()
                elif callable(said):
                    said(call)
                else:
                    finished = finished or isinstance(said, ModelReply)
                    yield said
        finally:
            self.open -= 1
            self.closed_early += not finished

    @property
    def asked(self) -> list[str]:
        return [call.model for call in self.calls]


def answer(text: str = "yes", **facts: Any) -> ModelReply:
    return ModelReply(content=as_parts(text), **facts)


def streamed(*texts: str) -> list[ModelEvent]:
    return [*(Delta("text", text) for text in texts), answer("".join(texts))]


def said_in(deltas: Iterable[Delta]) -> list[str]:
    """The pieces as the provider sent them, however many came at once."""
    return [piece for delta in deltas for piece in delta.pieces or (delta.text,)]


def question(text: str = "why?", model: str = "a/one", **facts: Any) -> ModelCall:
    return ModelCall(model=model, messages=[Message(role="user", content=as_parts(text))], **facts)


async def collected(events: AsyncIterator[ModelEvent]) -> list[ModelEvent]:
    async with closing(events) as pieces:
        return [event async for event in pieces]
