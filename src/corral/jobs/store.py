"""The ports of this room: where jobs are kept, and who may run them.

Implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.jobs`. All coordination is a
conditional update in one database, whose clock is the only clock. Every method is asynchronous, may be called from many
tasks at once, is bounded in time by the store's own timeout, and raises `StoreUnavailable` when the engine does not
answer. Where a method takes many, each element succeeds or is refused by itself unless it says otherwise; and callers
do group what they write, so an engine commits once per call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from corral.jobs.job import (
    Attempt,
    Batch,
    Claim,
    Claimed,
    Delivered,
    Delivery,
    Ending,
    Enqueued,
    JobDraft,
    JobEvent,
    JobEventDraft,
    JobInfo,
    JobQuery,
    QueueStats,
    Schedule,
    Step,
    StepWrite,
    WorkerInfo,
)
from corral.messages import Page


class Renewed(msgspec.Struct, frozen=True):
    """What a heartbeat learns."""

    lost: list[str]
    """Tokens that hold their job no longer."""
    cancelled: list[str]
    """Tokens whose job somebody wants cancelled; they still hold it."""


class Reaped(msgspec.Struct, frozen=True):
    """What one sweep did."""

    requeued: int = 0
    """Jobs of dead workers that may be claimed again."""
    failed: int = 0
    """Jobs that were given up: too many lost workers, or their deadline passed."""
    cancelled: int = 0
    aged: int = 0
    """Waiting jobs that rose by one priority."""
    removed: int = 0
    """Rows that nobody needs any more: keys, workers, lanes."""


class JobWatch(Protocol):
    """Hints about jobs that somebody follows. Any method may be called on the loop that began to watch."""

    def follow(self, job_id: str) -> None:
        """Be told about this job until `unfollow`, as often as it was followed."""
        ...

    def unfollow(self, job_id: str) -> None:
        """Be told no more."""
        ...

    def close(self) -> None:
        """End the watch."""
        ...


class StandingClaim(Protocol):
    """A claim that waits for work."""

    @property
    def claimed(self) -> asyncio.Future[Claimed]:
        """What it came to. Never done once it was withdrawn."""
        ...

    def withdraw(self) -> bool:
        """Take it back. False: it was claimed with already, and `claimed` will say what: nobody else has those jobs."""
        ...


class JobStore(Protocol):
    """The queue itself: what producers and workers need."""

    async def enqueue(self, drafts: Sequence[JobDraft], *, depth_max: int | None = None) -> list[Enqueued]:
        """Enqueue all drafts in order, or none; durable when it returns.

        Within one priority of a queue, fairness keys take turns by weight, and each key is first come first served. An
        idempotency key that is remembered for the tenant yields the earlier job; used for something else it raises
        `IdempotencyKeyReused`. With `depth_max`, raises `QueueFull` when more than that would be open in a queue; the
        count may be a second old. An id that is there already is enqueueing it twice: the first one stays.
        """
        ...

    async def claim(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str] = ()
    ) -> Claimed:
        """Take up to `limit` ready jobs (no queues named: of all), each under a fresh token, for `lease_s`.

        The most urgent first; within one priority by fair share. First makes ready what is due. A job is held by one
        token at a time. A job whose concurrency key is busy is not ready. Jobs of the agents in `exclude` stay.
        """
        ...

    def stand_by(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str] = ()
    ) -> StandingClaim | None:
        """Claim, once, what gets ready through this process from now on, in the transaction that makes it so.

        It is answered when something got ready, perhaps with nothing: somebody else may have been first. What it took needs no
        hint any more. None: this engine has no such thing, and `watch_work` is all there is.
        """
        ...

    async def renew(self, claims: Sequence[Claim], *, lease_s: float, worker: WorkerInfo | None = None) -> Renewed:
        """Extend leases; a lapsed one is extended too while nobody else took the job. Also notes that `worker` lives.

        Durable when it returns. A store whose claims are not has `claims_stay = False`: its workers renew once before they do
        anything that costs.
        """
        ...

    async def forget_worker(self, worker: str) -> None:
        """This worker has stopped: it is not among `workers` any more. Doing it twice is doing it once."""
        ...

    async def settle(self, endings: Sequence[Ending]) -> list[bool]:
        """Let jobs go as each ending says; False: that claim was lost, and nothing was written for it.

        Asked again with the very ending that let a job go, an engine may answer True: the first answer may have been lost.

        In the same transaction: the concurrency key is given on, the attempt is noted where it failed, and a job that
        has ended puts its callback into the outbox. A job that was to be cancelled and is not `succeeded` or `failed`
        becomes cancelled. `waiting` for a key that is in the journal already is ready at once.
        """
        ...

    async def journal(self, writes: Sequence[StepWrite]) -> list[bool]:
        """Write finished steps, durable when it returns; False: the claim was lost. A key written before stays as it was."""
        ...

    async def steps(self, job_id: str) -> list[Step]:
        """The whole journal of a job, by ordinal; signals last."""
        ...

    async def emit(self, drafts: Sequence[JobEventDraft], *, keep: int = 10_000) -> list[int]:
        """Append to the logs of running jobs; the number of each event, 0 where the claim was lost.

        Of each job about the newest `keep` events stay.
        """
        ...

    async def signal(self, tenant: str, job_id: str, name: str, value: bytes) -> bool:
        """Write the next signal of that name (`signal:NAME#1`, `#2`, …) into an open job's journal; wakes it if it waits.

        False: the job has ended. Raises `JobNotFound`.
        """
        ...

    async def cancel(self, tenant: str, query: JobQuery, *, job_id: str | None = None, limit: int = 1000) -> list[str]:
        """Cancel one job or those a query names (cursors do not matter); the ids of those that were open.

        What does not run is cancelled at once; what runs is asked to stop, and its worker hears of it.
        """
        ...

    async def reap(self, *, limit: int = 1000, ageing_s: float = 60.0) -> Reaped:
        """Sweep, for any worker at any time: every open state is covered.

        Running and lease over: ready again, or failed as `worker_lost` when its failures are used up, or cancelled where
        that was asked for. Deadline over: failed as `deadline_exceeded` (running ones when their lease is over). Waiting
        in a queue for `ageing_s`: one priority up, and again after as long.
        """
        ...

    def watch_work(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Call `woken` (on the loop that called this) when there may be something to claim, in any process. May be lost."""
        ...

    def expect(self, job_id: str, ended: Callable[[JobInfo], None]) -> Callable[[], None] | None:
        """Have a job that is about to be enqueued handed to `ended` when it has ended: whole, once, on the loop that called this.

        As good as a hint: it may be lost. Call what is returned when it is of no interest any more. None: this engine would have
        to read it first as anybody does, so `watch_jobs` is all there is.
        """
        ...

    def watch_jobs(self, moved: Callable[[Sequence[str]], None]) -> JobWatch:
        """Call `moved` (on that loop) with followed jobs that have new events or another state, in any process.

        A hint that may be lost or come twice.
        """
        ...


class JobRecords(Protocol):
    """What people and operators ask of jobs."""

    async def get(self, tenant: str, job_id: str) -> JobInfo | None:
        """One job, whole."""
        ...

    async def find(self, tenant: str, query: JobQuery) -> Page[JobInfo]:
        """List, newest first, without inputs and results."""
        ...

    async def events(self, tenant: str, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Events with a number above `after`, in order. None for an unknown job."""
        ...

    async def attempts(self, tenant: str, job_id: str) -> list[Attempt]:
        """The attempts that did not end well, oldest first."""
        ...

    async def redrive(
        self,
        tenant: str,
        query: JobQuery,
        *,
        job_id: str | None = None,
        new_input: bytes | None = None,
        limit: int = 1000,
    ) -> list[str]:
        """Have failed (or cancelled, when named by id or status) jobs run again from their journal, failures forgotten.

        `new_input`, for one job, replaces what was asked for and empties the journal. Returns the ids.
        """
        ...

    async def discard(self, tenant: str, query: JobQuery, *, job_id: str | None = None, limit: int = 1000) -> list[str]:
        """Put failed jobs away: they are dead letters no more. Returns the ids."""
        ...

    async def named(self, tenant: str, prefix: str) -> list[str]:
        """The ids of a tenant's jobs that begin so; two at most, which says that there are several."""
        ...

    async def queues(self) -> list[QueueStats]:
        """All queues that are in use or were within the hour, of all tenants together."""
        ...

    async def depth(self, queue: str, *, limit: int) -> int:
        """How many jobs are open in a queue; counting stops at `limit`."""
        ...

    async def workers(self, *, within_s: float) -> list[WorkerInfo]:
        """The workers that were heard of within that time."""
        ...

    async def create_batch(self, tenant: str, batch_id: str, total: int) -> None:
        """Note a batch; its jobs carry its id. Doing it twice is doing it once."""
        ...

    async def batch(self, tenant: str, batch_id: str) -> Batch | None:
        """How far a batch is."""
        ...

    async def forget(self, *, before: float, limit: int = 1000) -> int:
        """Remove ended jobs created before that time, with all they left behind; how many went, or partitions of them.

        One whose callback is still to be sent, and was asked for since that time, stays until it was.
        """
        ...


class BlobStore(Protocol):
    """Values too large for a journal or a queue's row."""

    async def put(self, tenant: str, name: str, body: bytes) -> None:
        """Keep; writing the same name again replaces it."""
        ...

    async def get(self, tenant: str, name: str) -> bytes | None:
        """Read."""
        ...

    async def delete(self, tenant: str, prefix: str) -> int:
        """Remove all names that begin so."""
        ...

    async def expire(self, prefix: str, *, before: str, limit: int = 1000) -> int:
        """Remove, of all tenants, names that begin so and end with a time id (`new_time_id`) that is less than this one.

        Looks at many names: ask it seldom.
        """
        ...


class ScheduleStore(Protocol):
    """Jobs that come again and again."""

    async def save(self, schedule: Schedule) -> None:
        """Create, or replace the one of that tenant and name."""
        ...

    async def remove(self, tenant: str, name: str) -> bool:
        """Remove; False: there was none."""
        ...

    async def schedules(self, tenant: str) -> list[Schedule]:
        """All of a tenant, by name."""
        ...

    async def due(self, *, limit: int = 100) -> tuple[list[Schedule], float | None]:
        """Those whose time has come (paused ones never), and in how many seconds the next one is due."""
        ...

    async def fire(self, schedule: Schedule, drafts: Sequence[JobDraft], *, next_at: float | None) -> bool:
        """Enqueue the drafts and move on to `next_at`, in one transaction, if nobody did since `schedule` was read."""
        ...


class OutboxStore(Protocol):
    """Callbacks that are still to be sent."""

    async def take(self, *, limit: int, lease_s: float) -> tuple[list[Delivery], float | None]:
        """Claim what is due, each under a fresh token; and in how many seconds the next one is due."""
        ...

    async def settle(self, outcomes: Sequence[Delivered]) -> list[bool]:
        """Note what came of them; False: somebody else took it meanwhile."""
        ...

    async def deliveries(self, tenant: str, *, job_id: str | None = None, limit: int = 100) -> list[Delivery]:
        """What is to be sent and what was, newest first; tokens left empty."""
        ...

    async def replay(self, tenant: str, delivery_id: str) -> bool:
        """Send once more, from now; False: there is no such delivery."""
        ...

    def watch(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Call `woken` when something may be due now, in any process. May be lost."""
        ...
