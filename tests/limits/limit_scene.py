"""Time that jumps to the next thing that happens, a store in memory, and a provider that counts: minutes pass in a moment."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from corral.errors import ModelRateLimited, StoreUnavailable
from corral.limits.store import Shared
from corral.messages import Caller, Message, ModelCall, ModelEvent, ModelReply, Usage, as_parts

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Waits for nobody: time goes on to where the wait would have ended."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        self.passed += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return 1_000.0 + self._jumping.passed


def in_jumping_time(scene: Callable[[], Awaitable[T]]) -> T:
    """Run a scene in which nobody waits for real."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(scene())


class LoopClock:
    """The time of the loop that runs."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()

    @staticmethod
    def now() -> float:
        return 1_700_000_000.0 + asyncio.get_running_loop().time()


class MemoryLimits:
    """One store for many workers of one test; it can be away, and it takes its time."""

    def __init__(self, latency_s: float = 0.002) -> None:
        self.latency_s = latency_s
        self.kept: dict[str, tuple[bytes, int]] = {}
        self.swaps = 0
        self.away = False

    async def read(self, key: str) -> Shared:
        await self._travel()
        return self._there(key)

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        await self._travel()
        self.swaps += 1
        done = self._there(key).version == version
        if done:
            self.kept[key] = (body, version + 1)
        there = self._there(key)
        await self._travel()
        return done, there

    async def forget(self, *, idle_s: float = 0.0, limit: int = 1000) -> int:
        return 0

    async def _travel(self) -> None:
        await asyncio.sleep(self.latency_s / 2)
        if self.away:
            raise StoreUnavailable("away")

    def _there(self, key: str) -> Shared:
        body, version = self.kept.get(key, (b"", 0))
        return Shared(body, version, LoopClock.now())


class CountingProvider:
    """Enforces tokens (and requests) a minute with buckets of its own, and answers what it is told to."""

    def __init__(
        self,
        *,
        tokens_per_minute: float = 100_000.0,
        capacity: float | None = None,
        requests_per_minute: float | None = None,
        latency_s: float = 1.0,
    ) -> None:
        self.per_s = tokens_per_minute / 60
        self.capacity = self.level = tokens_per_minute if capacity is None else capacity
        self.requests_per_s = None if requests_per_minute is None else requests_per_minute / 60
        self.requests = self.requests_max = requests_per_minute or 0.0
        self.latency_s = latency_s
        self.at: float | None = None
        self.used = 0.0
        self.calls = self.refusals = self.running = self.most_running = 0

    def call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        return self._call(call)

    async def _call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        usage = Usage(input=len(call.messages[0].text), output=int(call.extra["writes"]))
        self._fill()
        self.calls += 1
        if self.level < usage.total or (self.requests_per_s and self.requests < 1):
            self.refusals += 1
            missing = max(0.0, usage.total - self.level) / self.per_s
            raise ModelRateLimited("no more", retry_after_s=max(0.1, missing))
        self.level -= usage.total
        self.requests -= 1
        self.used += usage.total
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.running -= 1
        yield ModelReply(content=as_parts("done"), usage=usage)

    def _fill(self) -> None:
        now = LoopClock.monotonic()
        passed = 0.0 if self.at is None else now - self.at
        self.at = now
        self.level = min(self.capacity, self.level + passed * self.per_s)
        if self.requests_per_s:
            self.requests = min(self.requests_max, self.requests + passed * self.requests_per_s)


def question(
    reads: int = 100,
    *,
    writes: int = 100,
    max_tokens: int | None = None,
    within_s: float | None = None,
    priority: int = 5,
    model: str = "p/m",
    **more: Any,
) -> ModelCall:
    """A call that reads so many tokens (a letter each) and is answered with so many."""
    return ModelCall(
        model=model,
        messages=[Message(role="user", content=as_parts("x" * reads))],
        max_tokens=max_tokens,
        caller=Caller(priority=priority),
        deadline=None if within_s is None else LoopClock.monotonic() + within_s,
        extra={"writes": writes},
        **more,
    )


def letters(call: Any) -> int:
    """A letter is a token here."""
    return len(call.messages[0].text) if hasattr(call, "messages") else sum(map(len, call.texts))
