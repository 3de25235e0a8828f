"""Claim jobs inside a transaction, and tell whether a claim still holds."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.encoding import encode
from corral.backends.queries import read_queries
from corral.backends.sqlite.job_moves import Moves, QueueRow, numbers_text
from corral.clock import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import Claim

_SQL = read_queries(Path(__file__).with_name("job_claiming.sql"))

# What came due while nobody looked is made ready a good bite at a time: claims go on meanwhile.
DUE_MAX = 1000


def token_of(nonce: str, number: int) -> str:
    """A claim's token says where the job is, so that no write has to look for it."""
    return f"{nonce}.{number:x}"


def _read_token(token: str) -> tuple[str, int]:
    nonce, _, digits = token.rpartition(".")
    try:
        number = int(digits, 16)
    except ValueError:
        return "", -1
    return nonce, number if number < 1 << 63 else -1


def held(transaction: Transaction, claims: Sequence[Claim]) -> dict[str, QueueRow]:
    """The jobs whose claims hold at this moment, by token."""
    wanted = {claim.token: (*_read_token(claim.token), claim.job_id) for claim in claims}
    numbers = numbers_text({number for _, number, _ in wanted.values()})
    rows = {row[0]: QueueRow._make(row) for row in transaction.execute(_SQL["running"], (numbers,)).fetchall()}
    found = {}
    for token, (nonce, number, job_id) in wanted.items():
        row = rows.get(number)
        if row is not None and row.token == nonce and row.id == job_id:
            found[token] = row
    return found


def make_due_ready(transaction: Transaction) -> float | None:
    """Make ready what is due; in how many seconds the next one will be."""
    first = transaction.execute(_SQL["first_due"]).fetchone()
    if first is None:
        return None
    if first[0] <= transaction.now:
        moves = Moves(transaction)
        for row in transaction.execute(_SQL["due"], (transaction.now, DUE_MAX)).fetchall():
            moves.make_ready(QueueRow._make(row))
        moves.close()
        first = transaction.execute(_SQL["first_due"]).fetchone()
    return None if first is None else max(0.0, first[0] - transaction.now)


class Claiming:
    """One claim: who takes, of what, how much. Queues of one rank take turns, beginning elsewhere each `turn`."""

    def __init__(
        self, worker: str, turn: int, *, queues: Sequence[str], limit: int, lease_s: float, exclude: Sequence[str]
    ) -> None:
        self._worker = worker
        self._turn = turn
        self.nonce = new_id()
        """What the tokens of this claim begin with."""
        self._queues = encode(queues, "Queues").decode() if queues else None
        self._limit = limit
        self._lease_s = lease_s
        self._exclude = encode(exclude, "Agents").decode() if exclude else None

    @property
    def takes_any(self) -> bool:
        """Whether it takes every job that is ready."""
        return self._queues is None and self._exclude is None

    def run(self, transaction: Transaction) -> list[tuple[Any, ...]]:
        """Take jobs, the most urgent first."""
        groups = transaction.execute(_SQL["groups"], (self._queues,)).fetchall()
        taken: list[tuple[Any, ...]] = []
        for rank, found in groupby(groups, key=lambda group: group[0]):
            queues = [queue for _, queue in found]
            start = self._turn % len(queues)
            queues = queues[start:] + queues[:start]
            while queues and len(taken) < self._limit:
                share = max(1, (self._limit - len(taken)) // len(queues))
                queues = [queue for queue in queues if self._take(transaction, queue, rank, share, taken)]
            if len(taken) >= self._limit:
                break
        return taken

    def _take(self, transaction: Transaction, queue: str, rank: int, share: int, taken: list[tuple[Any, ...]]) -> bool:
        """Take a share of one rank of a queue; whether there may be more."""
        limit = min(share, self._limit - len(taken))
        if limit <= 0:
            return False
        now = transaction.now
        if self._exclude is None:
            rows = transaction.execute(_SQL["walk"], (queue, rank, now, limit)).fetchall()
        else:
            rows = transaction.execute(_SQL["walk_excluding"], (queue, rank, now, limit, self._exclude)).fetchall()
        if not rows:
            return False
        numbers = numbers_text(row[0] for row in rows)
        transaction.execute(_SQL["take"], (self.nonce, self._worker, now + self._lease_s, now, numbers))
        moved = transaction.job_news.moved
        for row in rows:
            moved[row[1]] = 0
        taken += rows
        return len(rows) == limit
