"""What every call cost, in SQLite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.cursor import check_limit
from corral.backends.encoding import findable
from corral.backends.ledger_rows import entry_of, row_of, spend_of
from corral.backends.queries import read_queries
from corral.backends.sqlite.many_rows import ManyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.limits.store import LedgerEntry, Spend, SpendQuery

_SQL = read_queries(Path(__file__).with_name("ledger.sql"))
_ENTRIES = ManyRows(_SQL["write"])


def _bound(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same, of types that sqlite3 takes as they are: for booleans and None it looks first whether they can be adapted.

    What is not a number is kept as none.
    """
    (*words, estimated, cost_usd, cached, duration_s, first_s, outcome, prices) = row
    return (
        *words, int(estimated), math.nan if cost_usd is None else cost_usd, cached, duration_s,
        math.nan if first_s is None else first_s, outcome, prices,
    )  # fmt: skip


class SqliteLedger:
    """One row per entry."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def write(self, entries: Sequence[LedgerEntry]) -> None:
        """Keep entries."""
        if not entries:
            return
        rows = [_bound(row_of(entry)) for entry in entries]

        def run(transaction: Transaction) -> None:
            _ENTRIES.insert(transaction.connection, rows)

        await self._engine.write(run)

    async def entries(self, tenant: str, *, since: float = 0.0, limit: int = 100) -> list[LedgerEntry]:
        """A tenant's latest."""
        check_limit(limit)
        if not findable(tenant):
            return []
        bound = (tenant, since, limit)
        rows = await self._engine.read(lambda view: view.execute(_SQL["entries"], bound).fetchall())
        return [entry_of(row) for row in rows]

    async def spend(self, tenant: str, query: SpendQuery) -> list[Spend]:
        """Add up."""
        check_limit(query.limit)
        if not findable(tenant, query.tag):
            return []
        bound = {
            "tenant": tenant,
            "since": query.since,
            "until": math.inf if query.until is None else query.until,
            "by": query.by,
            "tag": query.tag,
            "limit": query.limit,
        }

        def run(view: View) -> list[tuple[Any, ...]]:
            return view.execute(_SQL["spend"], bound).fetchall()

        return [spend_of(row) for row in await self._engine.read(run)]

    async def forget(self, *, before: float, limit: int = 1000) -> int:
        """Remove what is older."""
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["forget"], (before, limit)).rowcount
        )
