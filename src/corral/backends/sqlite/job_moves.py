"""The ways of a job between its states: every one that gets ready goes through here, and every one that ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from corral.backends.queries import read_queries
from corral.clock import new_time_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.backends.sqlite.job_news import JobNews
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("job_moves.sql"))
_WHOLE = read_queries(Path(__file__).with_name("job_records.sql"))["get"]


def numbers_text(numbers: Iterable[int]) -> str:
    """Numbers as the queries take them."""
    return f"[{','.join(map(str, numbers))}]"


class QueueRow(NamedTuple):
    """An open job, as far as its next step depends on it."""

    number: int
    id: str
    tenant: str
    queue: str
    rank: int
    state: str
    token: str | None
    attempt: int
    failures: int
    max_attempts: int
    worker: str | None
    started_at: float | None
    deadline_at: float | None
    fairness_key: str
    weight: float
    key: str | None
    cancel: int
    has_callback: int
    has_journal: int
    last_seq: int
    awaits: str


class End(NamedTuple):
    """How a job ends."""

    row: QueueRow
    status: str
    failures: int
    error: bytes | None = None
    result: bytes | None = None


class _Rank:
    """One rank of a queue, as this operation sees it."""

    __slots__ = ("head", "is_empty", "lanes", "top")

    def __init__(self, head: float | None, top: float) -> None:
        self.is_empty = head is None
        self.head = top if head is None else head
        self.top = top
        self.lanes: dict[tuple[str, str], float] = {}


class Moves:
    """What one operation does to jobs. Slots that got free are given on, and lanes are written, in `close`."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.now = transaction.now
        self.news: JobNews = transaction.job_news
        self._execute = transaction.execute
        self._many = transaction.connection.executemany
        self._ranks: dict[tuple[str, int], _Rank] = {}
        self._opened: dict[str, int] = {}
        self._keys: dict[tuple[str, str], None] = {}
        self._slots: dict[tuple[str, str], list[int]] = {}

    # -- getting ready ------------------------------------------------------------------------------------------------

    def place(self, queue: str, rank: int, tenant: str, fairness_key: str, weight: float) -> float:
        """The pass of a job that gets ready now: fair share is decided here, and nowhere else."""
        group = self._ranks.get((queue, rank)) or self._rank(queue, rank)
        lane = (tenant, fairness_key)
        last = group.lanes.get(lane)
        if last is None:
            row = self._execute(_SQL["lane"], (queue, rank, tenant, fairness_key)).fetchone()
            last = row[0] if row else 0.0
        head = group.head
        place = (max(head, last)) + 1.0 / weight
        group.lanes[lane] = place
        if group.is_empty:
            group.is_empty = False
            group.head = place
        group.top = max(group.top, place)
        return place

    def _rank(self, queue: str, rank: int) -> _Rank:
        group = self._ranks.get((queue, rank))
        if group is None:
            head, top = self._execute(_SQL["rank"], (queue, rank)).fetchone()
            group = self._ranks[queue, rank] = _Rank(head, top)
        return group

    def _front(self, queue: str, rank: int, had: float = 0.0) -> float:
        """The pass of a job that has one, or had its turn before: it goes first, or where it was."""
        group = self._rank(queue, rank)
        group.is_empty = False
        group.top = math.nextafter(group.top, math.inf)  # That it rose tells other processes of work.
        return max(group.head, had)

    def has_slot(self, tenant: str, key: str, limit: int) -> bool:
        """Whether a new job of that key takes a slot at once: one is free, and nobody stands before it."""
        slots = self._slots.get((tenant, key))
        if slots is None:
            slots = self._slots[tenant, key] = list(self._execute(_SQL["slots"], (tenant, key)).fetchone())
        if slots[0] < limit and not slots[1]:
            slots[0] += 1
            return True
        slots[1] = 1
        self.wants_slot(tenant, key)
        return False

    def wants_slot(self, tenant: str, key: str) -> None:
        """A job of this key was parked, or a slot of it was given back."""
        self._keys[tenant, key] = None

    def make_ready(self, row: QueueRow, *, failures: int | None = None, lines_up: bool = False) -> None:
        """Have an open job wait for a worker, or for a slot first.

        One that ran or waited had its turn already and goes to the front, unless it is to line up again.
        """
        failures = row.failures if failures is None else failures
        self.news.moved[row.id] = 0
        place = None
        if not lines_up and row.state in {"running", "waiting"}:
            place = self._front(row.queue, row.rank)
        if row.key is None:
            if place is None:
                place = self.place(row.queue, row.rank, row.tenant, row.fairness_key, row.weight)
            self._execute(_SQL["queue"], ("ready", place, self.now, failures, row.number))
        else:
            self._execute(_SQL["queue"], ("parked", place, self.now, failures, row.number))
            self.wants_slot(row.tenant, row.key)

    def put_off(self, row: QueueRow, state: str, until: float | None, *, failures: int, awaits: str = "") -> None:
        """Have a job wait for a time or a signal, without a worker."""
        self._execute(_SQL["put_off"], (state, until, failures, awaits, row.number))
        self._let_go(row)
        self.news.moved[row.id] = 0
        if until is not None:
            self.news.put_off(until)

    # -- ending -------------------------------------------------------------------------------------------------------

    def end(self, ends: Sequence[End]) -> None:
        """Jobs end: what came of them is kept, their slots are given on, and those who asked for it are called back."""
        if not ends:
            return
        now = self.now
        self._many(
            _SQL["keep"],
            [
                (
                    one.status, one.row.attempt, one.failures, one.row.started_at or 0.0, now, one.row.worker or "",
                    one.row.last_seq, one.row.has_journal, bytearray(one.error or b""), bytearray(one.result or b""),
                    one.row.number,
                )
                for one in ends
            ],
        )  # fmt: skip
        self._execute(_SQL["leave"], (numbers_text(one.row.number for one in ends),))
        moved, expected = self.news.moved, self.transaction.expected
        for one in ends:
            row = one.row
            moved[row.id] = 0
            if row.id in expected:
                self.news.ended.append(self._execute(_WHOLE, (row.id, row.tenant)).fetchone())
            self.opened(row.queue, -1)
            if row.key is not None:
                self._let_go(row)
            if row.has_callback:
                self._execute(_SQL["call_back"], (new_time_id(now), now, row.number))
                self.news.outbox = True

    def note_attempts(self, ends: Iterable[tuple[QueueRow, bytes]]) -> None:
        """Keep why attempts failed."""
        self._many(
            _SQL["note_attempt"],
            [
                (row.number, row.attempt, row.worker or "", row.started_at or self.now, self.now, error)
                for row, error in ends
            ],
        )

    def opened(self, queue: str, jobs: int) -> None:
        """So many more jobs are open in a queue."""
        self._opened[queue] = self._opened.get(queue, 0) + jobs

    def _let_go(self, row: QueueRow) -> None:
        # A parked job that goes may have stood before one whose limit is higher.
        if row.key is not None and row.state in {"ready", "running", "parked"}:
            self.wants_slot(row.tenant, row.key)

    # -- at the end of the operation ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Give slots on, and write down where lanes and queues are."""
        for tenant, key in self._keys:
            self._fill(tenant, key)
        for (queue, rank), group in self._ranks.items():
            self._many(
                _SQL["move_lane"],
                [(queue, rank, tenant, key, place) for (tenant, key), place in group.lanes.items()],
            )
            self._execute(_SQL["move_rank"], (queue, rank, group.top))
            self.news.tops[queue, rank] = group.top
        for queue, jobs in self._opened.items():
            if jobs:
                self._execute(_SQL["count_open"], (queue, jobs, self.now))

    def _fill(self, tenant: str, key: str) -> None:
        """Make parked jobs ready while there are slots; a job of better rank takes that of one which does not run yet."""
        while (first := self._execute(_SQL["first_parked"], (tenant, key)).fetchone()) is not None:
            number, queue, rank, fairness_key, weight, limit, had, held = first
            if held >= limit:
                worst = self._execute(_SQL["worst_ready"], (tenant, key, rank)).fetchone()
                if worst is None:
                    return
                self._execute(_SQL["park"], worst)
            if had is None:
                place = self.place(queue, rank, tenant, fairness_key, weight)
            else:
                place = self._front(queue, rank, had)
            self._execute(_SQL["unpark"], (place, self.now, number))
