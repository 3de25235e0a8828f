"""Where jobs are handed in and asked about: what the edge knows of this room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_time_id
from corral.errors import (
    JobNotFound,
    JobStateConflict,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    StoreUnavailable,
    ValidationFailed,
)
from corral.jobs.drafting import Caller, CheckInput, Drafting, PriorityOf, as_asked, fingerprint_of
from corral.jobs.follower import Follower
from corral.jobs.hub import JobHub
from corral.jobs.job import (
    QUEUE_DEFAULT,
    Attempt,
    Batch,
    Enqueued,
    JobDraft,
    JobEvent,
    JobInfo,
    JobQuery,
    QueueStats,
    Schedule,
    WorkerInfo,
)
from corral.jobs.request import BatchRequest, JobRequest, fault, is_queue, read_request
from corral.jobs.states import TERMINAL
from corral.jobs.store import JobRecords, JobStore
from corral.jobs.submitting import Submissions
from corral.messages import Page
from corral.settings.sections import JobSettings

SIGNAL_NAME_MAX = 200
_ID_CHARS = 36
_TURN_S = 0.005
"""After so long of drafting a batch, others have their turn."""
_PREFIX_CHARS = 8
_WORKER_LEASES = 3
"""A worker says three times in a lease that it lives: one that was not heard of for so many leases does not."""
_EVERYTHING = JobQuery()


class SubmittedBatch(msgspec.Struct, frozen=True):
    """What became of a request for many."""

    id: str
    jobs: list[str]
    is_new: bool


class QueueNow(QueueStats, frozen=True, kw_only=True):
    """One queue, and who works on it."""

    workers: list[WorkerInfo]
    per_s: float
    """What those workers end in a second, of all their queues."""


class JobDesk:
    """All that people may ask of jobs, each for one tenant. Raises errors that say what to do next."""

    def __init__(
        self,
        jobs: JobStore,
        records: JobRecords,
        hub: JobHub,
        settings: JobSettings,
        *,
        check_input: CheckInput = lambda _agent, _input: None,
        priority_of: PriorityOf = as_asked,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`check_input` knows the agents: it raises for a name that is none, and for an input that does not fit.

        `priority_of` says how urgent the jobs of each caller are.
        """
        self._jobs = jobs
        self._records = records
        self._settings = settings
        self._queues = {QUEUE_DEFAULT, *settings.queues}
        self._drafting = Drafting(settings, check_input, priority_of=priority_of, clock=clock)
        self._submissions = Submissions(jobs, depth_max=settings.depth_max, clock=clock)
        self._now, self._monotonic = clock.now, clock.monotonic
        self.hub = hub
        """Tells what becomes of jobs."""
        self.on_cancelled: Callable[[JobInfo], Awaitable[None]] | None = None
        """Told of each job that was cancelled before it ran: no worker will say so to whoever waits for it."""

    # -- handing in

    async def submit(self, caller: Caller, request: JobRequest) -> Enqueued:
        """Enqueue a job, durably.

        Raises `NotFound`, `ValidationFailed`, `PayloadTooLarge`, `QueueFull`, `IdempotencyKeyReused`.
        """
        return await self._submissions.add(self._drafting.draft(caller, request))

    async def run(self, caller: Caller, request: JobRequest, wait_s: float) -> tuple[Enqueued, JobInfo | None]:
        """Enqueue a job as `submit` does, and wait for its end for so long: the job as it then is.

        None: it was enqueued, and nobody can say more: too many wait here, or the store does not answer any more.
        """
        draft = self._drafting.draft(caller, request)
        if self.hub.is_full:
            return await self._submissions.add(draft), None
        with self.hub.expecting(draft.id) as expected:
            enqueued = await self._submissions.add(draft)
            with suppress(Overloaded, StoreUnavailable):
                if enqueued.id == draft.id:
                    return enqueued, await expected.end(caller.tenant, wait_s)
                return enqueued, await self.get(caller.tenant, enqueued.id, wait_s=wait_s)
            return enqueued, None

    async def submit_batch(self, caller: Caller, request: BatchRequest) -> SubmittedBatch:
        """Enqueue a job for each input, all or none, under one handle."""
        batch_id = new_time_id(self._now())
        fingerprint = fingerprint_of(caller, request)
        drafts: list[JobDraft] = []
        began = self._monotonic()
        for draft in self._drafting.drafts(caller, request, batch_id, fingerprint):
            drafts.append(draft)
            if self._monotonic() - began > _TURN_S:
                await asyncio.sleep(0)
                began = self._monotonic()
        await self._records.create_batch(caller.tenant, batch_id, len(drafts))
        jobs = await self._submissions.add_all(drafts)
        first = jobs[0]
        if not first.is_new:  # the same request came before: its handle is the one
            job = await self._records.get(caller.tenant, first.id)
            batch_id = (job.batch_id if job is not None else None) or batch_id
        return SubmittedBatch(batch_id, [job.id for job in jobs], first.is_new)

    def drafts(self, schedule: Schedule, at: float) -> Sequence[JobDraft]:
        """The jobs of a schedule for one of its times."""
        del at
        return [self.check(schedule.tenant, schedule.job)]

    def check(self, tenant: str, body: object) -> JobDraft:
        """The job that a request would become. Raises `NotFound`, `ValidationFailed`."""
        return self._drafting.draft(Caller(tenant=tenant, is_nobody=True), read_request(body))

    # -- asking

    async def get(self, tenant: str, job_id: str, *, wait_s: float = 0.0) -> JobInfo:
        """One job, whole; with `wait_s` as soon as it has ended, or after so long as it then is. Raises `JobNotFound`.

        It may also be named by how its id begins, where that is the beginning of no other.
        """
        if is_prefix(job_id):
            job_id = await self._named(tenant, job_id)
        _check_id(job_id)
        if wait_s > 0:
            known = await self.hub.wait(tenant, job_id, wait_s)
            if known.status in TERMINAL:
                return known
        job = await self._records.get(tenant, job_id)
        if job is None:
            raise _unknown(job_id)
        return job

    async def find(self, tenant: str, query: JobQuery) -> Page[JobInfo]:
        """List, newest first."""
        return await self._records.find(tenant, query)

    async def attempts(self, tenant: str, job_id: str) -> list[Attempt]:
        """The attempts that did not end well."""
        _check_id(job_id)
        found = await self._records.attempts(tenant, job_id)
        if not found:
            await self.get(tenant, job_id)
        return found

    async def events(self, tenant: str, job_id: str, *, after: int, limit: int) -> list[JobEvent]:
        """Events above a number."""
        _check_id(job_id)
        return await self._records.events(tenant, job_id, after=after, limit=limit)

    async def follow(self, tenant: str, job_id: str, woken: Callable[[], None], *, after: int = 0) -> Follower:
        """Be told what becomes of a job: see `JobHub.follow`."""
        _check_id(job_id)
        return await self.hub.follow(tenant, job_id, woken, after=after)

    async def batch(self, tenant: str, batch_id: str) -> Batch:
        """How far a batch is."""
        found = await self._records.batch(tenant, batch_id) if is_job_id(batch_id) else None
        if found is None:
            raise NotFound(f"There is no batch {batch_id[:100]!r}.")
        return found

    async def queues(self) -> list[QueueStats]:
        """All queues, of all tenants together; those that are known by their settings also where nobody uses them."""
        found = {stats.queue: stats for stats in await self._records.queues()}
        return [found.get(name) or QueueStats(queue=name) for name in sorted(found.keys() | self._queues)]

    async def workers(self) -> list[WorkerInfo]:
        """Workers that were alive lately."""
        return await self._records.workers(within_s=_WORKER_LEASES * self._settings.lease_s)

    async def queue(self, name: str) -> QueueNow:
        """One queue, empty where nobody uses it."""
        if not is_queue(name):
            raise NotFound(f"There is no queue {name[:100]!r}.")
        found = [stats for stats in await self._records.queues() if stats.queue == name]
        workers = [worker for worker in await self.workers() if not worker.queues or name in worker.queues]
        return QueueNow(
            **(msgspec.structs.asdict(found[0]) if found else {"queue": name}),
            workers=workers,
            per_s=round(sum(worker.per_s for worker in workers), 3),
        )

    # -- changing one

    async def cancel(self, tenant: str, job_id: str) -> JobInfo:
        """Cancel: what waits at once, what runs is asked to stop. Doing it twice is doing it once."""
        _check_id(job_id)
        done = await self._jobs.cancel(tenant, _EVERYTHING, job_id=job_id)
        job = await self.get(tenant, job_id)
        if not done and job.status != "cancelled":
            raise JobStateConflict(f"The job has ended already: it is {job.status}.")
        await self._tell_cancelled(job)
        return job

    async def _tell_cancelled(self, job: JobInfo | None) -> None:
        if self.on_cancelled is not None and job is not None and job.status == "cancelled":
            await self.on_cancelled(job)

    async def retry(self, tenant: str, job_id: str, new_input: Any = msgspec.UNSET) -> JobInfo:
        """Have a failed or cancelled job run again, from its journal, or with another input from the start."""
        _check_id(job_id)
        text: bytes | None = None
        if new_input is not msgspec.UNSET:
            text = self._drafting.encoded(new_input)
            self._drafting.check(await self._agent_of(tenant, job_id), new_input)
        done = await self._records.redrive(tenant, _EVERYTHING, job_id=job_id, new_input=text)
        job = await self.get(tenant, job_id)
        if not done:
            raise JobStateConflict(f"Only a job that failed or was cancelled can run again; this one is {job.status}.")
        return job

    async def discard(self, tenant: str, job_id: str) -> JobInfo:
        """Put a failed job away. Doing it twice is doing it once."""
        _check_id(job_id)
        done = await self._records.discard(tenant, _EVERYTHING, job_id=job_id)
        job = await self.get(tenant, job_id)
        if not done and job.status != "discarded":
            raise JobStateConflict(f"Only a job that failed can be put away; this one is {job.status}.")
        return job

    async def signal(self, tenant: str, job_id: str, name: str, value: Any) -> JobInfo:
        """Tell an open job what it waits for, or will. The job as it is then: it may wait for something else."""
        _check_id(job_id)
        if not (0 < len(name) <= SIGNAL_NAME_MAX and name.isprintable()):
            raise ValidationFailed(f"A signal's name is text of 1 to {SIGNAL_NAME_MAX} printable characters.")
        text = msgspec.json.encode(value)
        if len(text) > self._settings.inline_max_bytes:
            raise PayloadTooLarge(
                f"A signal has at most {self._settings.inline_max_bytes} bytes (`jobs.inline_max_bytes`): send a reference."
            )
        if not await self._jobs.signal(tenant, job_id, name, text):
            raise JobStateConflict("The job has ended: there is nobody to tell.")
        return await self.get(tenant, job_id)

    # -- changing many

    async def cancel_all(self, tenant: str, query: JobQuery) -> list[str]:
        """Cancel those that the query names and that are open; at most `query.limit`."""
        done = await self._jobs.cancel(tenant, query, limit=query.limit)
        if self.on_cancelled is not None:
            for job_id in done:
                await self._tell_cancelled(await self._records.get(tenant, job_id))
        return done

    async def redrive_all(self, tenant: str, query: JobQuery) -> list[str]:
        """Have those run again that the query names and that failed; cancelled ones where it names that status."""
        return await self._records.redrive(tenant, query, limit=query.limit)

    async def discard_all(self, tenant: str, query: JobQuery) -> list[str]:
        """Put those away that the query names and that failed."""
        return await self._records.discard(tenant, query, limit=query.limit)

    async def _named(self, tenant: str, prefix: str) -> str:
        """The whole id of the one job whose id begins so."""
        found = await self._records.named(tenant, prefix)
        if len(found) > 1:
            raise fault(
                "/id", f"The ids of several jobs begin with {prefix!r}, such as {' and '.join(found)}: give more of it."
            )
        if not found:
            raise _unknown(prefix)
        return found[0]

    async def _agent_of(self, tenant: str, job_id: str) -> str:
        return (await self.get(tenant, job_id)).agent


def is_job_id(text: str) -> bool:
    """Whether this can be an id of ours: others are not even asked for."""
    return len(text) == _ID_CHARS and text.isascii() and text.replace("-", "").isalnum()


def is_prefix(text: str) -> bool:
    """Whether this can be the beginning of an id of ours, and is long enough to be looked for."""
    return _PREFIX_CHARS <= len(text) < _ID_CHARS and text.isascii() and text.replace("-", "").isalnum()


def _check_id(job_id: str) -> None:
    if not is_job_id(job_id):
        raise _unknown(job_id)


def _unknown(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job {job_id[:100]!r}.")
