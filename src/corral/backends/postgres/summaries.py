"""Summaries of conversations, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("summaries.sql"))

_PER_SESSION = 8


class PostgresSummaries:
    """One row per summary; triggers remove them with what they are about."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, tenant: str, session_id: str) -> list[bytes]:
        """Those of a session."""
        if not findable(tenant, session_id):
            return []
        return [summary for (summary,) in await self._engine.fetch(_SQL["read"], tenant, session_id)]

    async def keep(self, tenant: str, session_id: str, digest: str, summary: bytes) -> None:
        """One more."""
        check_id("digest", digest)
        if findable(tenant, session_id):
            await self._engine.fetch(_SQL["keep"], tenant, session_id, digest, summary, _PER_SESSION - 1)
