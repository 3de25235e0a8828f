"""Calls that wait for their turn: classes take turns by weight, and within a class whoever has the least time left is first."""

from __future__ import annotations

import asyncio
import heapq
import math

_CLASSES = 10


def weight_of(priority: int) -> float:
    """How much of what there is a class gets while all wait: 9 gets ten parts, 5 five, 3 three, 1 one, and 0 half a part."""
    if priority >= _CLASSES - 1:
        return 10.0
    return float(priority) if priority > 0 else 0.5


class Waiter:
    """One call that waits, with what it needs."""

    __slots__ = ("cost", "deadline", "future", "priority", "tokens")

    def __init__(self, priority: int, deadline: float, tokens: float, future: asyncio.Future[None]) -> None:
        self.priority = min(max(priority, 0), _CLASSES - 1)
        self.deadline = deadline
        self.tokens = tokens
        self.cost = max(tokens, 1.0)
        self.future = future

    @property
    def is_over(self) -> bool:
        """It waits no more: cancelled, or out of time."""
        return self.future.done()


class Line:
    """Who waits, in order. One that leaves takes its place along; what is left of it is cleared away on the way."""

    def __init__(self) -> None:
        self._classes: dict[int, list[tuple[float, int, Waiter]]] = {}
        self._tokens = [0.0] * _CLASSES
        self._members = [0] * _CLASSES
        self._passed: dict[int, float] = {}
        self._reached = 0.0
        self._number = 0
        self.waiting = 0
        self.tokens = 0.0
        """What all of them need together."""

    def add(self, waiter: Waiter) -> None:
        """At the end of its class, but for its deadline."""
        self._number += 1
        members = self._classes.setdefault(waiter.priority, [])
        if not members:  # a class that was empty has saved nothing up
            self._passed[waiter.priority] = max(self._passed.get(waiter.priority, 0.0), self._reached)
        heapq.heappush(members, (waiter.deadline, self._number, waiter))
        self._count(waiter, 1)

    def first(self) -> Waiter | None:
        """Whose turn is next."""
        best, soonest = None, math.inf
        for priority in list(self._classes):
            members = self._classes[priority]
            while members and members[0][2].is_over:
                heapq.heappop(members)
            if not members:
                del self._classes[priority]
                continue
            waiter = members[0][2]
            turn = self._passed[priority] + waiter.cost / weight_of(priority)
            if turn < soonest:
                best, soonest = waiter, turn
        return best

    def take(self, waiter: Waiter) -> None:
        """It is its turn: it must be the first."""
        heapq.heappop(self._classes[waiter.priority])
        self._reached = self._passed[waiter.priority]
        self._passed[waiter.priority] += waiter.cost / weight_of(waiter.priority)
        self.left(waiter)

    def left(self, waiter: Waiter) -> None:
        """It does not wait any more: called once for each."""
        self._count(waiter, -1)

    def ahead(self, priority: int) -> tuple[float, float]:
        """Tokens and calls that come before one more of that priority: its own class, and what the others get meanwhile."""
        own = min(max(priority, 0), _CLASSES - 1)
        tokens, calls = self._tokens[own], float(self._members[own])
        weight = weight_of(own)
        more_tokens = more_calls = 0.0
        for other in range(_CLASSES):
            if other != own and self._members[other]:
                times = weight_of(other) / weight
                more_tokens += min(self._tokens[other], tokens * times)
                more_calls += min(self._members[other], calls * times)
        return tokens + more_tokens, calls + more_calls

    def _count(self, waiter: Waiter, by: int) -> None:
        self._tokens[waiter.priority] += by * waiter.tokens
        self._members[waiter.priority] += by
        self.waiting += by
        self.tokens = self.tokens + by * waiter.tokens if self.waiting else 0.0
