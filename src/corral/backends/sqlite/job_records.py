"""What people and operators ask of jobs, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import LAST, check_id, encode, findable
from corral.backends.queries import read_queries
from corral.backends.sqlite.job_finding import finding, info_rows
from corral.backends.sqlite.job_moves import Moves, QueueRow, numbers_text
from corral.backends.sqlite.job_rows import error_of, job_info
from corral.errors import ValidationFailed
from corral.jobs.job import Attempt, Batch, JobEvent, QueueStats, WorkerInfo
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.job_finding import Finding
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import JobInfo, JobQuery
    from corral.jobs.states import JobState

_SQL = read_queries(Path(__file__).with_name("job_records.sql"))

_worker = msgspec.json.Decoder(WorkerInfo)

# How many rows one look for old jobs takes in: those that are open still are passed over.
_LOOK = 1000
_LOOKS_MAX = 20
_SEQ_END = 1 << 32
_USED_WITHIN_S = 3600.0


class SqliteJobRecords:
    """Reads go past the writer; what changes many jobs changes at most so many at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get(self, tenant: str, job_id: str) -> JobInfo | None:
        """One job."""
        if not findable(tenant, job_id):
            return None
        row = await self._engine.read(lambda view: view.execute(_SQL["get"], (job_id, tenant)).fetchone())
        return job_info(row) if row else None

    async def find(self, tenant: str, query: JobQuery) -> Page[JobInfo]:
        """List."""
        check_limit(query.limit)
        before = read_cursor(query.cursor, int)
        wanted = finding(tenant, query, status=query.status, limit=query.limit + 1, before=before)
        if wanted is None:
            return Page([])

        def run(view: View) -> list[tuple[Any, ...]]:
            return info_rows(view, wanted.numbers(view))

        page = page_of(await self._engine.read(run), lambda last: last[0], query.limit)
        return Page([job_info(row) for row in page.items], page.next_cursor)

    async def events(self, tenant: str, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Events."""
        check_limit(limit)
        if not findable(tenant, job_id):
            return []
        bound = (job_id, tenant, min(after, _SEQ_END), limit)
        rows = await self._engine.read(lambda view: view.execute(_SQL["events"], bound).fetchall())
        return [JobEvent(seq, attempt, kind, at, msgspec.Raw(data)) for seq, attempt, kind, at, data in rows]

    async def attempts(self, tenant: str, job_id: str) -> list[Attempt]:
        """Attempts."""
        if not findable(tenant, job_id):
            return []
        rows = await self._engine.read(lambda view: view.execute(_SQL["attempts"], (job_id, tenant)).fetchall())
        return [
            Attempt(attempt=attempt, worker=worker, started_at=started_at, ended_at=ended_at, error=error_of(error))
            for attempt, worker, started_at, ended_at, error in rows
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
        """Run again."""
        check_limit(limit)
        if new_input is not None and job_id is None:
            raise ValidationFailed("A new input is for one job; name it.")
        named = job_id is not None or bool(query.status)
        status = _among(query, ("failed", "cancelled") if named else ("failed",))
        wanted = finding(tenant, query, status=status, job_id=job_id, limit=limit)
        if wanted is None or not status:
            return []

        def run(transaction: Transaction) -> list[str]:
            moves = Moves(transaction)
            ended = _ended(transaction, wanted, status)
            for number, _ in ended:
                if new_input is not None:
                    transaction.execute(_SQL["drop_journal"], (number,))
                transaction.execute(_SQL["reopen"], (number, new_input, transaction.now))
                (row,) = transaction.execute(_SQL["queue_reopened"], (number, transaction.now)).fetchall()
                moves.opened(row[3], 1)
                moves.make_ready(QueueRow._make(row))
            moves.close()
            return [one for _, one in ended]

        return await self._engine.write(run)

    async def discard(self, tenant: str, query: JobQuery, *, job_id: str | None = None, limit: int = 1000) -> list[str]:
        """Put away."""
        check_limit(limit)
        status = _among(query, ("failed",))
        wanted = finding(tenant, query, status=status, job_id=job_id, limit=limit)
        if wanted is None or not status:
            return []

        def run(transaction: Transaction) -> list[str]:
            ended = _ended(transaction, wanted, status)
            transaction.connection.executemany(_SQL["discard"], [(number,) for number, _ in ended])
            transaction.job_news.moved.update((one, 0) for _, one in ended)
            return [one for _, one in ended]

        return await self._engine.write(run)

    async def named(self, tenant: str, prefix: str) -> list[str]:
        """Ids by how they begin."""
        if not findable(tenant, prefix):
            return []
        bound = (tenant, prefix, prefix + LAST, _LOOK)
        rows = await self._engine.read(lambda view: view.execute(_SQL["named"], bound).fetchall())
        return [row[0] for row in rows]

    async def queues(self) -> list[QueueStats]:
        """Queues."""

        def run(view: View) -> tuple[list[tuple[Any, ...]], float]:
            return view.execute(_SQL["queues"], (view.now - _USED_WITHIN_S,)).fetchall(), view.now

        rows, now = await self._engine.read(run)
        return [
            QueueStats(
                queue=queue,
                queued=jobs - scheduled - running - waiting,
                scheduled=scheduled,
                running=running,
                waiting=waiting,
                oldest_queued_s=0.0 if since is None else max(0.0, now - since),
            )
            for queue, jobs, scheduled, running, waiting, since in rows
        ]

    async def depth(self, queue: str, *, limit: int) -> int:
        """Count."""
        if not findable(queue):
            return 0
        row = await self._engine.read(lambda view: view.execute(_SQL["depth"], (queue,)).fetchone())
        return min(limit, row[0]) if row else 0

    async def workers(self, *, within_s: float) -> list[WorkerInfo]:
        """Workers."""
        rows = await self._engine.read(lambda view: view.execute(_SQL["workers"], (view.now - within_s,)).fetchall())
        return [msgspec.structs.replace(_worker.decode(info), seen_at=seen_at) for seen_at, info in rows]

    async def create_batch(self, tenant: str, batch_id: str, total: int) -> None:
        """Note a batch."""
        check_id("tenant", tenant)
        check_id("batch id", batch_id)

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["create_batch"], (tenant, batch_id, total, transaction.now))

        await self._engine.write(run)

    async def batch(self, tenant: str, batch_id: str) -> Batch | None:
        """A batch."""
        if not findable(tenant, batch_id):
            return None

        def run(view: View) -> tuple[tuple[Any, ...] | None, list[tuple[Any, ...]]]:
            batch = view.execute(_SQL["batch"], (tenant, batch_id)).fetchone()
            return batch, view.execute(_SQL["batch_counts"], (tenant, batch_id)).fetchall() if batch else []

        row, counts = await self._engine.read(run)
        return None if row is None else Batch(id=batch_id, total=row[0], created_at=row[1], counts=dict(counts))

    async def forget(self, *, before: float, limit: int = 1000) -> int:
        """Remove old ones."""
        check_limit(limit)

        def run(transaction: Transaction) -> int:
            old = _old(transaction, before, limit)
            numbers = [(number,) for number, _, _ in old]
            many = transaction.connection.executemany
            many(_SQL["forget_blobs"], [(tenant, job_id) for _, tenant, job_id in old])
            for query in (
                "forget_steps", "forget_events", "forget_progress", "forget_attempts", "forget_callbacks", "forget_job",
            ):  # fmt: skip
                many(_SQL[query], numbers)
            transaction.execute(_SQL["forget_batches"], (before, limit))
            return len(old)

        return await self._engine.write(run)


def _among(query: JobQuery, status: tuple[JobState, ...]) -> tuple[JobState, ...]:
    """Those of the states in which something can be done that the query asks for."""
    return tuple(one for one in status if not query.status or one in query.status)


def _ended(transaction: Transaction, wanted: Finding, status: Sequence[JobState]) -> list[tuple[int, str]]:
    bound = (numbers_text(wanted.numbers(transaction)), encode(status, "The status").decode())
    return [(number, job_id) for number, job_id, _ in transaction.execute(_SQL["ended"], bound).fetchall()]


def _old(transaction: Transaction, before: float, limit: int) -> list[tuple[int, str, str]]:
    """Ended jobs created before that time: numbers rise with time, so the walk ends at the first younger one."""
    found: list[tuple[int, str, str]] = []
    after = 0
    for _ in range(_LOOKS_MAX):
        rows = transaction.execute(_SQL["oldest"], (after, _LOOK, before)).fetchall()
        for number, job_id, tenant, created_at, may_go in rows:
            if created_at >= before or len(found) >= limit:
                return found
            if may_go:
                found.append((number, tenant, job_id))
            after = number
        if len(rows) < _LOOK:
            break
    return found
