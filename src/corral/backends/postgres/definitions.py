"""Definitions of workflows, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.definition_text import packed, unpacked
from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.workflows.catalog_store import digest_of

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("definitions.sql"))


class PostgresDefinitions:
    """One row per text."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def keep(self, tenant: str, text: str) -> str:
        """Keep."""
        check_id("tenant", tenant)
        body = packed(text)
        digest = digest_of(text)
        await self._engine.fetch(_SQL["keep"], tenant, digest, body)
        return digest

    async def text(self, tenant: str, digest: str) -> str | None:
        """Read."""
        if not findable(tenant, digest):
            return None
        row = await self._engine.fetch_one(_SQL["body"], tenant, digest)
        return unpacked(row[0]) if row else None

    async def unnamed(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """Which nobody needs."""
        rows = await self._engine.fetch(_SQL["unnamed"], before, limit)
        return [(tenant, digest) for tenant, digest in rows]

    async def forget(self, tenant: str, digest: str, *, before: float | None = None) -> bool:
        """Remove."""
        if not findable(tenant, digest):
            return False
        (gone,) = await self._engine.fetch_one(_SQL["forget"], tenant, digest, before)
        return bool(gone)
