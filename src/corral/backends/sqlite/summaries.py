"""Summaries of conversations, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("summaries.sql"))

_PER_SESSION = 8


class SqliteSummaries:
    """One row per summary; triggers remove them with what they are about."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, tenant: str, session_id: str) -> list[bytes]:
        """Those of a session."""
        if not findable(tenant, session_id):
            return []
        rows = await self._engine.read(lambda view: view.execute(_SQL["read"], (tenant, session_id)).fetchall())
        return [summary for (summary,) in rows]

    async def keep(self, tenant: str, session_id: str, digest: str, summary: bytes) -> None:
        """One more."""
        check_id("digest", digest)
        if not findable(tenant, session_id):
            return

        def run(transaction: Transaction) -> None:
            bound = {"tenant": tenant, "session_id": session_id, "digest": digest, "summary": summary}
            transaction.execute(_SQL["keep"], {**bound, "now": transaction.now})
            transaction.execute(_SQL["thin"], {**bound, "most": _PER_SESSION})

        await self._engine.write(run)
