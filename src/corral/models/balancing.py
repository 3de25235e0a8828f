"""In which order the deployments of one model are asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from corral.models.live import Live

Balance = Literal["headroom", "weight", "latency", "cost", "order"]
Headroom = Callable[[str], float]
"""How much of its limits a deployment has left: 1 all, 0 nothing."""
Cost = Callable[[str], float | None]
"""What a deployment costs, in whatever unit: only the order matters. None: unknown."""

TIGHT = 0.02
"""With so little left, a deployment is asked after all others."""


class Candidate(msgspec.Struct, frozen=True):
    """A deployment that could be asked."""

    name: str
    share: float = 1.0
    live: Live | None = None


class Balancing:
    """Orders candidates, best first, and never leaves one out: what comes later is there for when the first one fails."""

    def __init__(self, *, headroom: Headroom, cost: Cost, chance: Callable[[], float]) -> None:
        """`chance` gives numbers from 0 up to 1."""
        self._headroom = headroom
        self._cost = cost
        self._chance = chance

    def ordered(self, candidates: Sequence[Candidate], balance: Balance, now: float) -> list[Candidate]:
        """By what the operator chose; those without headroom come last."""
        if len(candidates) < 2:  # noqa: PLR2004 - nothing to order
            return list(candidates)
        if balance == "order":
            return list(candidates)
        room = {one.name: min(1.0, max(0.0, self._headroom(one.name))) for one in candidates}
        if balance == "latency":
            ordered = self._by_latency(candidates, now)
        elif balance == "cost":
            ordered = self._by_cost(candidates, room)
        elif balance == "weight":
            ordered = self._drawn(candidates, {one.name: one.share for one in candidates})
        else:
            # Drawn in proportion to what is left, they run dry at the same time; the fullest one first would herd.
            ordered = self._drawn(candidates, {one.name: room[one.name] * one.share for one in candidates})
        ordered.sort(key=lambda one: room[one.name] <= TIGHT)
        return ordered

    def _drawn(self, candidates: Sequence[Candidate], weights: Mapping[str, float]) -> list[Candidate]:
        """All of them, drawn one after the other by weight (Efraimidis and Spirakis: the greatest of log(chance)/weight)."""

        def luck(one: Candidate) -> float:
            weight = weights[one.name]
            return math.log(max(self._chance(), 1e-300)) / weight if weight > 0 else -math.inf

        return sorted(candidates, key=luck, reverse=True)

    def _by_latency(self, candidates: Sequence[Candidate], now: float) -> list[Candidate]:
        """What a call would wait, by how fast it is and how many are there already. Who is unknown gets a chance."""

        def wait(one: Candidate) -> float:
            if one.live is None:
                return 0.0
            latency = one.live.recent_latency_s(now)
            return 0.0 if latency is None else latency * (1 + one.live.in_flight) / (1.001 - one.live.error_rate(now))

        return sorted(candidates, key=wait)

    def _by_cost(self, candidates: Sequence[Candidate], room: Mapping[str, float]) -> list[Candidate]:
        def price(one: Candidate) -> tuple[float, float]:
            cost = self._cost(one.name)
            return (math.inf if cost is None else cost, -room[one.name])

        return sorted(candidates, key=price)
