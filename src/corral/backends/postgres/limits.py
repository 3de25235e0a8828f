"""What all workers know together of limits, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.queries import read_queries
from corral.limits.store import FORGOTTEN_S, Shared

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("limits.sql"))


class PostgresLimits:
    """One row per key, on a page of its own. A swap that was sent twice fails the second time, which is the same."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, key: str) -> Shared:
        """What is there."""
        body, version, now = await self._engine.fetch_one(_SQL["read"], key)
        return Shared(body or b"", version or 0, now)

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        """Compare, and put."""
        done, now_there, now_version, now = await self._engine.fetch_one(_SQL["swap"], key, version, body)
        return done, Shared(now_there, now_version, now)

    async def forget(self, *, idle_s: float = FORGOTTEN_S, limit: int = 1000) -> int:
        """Sweep."""
        (gone,) = await self._engine.fetch_one(_SQL["forget"], idle_s, limit)
        return int(gone)
