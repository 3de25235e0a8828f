"""Accounts of budgets in one process, for where no service lends a store."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.limits.budget_store import Change, KeptAccount, Known, Place


class AccountsHere:
    """As every `BudgetStore`, but gone with the process."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """None yet."""
        self._clock = clock
        self._kept: dict[Place, tuple[int, bytes]] = {}
        self._terms: dict[Place, bytes] = {}

    async def read(self, places: Sequence[Place]) -> Known:
        """What is there now."""
        return Known([self._account(place) for place in places], self._clock.now())

    async def swap(self, changes: Sequence[Change]) -> tuple[bool, Known]:
        """Compare, and put."""
        done = all(self._kept.get(one.place, (0, b""))[0] == one.version for one in changes)
        if done:
            self._kept |= {one.place: (one.version + 1, one.body) for one in changes}
        return done, await self.read([one.place for one in changes])

    async def set_terms(self, place: Place, terms: bytes) -> None:
        """Put them; those of no period are for all."""
        self._terms[_ever(place)] = terms

    async def accounts(
        self, tenant: str, budget: str, period: str, *, after: str = "", limit: int = 100
    ) -> list[KeptAccount]:
        """Those of one period."""
        found = sorted(
            (
                place
                for place in self._kept
                if (place.tenant, place.budget, place.period) == (tenant, budget, period)
                and (place.who > after or not after)
            ),
            key=lambda place: place.who,
        )
        return [self._account(place) for place in found[:limit]]

    async def forget(self, *, limit: int = 1000) -> int:  # noqa: ARG002 - as the port has it
        """They are gone with the process."""
        return 0

    def _account(self, place: Place) -> KeptAccount:
        version, body = self._kept.get(place, (0, b""))
        return KeptAccount(place, version, body, self._terms.get(_ever(place), b""))


def _ever(place: Place) -> Place:
    return msgspec.structs.replace(place, period="")
