"""A queue whose hints also travel over Redis: all is asked of the store behind it, and then told to other processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence

from corral.backends.redis.hints import Hints
from corral.jobs.job import (
    Claim,
    Claimed,
    Ending,
    Enqueued,
    JobDraft,
    JobEventDraft,
    JobInfo,
    JobQuery,
    Step,
    StepWrite,
    WorkerInfo,
)
from corral.jobs.store import JobStore, JobWatch, Reaped, Renewed, StandingClaim

Moved = Callable[[Sequence[str]], None]


class _Follower:
    """Who follows jobs here: told by the store behind, and by Redis."""

    def __init__(self, moved: Moved, behind: JobWatch, close: Callable[[_Follower], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.moved = moved
        self._behind = behind
        self._close = close
        self._followed: Counter[str] = Counter()

    def follow(self, job_id: str) -> None:
        """Be told about this job until `unfollow`, as often as it was followed."""
        self._followed[job_id] += 1
        self._behind.follow(job_id)

    def unfollow(self, job_id: str) -> None:
        """Be told no more."""
        self._followed[job_id] -= 1
        if self._followed[job_id] <= 0:
            del self._followed[job_id]
        self._behind.unfollow(job_id)

    def close(self) -> None:
        """End the watch."""
        self._close(self)
        self._behind.close()

    def hear(self, ids: Sequence[str]) -> None:
        """Some jobs changed; most of them concern others."""
        mine = [job_id for job_id in ids if job_id in self._followed]
        if mine:
            self.moved(mine)


class _Waiter:
    """Who waits for work here."""

    def __init__(self, woken: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.woken = woken


class HotJobs:
    """The queue of `behind`, with hints from other machines that need not wait for its own."""

    def __init__(self, behind: JobStore, url: str) -> None:
        """`url` is that of a Redis or Valkey; it may come and go."""
        self._behind = behind
        self._waiters: set[_Waiter] = set()
        self._followers: set[_Follower] = set()
        self.hints = Hints(url, heard=self._heard)

    # -- what others should hear of

    async def enqueue(self, drafts: Sequence[JobDraft], *, depth_max: int | None = None) -> list[Enqueued]:
        """As `JobStore.enqueue`."""
        enqueued = await self._behind.enqueue(drafts, depth_max=depth_max)
        if any(one.is_new and one.state == "queued" for one in enqueued):
            self.hints.say((), work=True)
        return enqueued

    async def claim(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str] = ()
    ) -> Claimed:
        """As `JobStore.claim`."""
        claimed = await self._behind.claim(worker, queues=queues, limit=limit, lease_s=lease_s, exclude=exclude)
        if claimed.jobs:
            self.hints.say([job.id for job in claimed.jobs])
        return claimed

    async def settle(self, endings: Sequence[Ending]) -> list[bool]:
        """As `JobStore.settle`."""
        kept = await self._behind.settle(endings)
        self.hints.say(
            [ending.claim.job_id for ending, known in zip(endings, kept, strict=True) if known],
            work=any(ending.kind == "released" for ending in endings),
        )
        return kept

    async def emit(self, drafts: Sequence[JobEventDraft], *, keep: int = 10_000) -> list[int]:
        """As `JobStore.emit`."""
        numbers = await self._behind.emit(drafts, keep=keep)
        self.hints.say([draft.claim.job_id for draft, seq in zip(drafts, numbers, strict=True) if seq])
        return numbers

    async def signal(self, tenant: str, job_id: str, name: str, value: bytes) -> bool:
        """As `JobStore.signal`."""
        written = await self._behind.signal(tenant, job_id, name, value)
        if written:
            self.hints.say([job_id], work=True)
        return written

    async def cancel(self, tenant: str, query: JobQuery, *, job_id: str | None = None, limit: int = 1000) -> list[str]:
        """As `JobStore.cancel`."""
        cancelled = await self._behind.cancel(tenant, query, job_id=job_id, limit=limit)
        self.hints.say(cancelled)
        return cancelled

    async def reap(self, *, limit: int = 1000, ageing_s: float = 60.0) -> Reaped:
        """As `JobStore.reap`."""
        reaped = await self._behind.reap(limit=limit, ageing_s=ageing_s)
        if reaped.requeued:
            self.hints.say((), work=True)
        return reaped

    # -- what is nobody else's concern

    async def renew(self, claims: Sequence[Claim], *, lease_s: float, worker: WorkerInfo | None = None) -> Renewed:
        """As `JobStore.renew`."""
        return await self._behind.renew(claims, lease_s=lease_s, worker=worker)

    async def forget_worker(self, worker: str) -> None:
        """As `JobStore.forget_worker`."""
        await self._behind.forget_worker(worker)

    async def journal(self, writes: Sequence[StepWrite]) -> list[bool]:
        """As `JobStore.journal`."""
        return await self._behind.journal(writes)

    async def steps(self, job_id: str) -> list[Step]:
        """As `JobStore.steps`."""
        return await self._behind.steps(job_id)

    # -- what is heard

    def stand_by(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str] = ()
    ) -> StandingClaim | None:
        """As behind it."""
        return self._behind.stand_by(worker, queues=queues, limit=limit, lease_s=lease_s, exclude=exclude)

    def watch_work(self, woken: Callable[[], None]) -> Callable[[], None]:
        """As `JobStore.watch_work`, and for what Redis says."""
        waiter = _Waiter(woken)
        self._waiters.add(waiter)
        unwatch = self._behind.watch_work(woken)

        def end() -> None:
            self._waiters.discard(waiter)
            unwatch()

        return end

    def expect(self, job_id: str, ended: Callable[[JobInfo], None]) -> Callable[[], None] | None:
        """As behind it."""
        return self._behind.expect(job_id, ended)

    def watch_jobs(self, moved: Moved) -> JobWatch:
        """As `JobStore.watch_jobs`, and for what Redis says."""
        follower = _Follower(moved, self._behind.watch_jobs(moved), self._followers.discard)
        self._followers.add(follower)
        return follower

    def _heard(self, work: bool, ids: Sequence[str]) -> None:
        # Hints come in on one loop, and are for whatever loop somebody watches on.
        if work:
            for waiter in list(self._waiters):
                _call(waiter.loop, waiter.woken)
        if ids:
            for follower in list(self._followers):
                _call(follower.loop, follower.hear, ids)


def _call(loop: asyncio.AbstractEventLoop, told: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # a loop that is closed hears nothing any more
        loop.call_soon_threadsafe(told, *arguments)
