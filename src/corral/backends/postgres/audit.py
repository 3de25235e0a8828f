"""Who did what, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.audit_rows import bound, is_findable, page, row_of
from corral.backends.queries import read_queries
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.messages import AuditEntry
    from corral.security.store import AuditQuery, AuditRecord

_SQL = read_queries(Path(__file__).with_name("audit.sql"))


class PostgresAudit:
    """One row per entry; writers take turns per tenant, so that its numbers have no gap."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries."""
        if entries:
            columns = zip(*(row_of(entry) for entry in entries), strict=True)
            await self._engine.fetch(_SQL["append"], *(list(column) for column in columns))

    async def entries(self, tenant: str, query: AuditQuery) -> Page[AuditRecord]:
        """A tenant's, the latest first."""
        asked = bound(tenant, query)
        if not is_findable(tenant, query):
            return Page([])
        return page(await self._engine.fetch(_SQL["entries"], *asked.values()), query.limit)

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep."""
        (swept,) = await self._engine.fetch_one(_SQL["expire"], before, limit)
        return int(swept)
