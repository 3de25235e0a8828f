"""Keeps claims alive from a thread of its own, so that a blocked loop or a synchronous agent never loses a live job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from corral.jobs.bell import Bell
from corral.jobs.store import Renewed

if TYPE_CHECKING:
    from corral.clock import Clock
    from corral.jobs.job import WorkerInfo
    from corral.jobs.outage import Outage
    from corral.jobs.running import RunningJob
    from corral.jobs.store import JobStore

_BATCH_MAX = 500
"""Claims renewed by one call to the store."""
_ASKED_S = 0.2
"""However often somebody asks, claims are looked at no more often than this."""


class HeartbeatStores(Protocol):
    """A connection to the store that the heartbeat opens for itself (any `corral.backends.stores.Stores`)."""

    @property
    def jobs(self) -> JobStore:
        """The queue."""
        ...

    async def start(self) -> None:
        """Connect."""
        ...

    async def stop(self) -> None:
        """Close."""
        ...


class Heartbeat:
    """One daemon thread that renews every claim of this worker about three times per lease, and says that it lives.

    Its last word is that the worker has left.

    A job that is over within a sixth of the lease costs two dictionary operations.
    """

    def __init__(
        self,
        open_stores: Callable[[], HeartbeatStores],
        outage: Outage,
        *,
        lease_s: float,
        clock: Clock,
        report: Callable[[Renewed], None],
        describe: Callable[[], WorkerInfo],
    ) -> None:
        """`report` is called on the loop that started this; `describe` in the thread."""
        self._open_stores = open_stores
        self._outage = outage
        self._lease_s = lease_s
        self._clock = clock
        self._report = report
        self._describe = describe
        self._live: dict[str, RunningJob] = {}
        self._asked: set[str] = set()
        self._asked_at = -_ASKED_S
        self._home: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell = Bell()
        self._stopping = False

    def start(self) -> None:
        """Begin to beat. Calling it again does nothing."""
        if self._thread is None:
            self._home = asyncio.get_running_loop()
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._main, args=(self._loop,), name="corral-jobs-beat", daemon=True)
            self._thread.start()

    def add(self, job: RunningJob) -> None:
        """Keep this claim alive until `remove`."""
        self._live[job.claim.token] = job

    def remove(self, job: RunningJob) -> None:
        """Let this claim go."""
        self._live.pop(job.claim.token, None)

    def ask(self, tokens: Sequence[str]) -> None:
        """Renew these claims now: there may be news about them."""
        self._asked.update(tokens)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._bell.ring)

    async def stop(self) -> None:
        """End the thread and close its store. Calling it again does nothing."""
        self._stopping = True
        if self._thread is not None and self._loop is not None:
            loop, self._loop = self._loop, None
            loop.call_soon_threadsafe(self._bell.ring)
            await asyncio.to_thread(self._thread.join)

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._beat())

    async def _beat(self) -> None:
        stores: HeartbeatStores | None = None
        failures = 0
        pause_s = self._lease_s / 3
        beaten_at = -pause_s
        while not self._stopping:
            now = self._clock.monotonic()
            is_due = now >= beaten_at + pause_s
            due = self._due(now, everything=is_due)
            next_s = max(0.0, beaten_at + pause_s - now)
            if is_due or due:
                try:
                    if stores is None:
                        stores = await self._opened()
                    await self._renew(stores.jobs, due, self._describe() if is_due else None)
                    self._outage.over("heartbeat")
                    failures = 0
                    if is_due:
                        beaten_at, next_s = now, pause_s
                except Exception as error:  # noqa: BLE001 - whatever ails the store, the next attempt may succeed
                    self._outage.began("heartbeat", error)
                    next_s = min(pause_s, self._outage.pause_s(failures))
                    failures += 1
            await self._pause(next_s)
        if stores is not None:
            await self._leave(stores.jobs)
            await self._closed(stores)

    async def _leave(self, store: JobStore) -> None:
        """Nobody shall take a worker that stopped for one that lives."""
        try:
            await store.forget_worker(self._describe().worker)
        except Exception as error:  # noqa: BLE001 - it is left out all the same, a few leases later
            self._outage.began("heartbeat", error)

    async def _pause(self, seconds: float) -> None:
        """Wait. Who asks ends it early, but those who ask soon after wait for each other."""
        if self._stopping or not await self._bell.wait(seconds) or self._stopping:
            return
        rest = self._asked_at + _ASKED_S - self._clock.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
        self._asked_at = self._clock.monotonic()

    async def _opened(self) -> HeartbeatStores:
        stores = self._open_stores()
        try:
            await stores.start()
        except BaseException:
            await self._closed(stores)
            raise
        return stores

    async def _closed(self, stores: HeartbeatStores) -> None:
        try:
            await stores.stop()
        except Exception as error:  # noqa: BLE001 - it is being given up anyway
            self._outage.began("heartbeat", error)

    def _due(self, now: float, *, everything: bool) -> list[RunningJob]:
        asked, self._asked = self._asked, set()
        # One C call under the interpreter's lock, so the owning loop may go on adding and removing meanwhile.
        live = list(self._live.values())
        latest = now - self._lease_s / 6
        return [
            job
            for job in live
            if ((everything and job.renewed_at <= latest) or job.claim.token in asked) and not self._is_stuck(job, now)
        ]

    def _is_stuck(self, job: RunningJob, now: float) -> bool:
        """Whether the loop had a whole lease to end an overdue job, and did not: then another worker shall have it."""
        return not job.ended and now > job.deadline + self._lease_s

    async def _renew(self, store: JobStore, due: Sequence[RunningJob], worker: WorkerInfo | None) -> None:
        for batch in _batches(due):
            asked_at = self._clock.monotonic()
            renewed = await store.renew([job.claim for job in batch], lease_s=self._lease_s, worker=worker)
            worker = None
            lost = set(renewed.lost)
            for job in batch:
                if job.claim.token not in lost:  # until the loop has heard of it, nothing may pass for good
                    job.renewed_at, job.is_sure = asked_at, True
            if (renewed.lost or renewed.cancelled) and self._home is not None:
                self._home.call_soon_threadsafe(self._report, renewed)


def _batches(jobs: Sequence[RunningJob]) -> Iterator[Sequence[RunningJob]]:
    """At least one, so that a worker without jobs says that it lives."""
    for start in range(0, max(1, len(jobs)), _BATCH_MAX):
        yield jobs[start : start + _BATCH_MAX]
