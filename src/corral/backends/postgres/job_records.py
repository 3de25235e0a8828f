"""What people ask of jobs, from PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import LAST, check_id, findable
from corral.backends.postgres.job_columns import spec_of, tags_of
from corral.backends.postgres.job_days import make_days
from corral.backends.queries import read_queries
from corral.jobs.job import Attempt, Batch, Callback, JobError, JobEvent, JobInfo, QueueStats, WorkerInfo
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.backends.postgres.job_depth import Depths
    from corral.jobs.job import JobQuery
    from corral.jobs.states import JobState

_SQL = read_queries(Path(__file__).with_name("job_records.sql"))

_NULL = msgspec.Raw(b"null")
_DEAD: tuple[JobState, ...] = ("failed",)

_error = msgspec.json.Decoder(JobError)
_callback = msgspec.json.Decoder(Callback)
_worker = msgspec.json.Decoder(WorkerInfo)


class PostgresJobRecords:
    """Looks at jobs, and at the few things that people do with many of them."""

    def __init__(self, engine: Engine, depths: Depths) -> None:
        self._engine = engine
        self._depths = depths

    async def get(self, tenant: str, job_id: str) -> JobInfo | None:
        """One job."""
        if not findable(tenant, job_id):
            return None
        row = await self._engine.fetch_one(_SQL["get"], tenant, job_id)
        return _info(tenant, row) if row else None

    async def find(self, tenant: str, query: JobQuery) -> Page[JobInfo]:
        """List."""
        check_limit(query.limit)
        before = read_cursor(query.cursor, str) or LAST
        rows = await self._rows(tenant, query, query.status, before, query.limit + 1)
        return page_of([_info(tenant, row) for row in rows], lambda last: last.id, query.limit)

    async def events(self, tenant: str, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """What a job said."""
        check_limit(limit)
        if not findable(tenant, job_id):
            return []
        rows = await self._engine.fetch(_SQL["events"], tenant, job_id, after, limit)
        return [JobEvent(seq, attempt, kind, at, msgspec.Raw(data)) for seq, attempt, kind, at, data in rows]

    async def attempts(self, tenant: str, job_id: str) -> list[Attempt]:
        """What went wrong."""
        if not findable(tenant, job_id):
            return []
        return [
            Attempt(attempt=attempt, worker=worker, started_at=started, ended_at=ended, error=_error.decode(error))
            for attempt, worker, started, ended, error in await self._engine.fetch(_SQL["attempts"], tenant, job_id)
        ]

    async def redrive(
        self,
        tenant: str,
        query: JobQuery,
        *,
        job_id: str | None = None,
        new_input: bytes | None = None,
        limit: int = 1000,
    ) -> list[str]:
        """Have jobs run again."""
        ids = await self._ended(tenant, query, job_id, limit)
        if not ids:
            return []
        states = ["failed", "cancelled"] if job_id is not None or "cancelled" in query.status else ["failed"]
        rows = await self._engine.fetch(_SQL["redrive"], tenant, ids, states, new_input if job_id else None)
        redriven = [row[0] for row in rows]
        if redriven:
            self._engine.jobs.worked()
            self._engine.jobs.moved(redriven)
        return redriven

    async def discard(self, tenant: str, query: JobQuery, *, job_id: str | None = None, limit: int = 1000) -> list[str]:
        """Put failed jobs away."""
        ids = await self._ended(tenant, query, job_id, limit)
        rows = await self._engine.fetch(_SQL["discard"], tenant, ids) if ids else []
        self._engine.jobs.moved(discarded := [row[0] for row in rows])
        return discarded

    async def named(self, tenant: str, prefix: str) -> list[str]:
        """Ids by how they begin."""
        if not findable(tenant, prefix):
            return []
        return [row[0] for row in await self._engine.fetch(_SQL["named"], tenant, prefix, prefix + LAST)]

    async def queues(self) -> list[QueueStats]:
        """All queues."""
        return [
            QueueStats(
                queue=queue,
                queued=queued,
                scheduled=scheduled,
                running=running,
                waiting=waiting,
                oldest_queued_s=oldest,
            )
            for queue, queued, scheduled, running, waiting, oldest in await self._engine.fetch(_SQL["queues"])
        ]

    async def depth(self, queue: str, *, limit: int) -> int:
        """Open jobs of a queue."""
        return await self._depths.count(queue, limit) if findable(queue) else 0

    async def workers(self, *, within_s: float) -> list[WorkerInfo]:
        """Who lives."""
        return [
            msgspec.structs.replace(_worker.decode(info), seen_at=seen_at)
            for info, seen_at in await self._engine.fetch(_SQL["workers"], within_s)
        ]

    async def create_batch(self, tenant: str, batch_id: str, total: int) -> None:
        """Note a batch."""
        check_id("tenant", tenant)
        check_id("batch id", batch_id)
        await self._engine.fetch(_SQL["create_batch"], tenant, batch_id, total)

    async def batch(self, tenant: str, batch_id: str) -> Batch | None:
        """How far a batch is."""
        if not findable(tenant, batch_id):
            return None
        rows = await self._engine.fetch(_SQL["batch"], tenant, batch_id)
        if not rows:
            return None
        counts: dict[JobState, int] = {state: count for _, _, state, count in rows if state is not None}
        return Batch(id=batch_id, total=rows[0][0], created_at=rows[0][1], counts=counts)

    async def forget(self, *, before: float, limit: int = 1000) -> int:
        """Remove what is old."""
        gone = 0
        while gone < limit:
            (day,) = await self._engine.fetch_one(_SQL["forget_day"], before)
            if day is None:
                break
            gone += day
        await make_days(self._engine)
        return gone + int((await self._engine.fetch_one(_SQL["forget"], before, limit - gone))[0])

    async def _ended(self, tenant: str, query: JobQuery, job_id: str | None, limit: int) -> list[str]:
        if not findable(tenant, job_id):
            return []
        if job_id is not None:
            return [job_id]
        return [row[0] for row in await self._rows(tenant, query, query.status or _DEAD, LAST, limit)]

    async def _rows(
        self, tenant: str, query: JobQuery, status: tuple[JobState, ...], before: str, limit: int
    ) -> Sequence[Any]:
        words = (query.agent, query.queue, query.tag, query.session_id, query.user_id, query.batch_id)
        if not findable(tenant, before, *words):
            return []
        args = (tenant, before, limit, list(status) or None, *words, query.since, query.until)
        asked = "find_dead" if status == _DEAD else "find" if query.batch_id is None else "find_of_batch"
        return await self._engine.fetch(_SQL[asked], *args)


def _info(tenant: str, row: Sequence[Any]) -> JobInfo:
    (
        job_id, agent, queue, priority, session_id, user_id, tags, batch_id,
        max_attempts, created_at, deadline_at, spec, callback, finished_at, error,
        status, attempt, failures, last_seq, started_at, worker, progress,
        run_at, awaits, cancel_requested, body, result,
    ) = row  # fmt: skip
    return JobInfo(
        id=job_id,
        tenant=tenant,
        agent=agent,
        version=spec_of(spec).version,
        status=status,
        queue=queue,
        priority=priority,
        session_id=session_id,
        user_id=user_id,
        tags=tags_of(tags),
        batch_id=batch_id,
        attempt=attempt,
        failures=failures,
        max_attempts=max_attempts,
        created_at=created_at,
        run_at=run_at,
        started_at=started_at,
        finished_at=finished_at,
        deadline_at=deadline_at,
        worker=worker,
        cancel_requested=cancel_requested,
        awaits=awaits or "",
        progress=None if progress is None else msgspec.Raw(progress),
        error=None if error is None else _error.decode(error),
        input=_NULL if body is None else msgspec.Raw(body),
        result=None if result is None else msgspec.Raw(result),
        callback=None if callback is None else _callback.decode(callback),
        last_seq=last_seq,
    )
