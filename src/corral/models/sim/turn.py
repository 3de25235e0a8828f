"""One call that was let in: its answer, and the time it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from corral.clock import Clock
from corral.messages import Delta, Usage
from corral.models.sim.answer import Answer
from corral.models.sim.buckets import Verdict

Sleep = Callable[[float], Awaitable[object]]

_SHORTEST_S = 0.002
"""Shorter pauses are gathered: loops cannot keep them."""
_SLICE_S = 0.1
"""How long one waits before looking again how many are answered."""


class Load:
    """Who is answered by one model at the moment, and who waits in line."""

    def __init__(self, places: int, slowdown: float) -> None:
        """`slowdown`: how much longer everything takes when all places are taken."""
        self._places = places
        self._slowdown = slowdown
        self._free = asyncio.Semaphore(places)
        self.running = 0

    async def enter(self) -> None:
        """Wait in line for a place."""
        await self._free.acquire()
        self.running += 1

    def leave(self) -> None:
        """Give the place to the next one."""
        self.running -= 1
        self._free.release()

    @property
    def factor(self) -> float:
        """How much longer than alone the time between two tokens is."""
        return 1.0 + self._slowdown * max(0, self.running - 1) / max(1, self._places - 1)


class Pace:
    """How fast one call is answered when it is alone, in seconds."""

    __slots__ = ("between", "first", "hang")

    def __init__(self, first: float, between: float, hang: float) -> None:
        """`first`: until the first token; `between`: two of them; `hang`: the silence of one that hangs."""
        self.first = first
        self.between = between
        self.hang = hang


class Turn:
    """A call from its beginning to `close`, which may be called at any time, and twice."""

    def __init__(  # noqa: PLR0913 - made by the engine alone
        self,
        answer: Answer,
        usage: Usage,
        verdict: Verdict,
        *,
        name: str,
        number: str,
        created: int,
        fault: str,
        pace: Pace,
        load: Load,
        clock: Clock,
        sleep: Sleep,
        closed: Callable[[], None],
    ) -> None:
        """`closed` is called once, when all is over."""
        self.answer = answer
        self.usage = usage
        self.verdict = verdict
        self.name = name
        """The model, as the call named it."""
        self.number = number
        """What ids are made of: 32 hex digits."""
        self.created = created
        self.fault = fault
        """What goes wrong; empty: nothing."""
        self._pace = pace
        self._load = load
        self._clock = clock
        self._sleep = sleep
        self._closed: Callable[[], None] | None = closed
        self._entered = False

    @property
    def waits(self) -> bool:
        """Whether it takes any time."""
        return self._pace.first > 0 or self._pace.between > 0 or self.fault in {"hang", "stall"}

    async def first(self) -> None:
        """Wait for a place, and until the first token could be written."""
        if not self.waits:
            return
        await self._load.enter()
        self._entered = True
        if self.fault == "hang":
            await self.hang()
        if self._pace.first > 0:
            await self._sleep(self._pace.first)

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """The pieces, each at its time. Call `first` before."""
        half = len(self.answer.deltas) // 2 if self.fault == "stall" else -1
        if self._pace.between <= 0 and half < 0:
            for delta in self.answer.deltas:
                yield delta
            return
        due = self._clock.monotonic()
        for number, delta in enumerate(self.answer.deltas):
            if number == half:
                await self.hang()
            if number:
                due += self._pace.between * self._load.factor
                wait = due - self._clock.monotonic()
                if wait >= _SHORTEST_S:
                    await self._sleep(wait)
            yield delta

    async def rest(self) -> None:
        """Wait as long as writing all pieces takes. Call `first` before."""
        if self.fault == "stall":
            await self.hang()
        left = len(self.answer.deltas) - 1
        while left > 0 and self._pace.between > 0:
            between = self._pace.between * self._load.factor
            together = max(1, min(left, int(_SLICE_S / between)))
            left -= together
            await self._sleep(together * between)

    async def hang(self) -> None:
        """Be silent."""
        await self._sleep(self._pace.hang)

    def close(self) -> None:
        """Give back what the call held."""
        closed, self._closed = self._closed, None
        if closed is None:
            return
        if self._entered:
            self._load.leave()
        closed()
