"""The port of budgets: accounts that many workers change, several at once or none of them.

Implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.budgets`. Every method is
asynchronous, may be called from many tasks at once, and raises `StoreUnavailable` when the engine does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where an account is: whose budget, which, for whom, and when."""

    tenant: str
    budget: str
    who: str = ""
    """The user, team, session, … it is counted for."""
    period: str = ""
    """`2026-11`, `2026-11-21`; empty: for ever."""


class KeptAccount(msgspec.Struct, frozen=True):
    """What lies at a place."""

    place: Place
    version: int
    """Grows with every change; 0: nothing yet."""
    body: bytes
    """Empty: nothing yet."""
    terms: bytes
    """What an operator said of it, in whatever period; empty: nothing."""


class Known(msgspec.Struct, frozen=True):
    """Accounts, as they were at one moment."""

    accounts: list[KeptAccount]
    """In the order of the places that were asked for."""
    now: float
    """The store's clock then, in seconds since 1970."""


class Change(msgspec.Struct, frozen=True):
    """What is put at a place, if nobody put anything there meanwhile."""

    place: Place
    version: int
    """Of what is replaced; 0: nothing is there."""
    body: bytes
    until: float | None = None
    """The account may be forgotten then; none: never."""


class BudgetStore(Protocol):
    """Accounts, and what operators said of them."""

    async def read(self, places: Sequence[Place]) -> Known:
        """What is there now."""
        ...

    async def swap(self, changes: Sequence[Change]) -> tuple[bool, Known]:
        """Make all changes, if each version is still the one that is there, or none; and what is there now.

        Of many who change the same account at once, one succeeds, and the others learn what it put there. Whoever hears nothing
        (the connection broke) may find its own change, later or now. The places are different ones.
        """
        ...

    async def set_terms(self, place: Place, terms: bytes) -> None:
        """Say how much may be spent there, in every period from now on; empty: as the settings say."""
        ...

    async def accounts(
        self, tenant: str, budget: str, period: str, *, after: str = "", limit: int = 100
    ) -> list[KeptAccount]:
        """A tenant's accounts of one budget in one period, by whom they are for, those after `after`."""
        ...

    async def forget(self, *, limit: int = 1000) -> int:
        """Remove accounts that may be forgotten by now, about `limit` at a time; how many went."""
        ...
