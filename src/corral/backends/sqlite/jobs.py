"""The queue, in SQLite."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.cursor import check_limit
from corral.backends.encoding import check_id, encode, findable
from corral.backends.queries import read_queries
from corral.backends.sqlite.job_claiming import Claiming, held, make_due_ready
from corral.backends.sqlite.job_drafts import draft_rows
from corral.backends.sqlite.job_enqueuing import enqueue
from corral.backends.sqlite.job_finding import finding
from corral.backends.sqlite.job_log import emit, journal, signal, steps
from corral.backends.sqlite.job_moves import End, Moves, QueueRow, numbers_text
from corral.backends.sqlite.job_rows import claimed_job
from corral.backends.sqlite.job_settling import ending_rows, settle
from corral.backends.sqlite.job_sweeping import reap
from corral.errors import JobNotFound
from corral.jobs.job import Claimed, JobQuery
from corral.jobs.states import OPEN
from corral.jobs.store import Renewed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.standing import StandingClaim
    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import Claim, Ending, Enqueued, JobDraft, JobEventDraft, JobInfo, Step, StepWrite, WorkerInfo
    from corral.jobs.store import JobWatch, Reaped

_SQL = read_queries(Path(__file__).with_name("jobs.sql"))


class SqliteJobs:
    """Every method is one operation of the writer: it sees all that was committed before, in any process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._hints = engine.job_hints
        self._turns = count()

    async def enqueue(self, drafts: Sequence[JobDraft], *, depth_max: int | None = None) -> list[Enqueued]:
        """Enqueue."""
        rows = draft_rows(drafts)
        if not rows:
            return []
        return await self._engine.write(lambda transaction: enqueue(transaction, rows, depth_max=depth_max))

    async def claim(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str] = ()
    ) -> Claimed:
        """Claim."""
        claiming = self._claiming(worker, queues=queues, limit=limit, lease_s=lease_s, exclude=exclude)

        def run(transaction: Transaction) -> tuple[list[tuple[Any, ...]], float, float | None]:
            next_due_s = make_due_ready(transaction)
            return claiming.run(transaction), transaction.now, next_due_s

        rows, now, next_due_s = await self._engine.write(run)
        return _claimed(claiming, rows, now, next_due_s)

    def stand_by(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str] = ()
    ) -> StandingClaim:
        """Claim what comes."""
        claiming = self._claiming(worker, queues=queues, limit=limit, lease_s=lease_s, exclude=exclude)

        def run(transaction: Transaction) -> Claimed:
            next_due_s = make_due_ready(transaction)
            rows = claiming.run(transaction)
            transaction.job_news.all_taken = claiming.takes_any and len(rows) < limit
            return _claimed(claiming, rows, transaction.now, next_due_s)

        return self._engine.standing.post(run)

    def _claiming(
        self, worker: str, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str]
    ) -> Claiming:
        check_id("worker", worker)
        check_limit(limit)
        turn = next(self._turns)
        return Claiming(worker, turn, queues=queues, limit=limit, lease_s=lease_s, exclude=exclude)

    async def renew(self, claims: Sequence[Claim], *, lease_s: float, worker: WorkerInfo | None = None) -> Renewed:
        """Extend leases."""
        info = None
        if worker is not None:
            check_id("worker", worker.worker)
            info = encode(worker, "The worker")

        def run(transaction: Transaction) -> Renewed:
            found = held(transaction, claims)
            numbers = numbers_text(row.number for row in found.values())
            transaction.execute(_SQL["renew"], (transaction.now + lease_s, numbers))
            if worker is not None:
                transaction.execute(_SQL["lives"], (worker.worker, transaction.now, info))
            return Renewed(
                lost=[claim.token for claim in claims if claim.token not in found],
                cancelled=[token for token, row in found.items() if row.cancel],
            )

        return await self._engine.write(run)

    async def forget_worker(self, worker: str) -> None:
        """A worker has stopped."""
        check_id("worker", worker)

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["forget_worker"], (worker,))

        await self._engine.write(run)

    async def settle(self, endings: Sequence[Ending]) -> list[bool]:
        """Let go."""
        if not endings:
            return []
        rows = ending_rows(endings)
        return await self._engine.write(lambda transaction: settle(transaction, rows))

    async def journal(self, writes: Sequence[StepWrite]) -> list[bool]:
        """Write steps."""
        if not writes:
            return []
        for write in writes:
            check_id("step", write.step.key)
        return await self._engine.write(lambda transaction: journal(transaction, writes))

    async def steps(self, job_id: str) -> list[Step]:
        """The journal."""
        if not findable(job_id):
            return []
        return await self._engine.read(lambda view: steps(view, job_id))

    async def emit(self, drafts: Sequence[JobEventDraft], *, keep: int = 10_000) -> list[int]:
        """Append events."""
        if not drafts:
            return []
        return await self._engine.write(lambda transaction: emit(transaction, drafts, keep=keep))

    async def signal(self, tenant: str, job_id: str, name: str, value: bytes) -> bool:
        """Write a signal."""
        check_id("signal", name)
        if not findable(tenant, job_id):
            raise JobNotFound
        return await self._engine.write(lambda transaction: signal(transaction, tenant, job_id, name, value))

    async def cancel(self, tenant: str, query: JobQuery, *, job_id: str | None = None, limit: int = 1000) -> list[str]:
        """Cancel."""
        check_limit(limit)
        status = [state for state in OPEN if not query.status or state in query.status]
        wanted = finding(tenant, query, status=status, job_id=job_id, limit=limit)
        if wanted is None or not status:
            return []

        def run(transaction: Transaction) -> list[str]:
            found = transaction.execute(_SQL["open_jobs"], (numbers_text(wanted.numbers(transaction)),)).fetchall()
            rows = [QueueRow._make(row) for row in found]
            moves = Moves(transaction)
            moves.end([End(row, "cancelled", row.failures) for row in rows if row.state != "running"])
            running = [row for row in rows if row.state == "running" and not row.cancel]
            transaction.connection.executemany(_SQL["ask_to_stop"], [(row.number,) for row in running])
            moves.news.moved.update((row.id, 0) for row in running)
            moves.close()
            return [row.id for row in rows]

        return await self._engine.write(run)

    async def reap(self, *, limit: int = 1000, ageing_s: float = 60.0) -> Reaped:
        """Sweep."""
        check_limit(limit)
        return await self._engine.write(lambda transaction: reap(transaction, limit=limit, ageing_s=ageing_s))

    def watch_work(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Be told of work."""
        return self._hints.watch_work(woken)

    def expect(self, job_id: str, ended: Callable[[JobInfo], None]) -> Callable[[], None]:
        """Be handed a job."""
        return self._hints.expect(job_id, ended)

    def watch_jobs(self, moved: Callable[[Sequence[str]], None]) -> JobWatch:
        """Be told of jobs."""
        return self._hints.watch_jobs(moved)


def _claimed(claiming: Claiming, rows: Sequence[tuple[Any, ...]], now: float, next_due_s: float | None) -> Claimed:
    return Claimed([claimed_job(row, claiming.nonce, now) for row in rows], next_due_s)
