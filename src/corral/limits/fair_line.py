"""Callers in line: the highest score first, tenants in turns within a score, and now and then the score that went without."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping

from corral.limits.priorities import Rank

_FORGET_AT = 64
_GAP_STEP = 0.1


class Ticket:
    """One caller in line."""

    __slots__ = ("came_at", "future", "rank", "tenant")

    def __init__(self, rank: Rank, tenant: str, came_at: float, future: asyncio.Future[None]) -> None:
        """`future` is done when its turn has come, or when it is clear that it will not."""
        self.rank = rank
        self.tenant = tenant
        self.came_at = came_at
        self.future = future


class _Class:
    """Those of one score: each tenant's own first come first served, and tenants in turns by weight."""

    def __init__(self, rank: Rank, weight_of: Callable[[str], float]) -> None:
        self.rank = rank
        self.members = 0
        self.had_turn = 0
        """Which turn its last one was."""
        self.gap_s = 0.0
        """From one turn of its to the next, lately."""
        self._turn_at: float | None = None
        self.tenants: dict[str, OrderedDict[Ticket, None]] = {}
        self._weight_of = weight_of
        self._turns: list[tuple[float, int, str]] = []
        self._passed: dict[str, float] = {}
        self._reached = 0.0
        self._number = 0

    def add(self, ticket: Ticket) -> None:
        waiting = self.tenants.get(ticket.tenant)
        if waiting is None:
            waiting = self.tenants[ticket.tenant] = OrderedDict()
            # Who was away has saved nothing up; who has just had its turn is not first again.
            self._queue(ticket.tenant, max(self._passed.get(ticket.tenant, 0.0), self._reached))
        waiting[ticket] = None
        if not self.members:
            self._turn_at = None  # time in which nobody waited is no gap
        self.members += 1

    def remove(self, ticket: Ticket) -> None:
        waiting = self.tenants[ticket.tenant]
        del waiting[ticket]
        self.members -= 1
        if not waiting:
            del self.tenants[ticket.tenant]

    def first(self, may: Callable[[str], bool]) -> Ticket | None:
        """Whose turn is next, of the tenants that may have one."""
        skipped = []
        found = None
        while self._turns:
            turn = self._turns[0]
            passed, _, tenant = turn
            waiting = self.tenants.get(tenant)
            if waiting is None or self._passed[tenant] != passed:
                heapq.heappop(self._turns)  # it left, or stands elsewhere by now
            elif may(tenant):
                found = next(iter(waiting))
                break
            else:
                skipped.append(heapq.heappop(self._turns))
        for turn in skipped:
            heapq.heappush(self._turns, turn)
        return found

    def charge(self, tenant: str, turn: int, now: float) -> None:
        """It had a turn."""
        self.had_turn = turn
        if self._turn_at is not None:
            gap_s = now - self._turn_at
            self.gap_s = gap_s if not self.gap_s else self.gap_s + _GAP_STEP * (gap_s - self.gap_s)
        self._turn_at = now
        passed = self._passed[tenant]
        self._reached = max(self._reached, passed)
        passed += 1.0 / self._weight_of(tenant)
        if tenant in self.tenants:
            self._queue(tenant, passed)
        else:
            self._passed[tenant] = passed
        if len(self._passed) > 2 * len(self.tenants) + _FORGET_AT:  # who is forgotten is at most one turn better off
            self._passed = {name: at for name, at in self._passed.items() if name in self.tenants}

    def _queue(self, tenant: str, passed: float) -> None:
        self._number += 1
        self._passed[tenant] = passed
        heapq.heappush(self._turns, (passed, self._number, tenant))
        if len(self._turns) > 2 * len(self.tenants) + _FORGET_AT:  # of tenants that left without a turn
            latest = {name: turn for turn in sorted(self._turns) if self._passed.get(name := turn[2]) == turn[0]}
            self._turns = sorted(turn for name, turn in latest.items() if name in self.tenants)


class FairLine:
    """Who waits. It decides who is next, and who has to go when there are too many; it wakes nobody itself."""

    def __init__(self, *, elder_turn: int, tenants: Mapping[str, float]) -> None:
        """Each `elder_turn`-th turn is that of the score that had none for the longest. `tenants` have weights, 1 without."""
        self._elder_turn = elder_turn
        self._weights = tenants
        self._classes: dict[float, _Class] = {}
        self._descending: list[_Class] = []
        self._by_age: OrderedDict[Ticket, None] = OrderedDict()
        self._turn = 0
        self.tenants: Counter[str] = Counter()
        """How many of each tenant wait."""

    def __len__(self) -> int:
        return len(self._by_age)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._by_age

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._by_age)

    def add(self, ticket: Ticket) -> None:
        """At its place."""
        score = ticket.rank.score
        found = self._classes.get(score)
        if found is None:
            found = self._classes[score] = _Class(ticket.rank, lambda tenant: self._weights.get(tenant, 1.0))
            self._descending = [self._classes[one] for one in sorted(self._classes, reverse=True)]
        found.add(ticket)
        self._by_age[ticket] = None
        self.tenants[ticket.tenant] += 1

    def remove(self, ticket: Ticket) -> None:
        """It waits no more: it left, or had to go. Called once for each that was not taken."""
        self._classes[ticket.rank.score].remove(ticket)
        del self._by_age[ticket]
        self.tenants[ticket.tenant] -= 1
        if not self.tenants[ticket.tenant]:
            del self.tenants[ticket.tenant]

    def take(self, now: float, is_over: Callable[[str], bool]) -> Ticket:
        """Whose turn it is; it waits no more. A tenant that `is_over` its share comes after all others. Never called while nobody waits."""
        self._turn += 1
        ticket = self._next(lambda tenant: not is_over(tenant)) or self._next(lambda _: True)
        assert ticket is not None  # noqa: S101 - somebody waits
        self.remove(ticket)
        self._classes[ticket.rank.score].charge(ticket.tenant, self._turn, now)
        return ticket

    def _next(self, may: Callable[[str], bool]) -> Ticket | None:
        order = self._descending
        if self._turn % self._elder_turn == 0:
            order = sorted(order, key=lambda one: one.had_turn)
        for one in order:
            if one.members and (ticket := one.first(may)) is not None:
                return ticket
        return None

    def ahead(self, rank: Rank, tenant: str, over: Collection[str] = ()) -> float:
        """How many turns come before that of one more: those above, and of its own score what other tenants get meanwhile.

        Tenants that are `over` their share come after it, unless it is of one of them.
        """
        later = () if tenant in over else over
        above = sum(
            one.members - sum(len(one.tenants.get(name, ())) for name in later)
            for one in self._descending
            if one.rank.score > rank.score
        )
        return above + self._beside(rank, tenant, later)

    def expected_s(self, rank: Rank, tenant: str, over: Collection[str] = ()) -> float:
        """In how long it would be the turn of one more, going by how its score was served lately; 0: nobody knows."""
        one = self._classes.get(rank.score)
        if one is None or not one.members or (over and tenant not in over):
            return 0.0
        return (self._beside(rank, tenant, over) + 1) * one.gap_s

    def _beside(self, rank: Rank, tenant: str, later: Collection[str]) -> float:
        one = self._classes.get(rank.score)
        if one is None:
            return 0.0
        weight = self._weights.get(tenant, 1.0)
        turns = own = float(len(one.tenants.get(tenant, ())))
        for name, waiting in one.tenants.items():
            if name != tenant and name not in later:
                turns += min(len(waiting), (own + 1) * self._weights.get(name, 1.0) / weight)
        return turns

    def lowest(self, rank: Rank, tenant: str, share: float) -> Ticket | None:
        """Who has to go so that one more may wait; none: the newcomer itself.

        Of a tenant that has more than `share` of the line, its lowest; else the lowest of all scores that have more than a few
        in line, of the tenant that has the most of them for its weight. Of those the newest: it has waited the least.
        """
        size = len(self) + 1
        counts = {**self.tenants, tenant: self.tenants[tenant] + 1}
        most = max(counts, key=lambda name: counts[name])
        crowd = most if share * size < counts[most] < size else None
        kept = 0 if crowd is not None else size // (self._elder_turn + len(self._descending))
        candidates = {one.rank.score: one for one in self._descending if one.members}
        for score in sorted({*candidates, rank.score}):
            one = candidates.get(score)
            is_own = score == rank.score and crowd in {None, tenant}
            members = 0 if one is None else one.members
            if members + is_own <= kept:
                continue
            names = {} if one is None else {name: len(one.tenants[name]) for name in one.tenants}
            if is_own:
                names[tenant] = names.get(tenant, 0) + 1
            if crowd is not None:
                names = {name: count for name, count in names.items() if name == crowd}
            if not names:
                continue
            victim = max(names, key=lambda name: names[name] / self._weights.get(name, 1.0))
            if is_own and victim == tenant:
                return None
            assert one is not None  # noqa: S101 - somebody of this score waits
            return next(reversed(one.tenants[victim]))
        return None
