"""The queue, in PostgreSQL: each method is one statement, however many jobs it is about."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from asyncpg import UniqueViolationError

from corral.backends.encoding import LAST, check_id, findable
from corral.backends.postgres.failures import OutcomeUnknown
from corral.backends.postgres.job_alike import alike_of
from corral.backends.postgres.job_columns import claimed_of, columns_of
from corral.backends.postgres.job_watch import WatchedJobs
from corral.backends.queries import read_queries
from corral.clock import new_id
from corral.errors import CorralError, IdempotencyKeyReused, JobNotFound, JobStateConflict, QueueFull
from corral.jobs.job import Claimed, Enqueued, JobError, Step
from corral.jobs.states import OPEN
from corral.jobs.store import Reaped, Renewed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.postgres.engine import Engine
    from corral.backends.postgres.job_depth import Depths
    from corral.jobs.job import Claim, Ending, JobDraft, JobEventDraft, JobInfo, JobQuery, StepWrite, WorkerInfo
    from corral.jobs.store import JobWatch

_SQL = read_queries(Path(__file__).with_name("jobs.sql"))

# Where in the arguments of `enqueue_jobs` these are.
_IDS, _TENANTS, _KEYS = 0, 1, 20

_encode = msgspec.json.Encoder().encode
# These may be claimed again, now or at a time that who claims has to know.
_AGAIN = frozenset({"retry", "released", "waiting"})
_NOT_BEGUN = -1.0
"""The delay of what is let go without having begun."""

_LOST = _encode(JobError("worker_lost", "The worker stopped answering while it ran this job."))
_LATE = _encode(JobError("deadline_exceeded", "The job's deadline passed before it ended.", retryable=False))


class PostgresJobs:
    """Jobs that wait, run and end."""

    claims_stay = False
    """A claim is told before it is on the disk, and a crash of the server undoes it."""

    def __init__(self, engine: Engine, depths: Depths) -> None:
        self._engine = engine
        self._depths = depths
        self._watched: WatchedJobs = engine.jobs

    # -- producers -------------------------------------------------------------------------------------------------

    async def enqueue(self, drafts: Sequence[JobDraft], *, depth_max: int | None = None) -> list[Enqueued]:
        """Enqueue all, or none."""
        if not drafts:
            return []
        alike = alike_of(drafts)
        columns = columns_of(drafts) if alike is None else None
        if depth_max is not None:
            try:
                await self._depths.check([draft.queue for draft in drafts], depth_max)
            except QueueFull:
                columns = columns or columns_of(drafts)
                if not await self._known(columns):
                    raise
        if alike is not None and await self._enqueue_alike(alike):
            return [Enqueued(draft.id, True, "queued") for draft in drafts]
        rows = await self._engine.fetch(_SQL["enqueue"], *(columns or columns_of(drafts)))
        if rows[0][0]:
            raise refused_of(rows[0][0])
        self._watched.worked()
        if rows[0][1] is None:  # All are new and ready.
            return [Enqueued(draft.id, True, "queued") for draft in drafts]
        return [Enqueued(job_id, is_new, state) for _, job_id, is_new, state in rows]

    async def _enqueue_alike(self, alike: Sequence[Any]) -> bool:
        """Enqueue the usual batch. False: an id is known, by this very call repeated or by chance; nothing was written."""
        try:
            await self._engine.fetch(_SQL["enqueue_alike"], *alike)
        except UniqueViolationError:
            return False
        self._watched.worked()
        return True

    async def _known(self, columns: Sequence[Any]) -> bool:
        """Whether all these drafts are jobs already, so that they take no room."""
        asked = (columns[_IDS], columns[_TENANTS], columns[_KEYS])
        (fresh,) = await self._engine.fetch_one(_SQL["count_fresh"], *asked)
        return not fresh

    async def signal(self, tenant: str, job_id: str, name: str, value: bytes) -> bool:
        """Write the next signal of that name."""
        if not findable(tenant, job_id):
            raise JobNotFound
        check_id("signal", name)
        (outcome,) = await self._engine.fetch_one(_SQL["signal"], tenant, job_id, name, value, new_id())
        if outcome == "unknown":
            raise JobNotFound
        self._watched.moved([job_id])
        self._watched.worked()
        return bool(outcome == "signalled")

    async def cancel(self, tenant: str, query: JobQuery, *, job_id: str | None = None, limit: int = 1000) -> list[str]:
        """Cancel what waits, and ask what runs to stop."""
        if not findable(tenant, job_id):
            return []
        ids = [job_id] if job_id is not None else await self._open(tenant, query, limit)
        if not ids:
            return []
        cancelled = [row[0] for row in await self._engine.fetch(_SQL["cancel"], tenant, ids)]
        self._watched.moved(cancelled)
        self._watched.worked()
        return cancelled

    async def _open(self, tenant: str, query: JobQuery, limit: int) -> list[str]:
        words = (query.agent, query.queue, query.tag, query.session_id, query.user_id, query.batch_id)
        if (query.status and OPEN.isdisjoint(query.status)) or not findable(*words):
            return []
        rows = await self._engine.fetch(
            _SQL["find_open"], tenant, LAST, limit, list(query.status) or None, *words, query.since, query.until
        )
        return [row[0] for row in rows]

    # -- workers ---------------------------------------------------------------------------------------------------

    async def claim(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str] = ()
    ) -> Claimed:
        """Take ready jobs."""
        call = new_id()
        args = (worker, list(queues), limit, lease_s, list(exclude))
        try:
            rows = await self._engine.fetch(_SQL["claim"], *args, call, again=False)
        except OutcomeUnknown:
            # Tokens carry the name of this call: what it took, if it did, is found by that.
            rows = await self._engine.fetch(_SQL["claimed_by_call"], call)
            return Claimed(claimed_of(rows), 0.0)
        # An update returns its rows in whatever order it came to them; each token says whose turn it was.
        return Claimed(claimed_of(sorted(rows[:-1], key=partial(_turn, len(call) + 1))), rows[-1][-1])

    async def renew(self, claims: Sequence[Claim], *, lease_s: float, worker: WorkerInfo | None = None) -> Renewed:
        """Extend leases, and note that the worker lives."""
        if worker is not None:
            await self._engine.fetch(_SQL["note_worker"], worker.worker, _encode(worker))
        if not claims:
            return Renewed([], [])
        ids, tokens = _claims(claims)
        held = dict(await self._engine.fetch(_SQL["renew"], ids, tokens, lease_s))
        return Renewed(
            [claim.token for claim in claims if claim.token not in held],
            [token for token in tokens if held.get(token)],
        )

    async def forget_worker(self, worker: str) -> None:
        """A worker has stopped."""
        check_id("worker", worker)
        await self._engine.fetch(_SQL["forget_worker"], worker)

    async def settle(self, endings: Sequence[Ending]) -> list[bool]:
        """Let jobs go."""
        if not endings:
            return []
        if len({ending.claim.token for ending in endings}) < len(endings):
            return await self._settle_first(endings)
        errors = [None if ending.error is None else _encode(ending.error) for ending in endings]
        again = any(ending.kind in _AGAIN or not ending.begun for ending in endings)
        ids, tokens = _claims([ending.claim for ending in endings])
        (settled,) = await self._engine.fetch_one(
            _SQL["settle"],
            ids,
            tokens,
            [ending.kind for ending in endings],
            [ending.result for ending in endings],
            errors if any(errors) else None,
            [ending.delay_s if ending.begun else _NOT_BEGUN for ending in endings] if again else None,
            [ending.awaits for ending in endings] if again else None,
            [ending.wait_until for ending in endings] if again else None,
        )
        self._watched.moved(ids)
        if again:
            self._watched.worked()
        return list(settled)

    async def _settle_first(self, endings: Sequence[Ending]) -> list[bool]:
        """Of several endings of one claim the first one holds, and the others find it gone."""
        firsts: dict[str, Ending] = {}
        for ending in endings:
            firsts.setdefault(ending.claim.token, ending)
        settled = dict(zip(firsts, await self.settle(list(firsts.values())), strict=True))
        return [settled.pop(ending.claim.token, False) for ending in endings]

    async def journal(self, writes: Sequence[StepWrite]) -> list[bool]:
        """Write finished steps."""
        if not writes:
            return []
        for write in writes:
            check_id("step", write.step.key)
        (held,) = await self._engine.fetch_one(
            _SQL["journal"],
            *_claims([write.claim for write in writes]),
            [write.step.key for write in writes],
            [write.step.ordinal for write in writes],
            [write.step.kind for write in writes],
            [write.step.value for write in writes],
            [write.step.is_reference for write in writes],
            [write.step.failed for write in writes],
        )
        return list(held)

    async def steps(self, job_id: str) -> list[Step]:
        """The whole journal."""
        if not findable(job_id):
            return []
        rows = await self._engine.fetch(_SQL["steps"], job_id)
        return [
            Step(key=key, ordinal=ordinal, kind=kind, value=value, is_reference=is_reference, failed=failed)
            for key, ordinal, kind, value, is_reference, failed in rows
        ]

    async def emit(self, drafts: Sequence[JobEventDraft], *, keep: int = 10_000) -> list[int]:
        """Append to logs."""
        if not drafts:
            return []
        ids, tokens = _claims([draft.claim for draft in drafts])
        (seqs,) = await self._engine.fetch_one(
            _SQL["emit"],
            ids,
            tokens,
            [draft.kind for draft in drafts],
            [draft.data for draft in drafts],
            keep,
            new_id(),
        )
        self._watched.moved(ids)
        return list(seqs)

    async def reap(self, *, limit: int = 1000, ageing_s: float = 60.0) -> Reaped:
        """Sweep."""
        await self._engine.fetch(_SQL["ready_due"], limit)
        requeued, failed, cancelled = await self._engine.fetch_one(_SQL["reap"], limit, _LOST, _LATE)
        (aged,) = await self._engine.fetch_one(_SQL["age"], limit, ageing_s)
        await self._engine.fetch(_SQL["note_queues"], limit)
        removed, _ = await self._engine.fetch_one(_SQL["tidy"], limit)
        if requeued or failed or cancelled:
            self._watched.worked()
            self._watched.moved_all()
        return Reaped(requeued, failed, cancelled, aged, removed)

    # -- hints -----------------------------------------------------------------------------------------------------

    def stand_by(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str] = ()
    ) -> None:
        """Not here: another process's statement cannot claim for this one."""
        del worker, queues, limit, lease_s, exclude

    def watch_work(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Be told when there may be something to claim."""
        return self._watched.watch_work(woken)

    def expect(self, job_id: str, ended: Callable[[JobInfo], None]) -> None:
        """Not here: what ends a job tells nothing of it."""
        del job_id, ended

    def watch_jobs(self, moved: Callable[[Sequence[str]], None]) -> JobWatch:
        """Be told of jobs that move."""
        return self._watched.watch_jobs(moved)


def _claims(claims: Sequence[Claim]) -> tuple[list[str], list[str]]:
    """Ids and tokens; one that was never kept becomes one that nobody has."""
    if all(findable(claim.job_id, claim.token) for claim in claims):
        return [claim.job_id for claim in claims], [claim.token for claim in claims]
    real = [(claim.job_id, claim.token) if findable(claim.job_id, claim.token) else ("", "") for claim in claims]
    return [job_id for job_id, _ in real], [token for _, token in real]


def _turn(start: int, row: Sequence[Any]) -> int:
    """Whose turn a claimed job was: the number in its token (`CALL.7:tenant`, `CALL.7k:tenant` with a concurrency key)."""
    token: str = row[1]
    return int(token[start : token.index(":", start)].removesuffix("k"))


def refused_of(word: str) -> CorralError:
    """Why `enqueue_jobs` enqueued nothing."""
    if word == "reused":
        return IdempotencyKeyReused()
    return JobStateConflict("One of these job ids is taken; take fresh ones.")
