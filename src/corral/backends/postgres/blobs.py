"""Large values, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("blobs.sql"))


class PostgresBlobs:
    """One row per value; PostgreSQL keeps large ones apart by itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def put(self, tenant: str, name: str, body: bytes) -> None:
        """Keep."""
        check_id("tenant", tenant)
        check_id("name", name)
        await self._engine.fetch(_SQL["put"], tenant, name, body)

    async def get(self, tenant: str, name: str) -> bytes | None:
        """Read."""
        if not findable(tenant, name):
            return None
        row = await self._engine.fetch_one(_SQL["get"], tenant, name)
        return bytes(row[0]) if row else None

    async def delete(self, tenant: str, prefix: str) -> int:
        """Remove."""
        if not findable(tenant, prefix):
            return 0
        return int((await self._engine.fetch_one(_SQL["delete"], tenant, prefix))[0])

    async def expire(self, prefix: str, *, before: str, limit: int = 1000) -> int:
        """Remove what is old."""
        return int((await self._engine.fetch_one(_SQL["expire"], prefix, before, limit))[0])
