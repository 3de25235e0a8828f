"""How full queues are, counted at most once a second for each, and seldom while there is much room."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.queries import read_queries
from corral.errors import QueueFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("job_depth.sql"))

_COUNT_EVERY_S = 1.0
# A long queue takes long to count. With half of its room left, that is done in a hundredth of the time, or this often.
_COUNT_SELDOM_S = 10.0
_COUNT_SHARE = 0.01
_RETRY_AFTER_S = 1.0


class Depths:
    """Counts of open jobs by queue."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._now = now
        self._counts: dict[str, tuple[float, int]] = {}
        self._took_s = 0.0

    async def check(self, queues: Sequence[str], depth_max: int) -> None:
        """Refuse when a queue would hold more than `depth_max` with one more job for each time it is named."""
        for queue, more in Counter(queues).items():
            depth = await self._depth(queue, depth_max, self._every_s(queue, depth_max))
            if depth + more > depth_max:
                # Counted anew for who would be refused; but who storms a full queue must not have us count all the time.
                depth = await self._depth(queue, depth_max, self._took_s)
            if depth + more > depth_max:
                raise QueueFull(
                    f"Queue {queue!r} holds {depth} jobs and may hold {depth_max}; try again later.",
                    retry_after_s=_RETRY_AFTER_S,
                )
            at, _ = self._counts[queue]
            self._counts[queue] = at, depth + more

    async def count(self, queue: str, limit: int) -> int:
        """Open jobs of a queue now; counting stops at `limit`."""
        return int((await self._engine.fetch_one(_SQL["depth"], queue, limit))[0])

    def _every_s(self, queue: str, depth_max: int) -> float:
        """How old a count may be. What this process adds is known without counting; only others are heard of later."""
        _, depth = self._counts.get(queue, (0.0, 0))
        if depth > depth_max / 2:
            return _COUNT_EVERY_S
        return max(_COUNT_EVERY_S, min(_COUNT_SELDOM_S, self._took_s / _COUNT_SHARE))

    async def _depth(self, queue: str, depth_max: int, age_s: float) -> int:
        now = self._now()
        at, depth = self._counts.get(queue, (0.0, 0))
        if not at or now - at > age_s:
            depth = await self.count(queue, depth_max + 1)
            self._counts[queue] = self._now(), depth
            self._took_s = self._now() - now
        return depth
