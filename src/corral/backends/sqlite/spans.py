"""Traces, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.cursor import check_limit
from corral.backends.encoding import findable, span_of, span_row
from corral.backends.queries import read_queries
from corral.backends.sqlite.many_rows import ManyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.observability.store import Span

_SQL = read_queries(Path(__file__).with_name("spans.sql"))
_WRITE = ManyRows(_SQL["write"])


class SqliteSpans:
    """One row per span."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def write(self, spans: Sequence[Span]) -> None:
        """Keep spans."""
        if not spans:
            return
        rows = [span_row(span) for span in spans]

        def run(transaction: Transaction) -> None:
            _WRITE.insert(transaction.connection, rows)

        await self._engine.write(run)

    async def trace(self, tenant: str, trace_id: str) -> list[Span]:
        """The spans of one trace."""
        return await self._list("trace", tenant, {"trace_id": trace_id}) if findable(trace_id) else []

    async def recent(self, tenant: str, *, limit: int = 50) -> list[Span]:
        """The latest roots."""
        return await self._list("recent", tenant, {"limit": check_limit(limit)})

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep."""

        def run(transaction: Transaction) -> int:
            return transaction.execute(_SQL["expire"], {"before": before, "limit": limit}).rowcount

        return await self._engine.write(run)

    async def _list(self, query: str, tenant: str, bound: dict[str, object]) -> list[Span]:
        if not findable(tenant):
            return []

        def run(view: View) -> list[tuple[Any, ...]]:
            return view.execute(_SQL[query], {"tenant": tenant, **bound}).fetchall()

        return [span_of(tenant, row) for row in await self._engine.read(run)]
