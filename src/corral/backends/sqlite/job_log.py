"""What running jobs write, inside a transaction: their journals, their events; and signals, which come from outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.queries import read_queries
from corral.backends.sqlite.job_claiming import held
from corral.backends.sqlite.job_moves import Moves, QueueRow
from corral.errors import JobNotFound
from corral.jobs.job import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import JobEventDraft, StepWrite

_SQL = read_queries(Path(__file__).with_name("job_log.sql"))

SEQ_BITS = 32
# Old events are removed this many at a time, so that a long log costs little per event.
_TRIM_EVERY = 64


def journal(transaction: Transaction, writes: Sequence[StepWrite]) -> list[bool]:
    """Write steps under claims that hold."""
    found = held(transaction, [write.claim for write in writes])
    rows = []
    first = set()
    for write in writes:
        row = found.get(write.claim.token)
        if row is None:
            continue
        step = write.step
        rows.append(
            (
                row.number,
                step.key,
                step.ordinal,
                step.kind,
                int(step.is_reference),
                int(step.failed),
                bytearray(step.value),
            )
        )
        if not row.has_journal:
            first.add(row.number)
    transaction.connection.executemany(_SQL["write_step"], rows)
    transaction.connection.executemany(_SQL["has_journal"], [(number,) for number in first])
    return [write.claim.token in found for write in writes]


def steps(view: View, job_id: str) -> list[Step]:
    """The journal of a job."""
    return [
        Step(key=key, ordinal=ordinal, kind=kind, value=value, is_reference=bool(is_reference), failed=bool(failed))
        for key, ordinal, kind, value, is_reference, failed in view.execute(_SQL["steps"], (job_id,))
    ]


def emit(transaction: Transaction, drafts: Sequence[JobEventDraft], *, keep: int) -> list[int]:
    """Append events under claims that hold."""
    found = held(transaction, [draft.claim for draft in drafts])
    last: dict[str, int] = {}
    progress: dict[int, bytes] = {}
    events: list[tuple[Any, ...]] = []
    answers = []
    for draft in drafts:
        token = draft.claim.token
        row = found.get(token)
        if row is None:
            answers.append(0)
            continue
        seq = last[token] = last.get(token, row.last_seq) + 1
        answers.append(seq)
        events.append((row.number << SEQ_BITS | seq, row.attempt, draft.kind, transaction.now, bytearray(draft.data)))
        if draft.kind == "progress":
            progress[row.number] = draft.data
    many = transaction.connection.executemany
    many(_SQL["append"], events)
    many(_SQL["move_log"], [(seq, found[token].number) for token, seq in last.items()])
    if progress:
        many(_SQL["progress"], progress.items())
    for token, seq in last.items():
        row = found[token]
        transaction.job_news.moved[row.id] = seq
        if seq > keep and seq // _TRIM_EVERY > row.last_seq // _TRIM_EVERY:
            transaction.execute(_SQL["trim"], (row.number << SEQ_BITS, (row.number << SEQ_BITS) + seq - keep))
    return answers


def signal(transaction: Transaction, tenant: str, job_id: str, name: str, value: bytes) -> bool:
    """Write the next signal of a name, and wake the job if it waits for that one."""
    found = transaction.execute(_SQL["open_job"], (tenant, job_id)).fetchone()
    if found is None:
        raise JobNotFound
    if found[0] is None:
        return False
    row = QueueRow._make(found)
    prefix = f"signal:{name}#"
    numbers = [
        int(key[len(prefix) :])
        for (key,) in transaction.execute(_SQL["signals"], (row.number, prefix, f"signal:{name}$"))
        if key[len(prefix) :].isdigit()
    ]
    key = f"{prefix}{max(numbers, default=0) + 1}"
    transaction.execute(_SQL["write_step"], (row.number, key, 0, "signal", False, False, value))
    transaction.execute(_SQL["has_journal"], (row.number,))
    if row.state == "waiting" and row.awaits == key:
        moves = Moves(transaction)
        moves.make_ready(row)
        moves.close()
    return True
