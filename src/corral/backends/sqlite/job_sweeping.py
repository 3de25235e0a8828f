"""Sweep, inside a transaction: jobs of dead workers, deadlines, what waits too long, what nobody needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import encode
from corral.backends.queries import read_queries
from corral.backends.sqlite.job_claiming import make_due_ready
from corral.backends.sqlite.job_moves import End, Moves, QueueRow
from corral.jobs.job import JobError
from corral.jobs.store import Reaped

if TYPE_CHECKING:
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("job_sweeping.sql"))

_LOST = encode(
    JobError("worker_lost", "The worker that ran this job was heard of no more, and its lease ran out."), "An error"
)
_LATE = encode(JobError("deadline_exceeded", "The job did not end before its deadline.", retryable=False), "An error")
# Who was not heard of for a day is not coming back.
_FORGET_WORKER_S = 86_400.0
_FORGET_QUEUE_S = 3600.0


def reap(transaction: Transaction, *, limit: int, ageing_s: float) -> Reaped:
    """One sweep."""
    make_due_ready(transaction)
    requeued, failed, cancelled = _lapsed(transaction, limit)
    moves = Moves(transaction)
    late = [QueueRow._make(row) for row in transaction.execute(_SQL["late"], (transaction.now, limit)).fetchall()]
    moves.end([End(row, "failed", row.failures, _LATE) for row in late])
    moves.close()
    return Reaped(
        requeued=requeued,
        failed=failed + len(late),
        cancelled=cancelled,
        aged=_age(transaction, limit, ageing_s),
        removed=_remove(transaction, limit),
    )


def _lapsed(transaction: Transaction, limit: int) -> tuple[int, int, int]:
    """Running jobs whose lease is over."""
    now = transaction.now
    rows = [QueueRow._make(row) for row in transaction.execute(_SQL["lapsed"], (now, limit)).fetchall()]
    if not rows:
        return 0, 0, 0
    moves = Moves(transaction)
    ends = []
    cancelled = 0
    for row in rows:
        failures = row.failures + 1
        if row.cancel:
            ends.append(End(row, "cancelled", failures))
            cancelled += 1
        elif row.deadline_at is not None and row.deadline_at <= now:
            ends.append(End(row, "failed", failures, _LATE))
        elif failures >= row.max_attempts:
            ends.append(End(row, "failed", failures, _LOST))
        else:
            moves.make_ready(row, failures=failures)
    moves.note_attempts((row, _LOST) for row in rows)
    moves.end(ends)
    moves.close()
    return len(rows) - len(ends), len(ends) - cancelled, cancelled


def _age(transaction: Transaction, limit: int, ageing_s: float) -> int:
    """Put those up that wait for long. Each rank is looked at from where claims take from, so no look is a long one."""
    now = transaction.now
    aged = 0
    moves = Moves(transaction)
    for queue, rank in transaction.execute(_SQL["ranks"]).fetchall():
        old = transaction.execute(_SQL["old"], (queue, rank, limit, now - ageing_s)).fetchall()
        for number, tenant, fairness_key, weight in old[: limit - aged]:
            place = moves.place(queue, rank - 1, tenant, fairness_key, weight)
            transaction.execute(_SQL["age"], (rank - 1, place, now, number))
            aged += 1
        if aged >= limit:
            break
    moves.close()
    return aged + transaction.execute(_SQL["age_parked"], (now, now - ageing_s, limit)).rowcount


def _remove(transaction: Transaction, limit: int) -> int:
    now = transaction.now
    removed = transaction.execute(_SQL["forget_requests"], (now, limit)).rowcount
    removed += transaction.execute(_SQL["forget_workers"], (now - _FORGET_WORKER_S,)).rowcount
    removed += transaction.execute(_SQL["forget_queues"], (now - _FORGET_QUEUE_S,)).rowcount
    for queue, rank in transaction.execute(_SQL["all_ranks"]).fetchall():
        removed += transaction.execute(_SQL["forget_lanes"], (queue, rank, limit)).rowcount
    return removed
