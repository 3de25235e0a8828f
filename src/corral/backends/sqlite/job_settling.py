"""Let claimed jobs go, inside a transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from corral.backends.encoding import check_id, encode
from corral.backends.queries import read_queries
from corral.backends.sqlite.job_claiming import held
from corral.backends.sqlite.job_moves import End, Moves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.job_moves import QueueRow
    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import Ending

_SQL = read_queries(Path(__file__).with_name("job_settling.sql"))


class EndingRow(NamedTuple):
    """An ending, with its error encoded."""

    ending: Ending
    error: bytes | None


def ending_rows(endings: Sequence[Ending]) -> list[EndingRow]:
    """Check and encode, on the caller's side."""
    rows = []
    for ending in endings:
        if ending.kind == "waiting":
            check_id("awaited key", ending.awaits)
        rows.append(EndingRow(ending, None if ending.error is None else encode(ending.error, "The error")))
    return rows


def settle(transaction: Transaction, rows: Sequence[EndingRow]) -> list[bool]:
    """Let each job go as its ending says, if its claim holds."""
    found = held(transaction, [row.ending.claim for row in rows])
    moves = Moves(transaction)
    ends: list[End] = []
    failed: list[tuple[QueueRow, bytes]] = []
    answers = []
    for ending, error in rows:
        # Taken out: the second ending of a claim in one call finds it gone.
        row = found.pop(ending.claim.token, None)
        answers.append(row is not None)
        if row is None:
            continue
        kind = ending.kind
        if kind in {"failed", "retry"} and error is not None:
            failed.append((row, error))
        if kind == "succeeded":
            ends.append(End(row, kind, row.failures, None, ending.result))
        elif kind == "failed":
            ends.append(End(row, kind, row.failures + 1, error, ending.result))
        elif kind == "cancelled" or row.cancel:
            if not ending.begun:
                row = _not_begun(row)
            ends.append(End(row, "cancelled", row.failures + (kind == "retry"), error, ending.result))
        else:
            _hand_back(moves, row, ending)
    if failed:
        moves.note_attempts(failed)
    moves.end(ends)
    moves.close()
    return answers


def _not_begun(row: QueueRow) -> QueueRow:
    """A claim was no attempt: the job ends as it came."""
    return row._replace(attempt=row.attempt - 1, started_at=None if row.attempt == 1 else row.started_at, worker=None)


def _hand_back(moves: Moves, row: QueueRow, ending: Ending) -> None:
    if ending.kind == "released":
        if not ending.begun:
            moves.transaction.execute(_SQL["not_begun"], (row.number,))
        moves.make_ready(row)
    elif ending.kind == "retry":
        failures = row.failures + 1
        if ending.delay_s > 0:
            moves.put_off(row, "scheduled", moves.now + ending.delay_s, failures=failures)
        else:
            moves.make_ready(row, failures=failures, lines_up=True)
    elif moves.transaction.execute(_SQL["is_written"], (row.number, ending.awaits)).fetchone():
        moves.make_ready(row)
    else:
        moves.put_off(row, "waiting", ending.wait_until, failures=row.failures, awaits=ending.awaits)
