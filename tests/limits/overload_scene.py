"""A worker that gets slower when it serves too many, and callers who come whether it is ready or not."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from typing import Any

from limit_scene import LoopClock

from corral.errors import Overloaded
from corral.limits.line_counting import LineCounting
from corral.limits.overload import Overload
from corral.limits.priorities import Priorities
from corral.observability.metrics import Metrics
from corral.settings.priority_sections import PrioritySettings


def an_overload(*, concurrency_max: int = 1000, **said: Any) -> Overload:
    settings = PrioritySettings(**said)
    clock, metrics = LoopClock(), Metrics()
    made = Overload(
        settings,
        Priorities(settings, clock),
        concurrency_max=concurrency_max,
        counting=LineCounting(metrics),
        clock=clock,
    )
    made.metrics = metrics  # type: ignore[attr-defined]  # for tests to look at
    return made


class SlowingServer:
    """Serves up to `knee` at once in `latency_s`; with more, each takes longer: it does no more in all."""

    def __init__(self, *, knee: int = 20, latency_s: float = 0.2, spread: float = 0.1, seed: int = 1) -> None:
        self.knee = knee
        self.latency_s = latency_s
        self.spread = spread
        self.running = self.most = 0
        self._chance = random.Random(seed)

    @property
    def per_s(self) -> float:
        return self.knee / self.latency_s

    async def serve(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            slow = max(1.0, self.running / self.knee)
            await asyncio.sleep(self.latency_s * slow * (1 + self.spread * (2 * self._chance.random() - 1)))
        finally:
            self.running -= 1


class Crowd:
    """Callers of several kinds, each at a rate of its own, independent of the answers."""

    def __init__(self, server: SlowingServer, overload: Overload | None, *, seed: int = 7) -> None:
        self.server = server
        self.overload = overload
        self.took: dict[str, list[float]] = defaultdict(list)
        self.shed: Counter[str] = Counter()
        self.answered_at: dict[str, list[float]] = defaultdict(list)
        self._chance = random.Random(seed)
        self._calls: set[asyncio.Task[None]] = set()

    async def come(
        self, name: str, per_s: float, seconds: float, *, tier: str = "", tenant: str = "t", asked: int | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(self._chance.expovariate(per_s))
            call = asyncio.ensure_future(self._call(name, tier, tenant, asked))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def gone(self) -> None:
        while self._calls:
            await asyncio.wait(self._calls)

    async def _call(self, name: str, tier: str, tenant: str, asked: int | None) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self.overload is None:
            await self.server.serve()
        else:
            rank = self.overload.priorities.rank(tenant, tier, None, None, asked)
            try:
                place = await self.overload.enter("agent", rank, tenant, None)
            except Overloaded:
                self.shed[name] += 1
                return
            await self.server.serve()
            place.leave()
        self.took[name].append(loop.time() - began)
        self.answered_at[name].append(loop.time())


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
