"""Accounts of budgets, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.cursor import check_limit
from corral.backends.encoding import findable
from corral.backends.queries import read_queries
from corral.limits.budget_store import KeptAccount, Known, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.limits.budget_store import Change

_SQL = read_queries(Path(__file__).with_name("budgets.sql"))


class PostgresBudgets:
    """One row per account. A swap that was sent twice fails the second time, and shows what the first one put there."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, places: Sequence[Place]) -> Known:
        """What is there."""
        rows = await self._engine.fetch(_SQL["read"], *_columns(places))
        accounts = [
            KeptAccount(place, version or 0, body or b"", terms or b"")
            for place, (version, body, terms, _) in zip(places, rows, strict=True)
        ]
        return Known(accounts, rows[0][3] if rows else 0.0)

    async def swap(self, changes: Sequence[Change]) -> tuple[bool, Known]:
        """Compare, and put; in one order, so that two who change the same accounts never wait for each other."""
        ordered = sorted(changes, key=lambda change: _at(change.place))
        rows = await self._engine.fetch(
            _SQL["swap"],
            *_columns([change.place for change in ordered]),
            [change.version for change in ordered],
            [change.body for change in ordered],
            [change.until for change in ordered],
        )
        if not rows[0][0]:
            return False, await self.read([change.place for change in changes])
        put = {
            change.place: KeptAccount(change.place, change.version + 1, change.body, terms or b"")
            for change, (_, terms, _) in zip(ordered, rows, strict=True)
        }
        return True, Known([put[change.place] for change in changes], rows[0][2])

    async def set_terms(self, place: Place, terms: bytes) -> None:
        """Put them, or take them away."""
        key = (place.tenant, place.budget, place.who)
        if terms:
            await self._engine.fetch(_SQL["set_terms"], *key, terms)
        else:
            await self._engine.fetch(_SQL["drop_terms"], *key)

    async def accounts(
        self, tenant: str, budget: str, period: str, *, after: str = "", limit: int = 100
    ) -> list[KeptAccount]:
        """Those of one period."""
        check_limit(limit)
        if not findable(tenant, budget, period, after):
            return []
        rows = await self._engine.fetch(_SQL["accounts"], tenant, budget, period, after, limit)
        return [
            KeptAccount(Place(tenant, budget, who, period), version, body, terms or b"")
            for who, version, body, terms in rows
        ]

    async def forget(self, *, limit: int = 1000) -> int:
        """Remove what may go."""
        (gone,) = await self._engine.fetch_one(_SQL["forget"], limit)
        return int(gone)


def _at(place: Place) -> tuple[str, str, str, str]:
    return (place.tenant, place.budget, place.who, place.period)


def _columns(places: Sequence[Place]) -> list[list[str]]:
    """Tenants, budgets, whose, periods."""
    return [list(column) for column in zip(*map(_at, places), strict=True)]
