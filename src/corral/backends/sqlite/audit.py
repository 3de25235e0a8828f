"""Who did what, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.audit_rows import bound, is_findable, page, row_of
from corral.backends.queries import read_queries
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.messages import AuditEntry
    from corral.security.store import AuditQuery, AuditRecord

_SQL = read_queries(Path(__file__).with_name("audit.sql"))


class SqliteAudit:
    """One row per entry; the one writer of the file numbers them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries."""
        if not entries:
            return
        rows = [row_of(entry) for entry in entries]

        def run(transaction: Transaction) -> None:
            transaction.connection.executemany(_SQL["append"], rows)

        await self._engine.write(run)

    async def entries(self, tenant: str, query: AuditQuery) -> Page[AuditRecord]:
        """A tenant's, the latest first."""
        asked = bound(tenant, query)
        if not is_findable(tenant, query):
            return Page([])
        sql = _SQL["entries_of_run" if query.run_id else "entries"]

        def run(view: View) -> list[tuple[Any, ...]]:
            return view.execute(sql, asked).fetchall()

        return page(await self._engine.read(run), query.limit)

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep."""
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["expire"], (before, limit)).rowcount
        )
