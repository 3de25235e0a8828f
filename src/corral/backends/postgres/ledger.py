"""What every call cost, in PostgreSQL: a partition per day, made a week ahead and dropped whole."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.cursor import check_limit
from corral.backends.encoding import findable
from corral.backends.ledger_rows import entry_of, row_of, spend_of
from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.limits.store import LedgerEntry, Spend, SpendQuery

_SQL = read_queries(Path(__file__).with_name("ledger.sql"))

# As far as the migration makes them.
_AHEAD = 7


class PostgresLedger:
    """One row per entry, in the partition of its day."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def make_days(self) -> None:
        """Make the partitions of the coming days, if we may; without them, rows go into the default one."""
        (missing,) = await self._engine.fetch_one(_SQL["missing_ledger_days"], _AHEAD)
        if missing:
            await self._engine.fetch(_SQL["make_ledger_days"], _AHEAD)

    async def write(self, entries: Sequence[LedgerEntry]) -> None:
        """Keep entries."""
        if entries:
            columns = zip(*(row_of(entry) for entry in entries), strict=True)
            await self._engine.fetch(_SQL["write"], *(list(column) for column in columns))

    async def entries(self, tenant: str, *, since: float = 0.0, limit: int = 100) -> list[LedgerEntry]:
        """A tenant's latest."""
        check_limit(limit)
        if not findable(tenant):
            return []
        return [entry_of(row) for row in await self._engine.fetch(_SQL["entries"], tenant, since, limit)]

    async def spend(self, tenant: str, query: SpendQuery) -> list[Spend]:
        """Add up."""
        check_limit(query.limit)
        if not findable(tenant, query.tag):
            return []
        until = math.inf if query.until is None else query.until
        bound = (tenant, query.since, until, query.by, query.tag, query.limit)
        return [spend_of(row) for row in await self._engine.fetch(_SQL["spend"], *bound)]

    async def forget(self, *, before: float, limit: int = 1000) -> int:
        """Remove what is older; called daily, this also makes the days to come."""
        await self.make_days()
        (gone,) = await self._engine.fetch_one(_SQL["forget"], before, limit)
        return int(gone)
