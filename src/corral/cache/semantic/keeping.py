"""Writes answers, evidence and counts behind the backs of those who ask, and does what may be done later: all of it bounded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from corral.cache.semantic.counting import SemanticCounting
from corral.cache.semantic_store import AnswerDraft, Route, SemanticStore, SemanticTally
from corral.errors import CorralError

_log = logging.getLogger("corral.cache")

_LATER_MAX = 64
"""Comparisons and audits under way at a time; more are left undone."""
_PENDING_MAX = 5_000
_BATCH = 500
_USED_MAX = 5_000
_TALLY_S = 5.0
_SWEEP_S = 60.0
_END_S = 10.0
LABELS_MAX = 5_000
"""Labels of a route that count: the latest ones."""


class _Count(msgspec.Struct):
    route: Route
    hits: int = 0
    misses: int = 0
    saved_usd: float = 0.0
    used: dict[bytes, None] = msgspec.field(default_factory=dict)


class Keeping:
    """One task that writes, and a bounded number of others."""

    def __init__(self, store: SemanticStore, counting: SemanticCounting, *, entries_max: int) -> None:
        self._store = store
        self._counting = counting
        self._entries_max = entries_max
        self._pending: deque[tuple[str, AnswerDraft]] = deque()
        self._counts: dict[tuple[str, bytes], _Count] = {}
        self._later: set[asyncio.Task[None]] = set()
        self._some = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="corral-semantic-keeping")

    async def drain(self) -> None:
        """Wait until everything is done that was begun or handed in; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                while self._later:
                    await asyncio.wait(self._later)
                if self._task is not None and not self._task.done():
                    self._some.set()
                    await self._idle.wait()
        await self._tally()

    async def stop(self) -> None:
        """Drain, and end."""
        await self.drain()
        task, self._task = self._task, None
        left = [*self._later, *([] if task is None else [task])]
        for one in left:
            one.cancel()
        if left:
            await asyncio.wait(left)

    # -- handing in

    def put(self, tenant: str, draft: AnswerDraft) -> None:
        """Keep an answer, soon."""
        if len(self._pending) >= _PENDING_MAX:
            self._counting.trouble("dropped")
            return
        self._pending.append((tenant, draft))
        self._idle.clear()
        self._some.set()

    def count(self, tenant: str, route: Route, *, used: bytes | None, saved_usd: float = 0.0) -> None:
        """A hit (`used` is what was given) or a miss."""
        count = self._counts.setdefault((tenant, route.key), _Count(route))
        if used is None:
            count.misses += 1
            return
        count.hits += 1
        count.saved_usd += saved_usd
        if len(count.used) < _USED_MAX:
            count.used[used] = None

    def later(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do something when nobody waits for it. False: too much is being done already."""
        if len(self._later) >= _LATER_MAX or self._task is None:
            self._counting.trouble("dropped")
            return False
        task = asyncio.ensure_future(work())
        self._later.add(task)
        task.add_done_callback(self._over)
        return True

    def _over(self, task: asyncio.Future[None]) -> None:
        self._later.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._counting.trouble("compare")
            _log.warning("A kept answer could not be compared with a new one: %s: %s", type(error).__name__, error)

    # -- doing

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        tally_at, sweep_at = loop.time() + _TALLY_S, loop.time() + _SWEEP_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(tally_at, sweep_at)):
                    await self._some.wait()
            self._some.clear()
            while self._pending:
                await self._write()
            self._idle.set()
            if loop.time() >= tally_at:
                await self._tally()
                tally_at = loop.time() + _TALLY_S
            if loop.time() >= sweep_at:
                await self._sweep()
                sweep_at = loop.time() + _SWEEP_S

    async def _write(self) -> None:
        tenant = self._pending[0][0]
        drafts: list[AnswerDraft] = []
        while self._pending and self._pending[0][0] == tenant and len(drafts) < _BATCH:
            drafts.append(self._pending.popleft()[1])
        try:
            await self._store.put(tenant, drafts, entries_max=self._entries_max)
        except CorralError as error:
            self._counting.trouble("write")
            _log.warning("%d answers could not be kept: %s", len(drafts), error)

    async def _tally(self) -> None:
        counts, self._counts = self._counts, {}
        tallies = [
            SemanticTally(
                tenant=tenant,
                route=one.route,
                hits=one.hits,
                misses=one.misses,
                saved_usd=one.saved_usd,
                used=tuple(one.used),
            )
            for (tenant, _), one in counts.items()
        ]
        if not tallies:
            return
        try:
            await self._store.tally(tallies)
        except CorralError as error:
            self._counting.trouble("write")
            _log.warning("Hits of kept answers could not be counted: %s", error)

    async def _sweep(self) -> None:
        try:
            await self._store.sweep(labels_max=LABELS_MAX)
        except CorralError as error:
            self._counting.trouble("write")
            _log.warning("Old answers could not be swept: %s", error)
