"""Accounts of budgets, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.cursor import check_limit
from corral.backends.encoding import findable
from corral.backends.queries import read_queries
from corral.limits.budget_store import KeptAccount, Known, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.limits.budget_store import Change

_SQL = read_queries(Path(__file__).with_name("budgets.sql"))


class SqliteBudgets:
    """One row per account. The host's clock is the store's clock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, places: Sequence[Place]) -> Known:
        """What is there."""
        return await self._engine.read(lambda view: _known(view, places))

    async def swap(self, changes: Sequence[Change]) -> tuple[bool, Known]:
        """Compare, and put."""

        def run(transaction: Transaction) -> tuple[bool, Known]:
            places = [change.place for change in changes]
            done = all(_version(transaction, change.place) == change.version for change in changes)
            if done:
                for change in changes:
                    bound = (*_at(change.place), change.version + 1, change.body, change.until)
                    transaction.execute(_SQL["put"], bound)
            return done, _known(transaction, places)

        return await self._engine.write(run)

    async def set_terms(self, place: Place, terms: bytes) -> None:
        """Put them, or take them away."""
        key = (place.tenant, place.budget, place.who)

        def run(transaction: Transaction) -> None:
            if terms:
                transaction.execute(_SQL["set_terms"], (*key, terms))
            else:
                transaction.execute(_SQL["drop_terms"], key)

        await self._engine.write(run)

    async def accounts(
        self, tenant: str, budget: str, period: str, *, after: str = "", limit: int = 100
    ) -> list[KeptAccount]:
        """Those of one period."""
        check_limit(limit)
        if not findable(tenant, budget, period, after):
            return []
        bound = (tenant, budget, period, after, limit)
        rows = await self._engine.read(lambda view: view.execute(_SQL["accounts"], bound).fetchall())
        return [
            KeptAccount(Place(tenant, budget, who, period), version, body, terms or b"")
            for who, version, body, terms in rows
        ]

    async def forget(self, *, limit: int = 1000) -> int:
        """Remove what may go."""
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["forget"], (transaction.now, limit)).rowcount
        )


def _at(place: Place) -> tuple[str, str, str, str]:
    return (place.tenant, place.budget, place.who, place.period)


def _version(transaction: Transaction, place: Place) -> int:
    row = transaction.execute(_SQL["version"], _at(place)).fetchone()
    return 0 if row is None else int(row[0])


def _known(view: View | Transaction, places: Sequence[Place]) -> Known:
    found = []
    for place in places:
        version, body, terms = view.execute(_SQL["read"], _at(place)).fetchone()
        found.append(KeptAccount(place, version or 0, body or b"", terms or b""))
    return Known(found, view.now)
