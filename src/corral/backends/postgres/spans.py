"""Traces, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.cursor import check_limit
from corral.backends.encoding import findable, span_of, span_row
from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.observability.store import Span

_SQL = read_queries(Path(__file__).with_name("spans.sql"))


class PostgresSpans:
    """One row per span."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def write(self, spans: Sequence[Span]) -> None:
        """Keep spans."""
        if spans:
            columns = zip(*(span_row(span) for span in spans), strict=True)
            await self._engine.fetch(_SQL["write"], *(list(column) for column in columns))

    async def trace(self, tenant: str, trace_id: str) -> list[Span]:
        """The spans of one trace."""
        if not findable(tenant, trace_id):
            return []
        return [span_of(tenant, row) for row in await self._engine.fetch(_SQL["trace"], tenant, trace_id)]

    async def recent(self, tenant: str, *, limit: int = 50) -> list[Span]:
        """The latest roots."""
        check_limit(limit)
        if not findable(tenant):
            return []
        return [span_of(tenant, row) for row in await self._engine.fetch(_SQL["recent"], tenant, limit)]

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep."""
        (swept,) = await self._engine.fetch_one(_SQL["expire"], before, limit)
        return int(swept)
