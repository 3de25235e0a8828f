"""Large values, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("blobs.sql"))


class SqliteBlobs:
    """One row per value."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def put(self, tenant: str, name: str, body: bytes) -> None:
        """Keep."""
        check_id("tenant", tenant)
        check_id("name", name)

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["put"], (tenant, name, body))

        await self._engine.write(run)

    async def get(self, tenant: str, name: str) -> bytes | None:
        """Read."""
        if not findable(tenant, name):
            return None
        row = await self._engine.read(lambda view: view.execute(_SQL["get"], (tenant, name)).fetchone())
        return row[0] if row else None

    async def delete(self, tenant: str, prefix: str) -> int:
        """Remove."""
        if not findable(tenant, prefix):
            return 0
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["delete"], (tenant, prefix)).rowcount
        )

    async def expire(self, prefix: str, *, before: str, limit: int = 1000) -> int:
        """Remove what is old."""
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["expire"], (prefix, before, limit)).rowcount
        )
