"""Definitions of workflows, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.definition_text import packed, unpacked
from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.workflows.catalog_store import digest_of

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("definitions.sql"))


class SqliteDefinitions:
    """One row per text."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def keep(self, tenant: str, text: str) -> str:
        """Keep."""
        check_id("tenant", tenant)
        body = packed(text)
        digest = digest_of(text)

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["keep"], (tenant, digest, transaction.now, body))

        await self._engine.write(run)
        return digest

    async def text(self, tenant: str, digest: str) -> str | None:
        """Read."""
        if not findable(tenant, digest):
            return None
        row = await self._engine.read(lambda view: view.execute(_SQL["body"], (tenant, digest)).fetchone())
        return unpacked(row[0]) if row else None

    async def unnamed(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """Which nobody needs."""
        return await self._engine.read(lambda view: view.execute(_SQL["unnamed"], (before, limit)).fetchall())

    async def forget(self, tenant: str, digest: str, *, before: float | None = None) -> bool:
        """Remove."""
        if not findable(tenant, digest):
            return False
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["forget"], (tenant, digest, before)).rowcount > 0
        )
