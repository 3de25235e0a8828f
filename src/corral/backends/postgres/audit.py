"""Who did what, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.audit_rows import (
    bound,
    canonical_row,
    checkpoint_of,
    head_of,
    is_findable,
    link_of,
    page,
    prefixes,
    row_of,
    row_of_checkpoint,
)
from corral.backends.encoding import findable
from corral.backends.queries import read_queries
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.messages import AuditEntry
    from corral.security.store import (
        AuditHead,
        AuditLink,
        AuditPrefix,
        AuditQuery,
        AuditRecord,
        AuditStretch,
        Checkpoint,
    )

_SQL = read_queries(Path(__file__).with_name("audit.sql"))


class PostgresAudit:
    """One row per entry; writers take turns per tenant, so that its numbers have no gap and its chain no fork."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def append(self, entries: Sequence[AuditEntry]) -> list[AuditStretch]:
        """Keep entries. The database chains them, and what it came to is read when it is signed."""
        if entries:
            columns = zip(*(row_of(entry) for entry in entries), strict=True)
            await self._engine.fetch(_SQL["append"], *(list(column) for column in columns))
        return []

    async def entries(self, tenant: str, query: AuditQuery) -> Page[AuditRecord]:
        """A tenant's, the latest first."""
        asked = bound(tenant, query)
        if not is_findable(tenant, query):
            return Page([])
        return page(await self._engine.fetch(_SQL["entries"], *asked.values()), query.limit)

    async def head(self, tenant: str) -> AuditHead | None:
        """Where a tenant stands."""
        row = await self._engine.fetch_one(_SQL["head"], tenant) if findable(tenant) else None
        return None if row is None else head_of(row)

    async def heads(self, *, after: str = "", limit: int = 1000) -> list[AuditHead]:
        """Where all stand."""
        return [head_of(row) for row in await self._engine.fetch(_SQL["heads"], after, limit)]

    async def chain(self, tenant: str, *, after: int, limit: int = 1000) -> list[AuditLink]:
        """Entries as they are kept."""
        if not findable(tenant):
            return []
        return [link_of(row) for row in await self._engine.fetch(_SQL["chain"], tenant, after, limit)]

    async def seal(self, limit: int = 1000) -> int:
        """Chain what was there before."""
        rows = await self._engine.fetch(_SQL["unsealed"], limit)
        if not rows:
            return 0
        chained, tenant = rows[0][1], rows[0][2]
        sealed = [canonical_row(tuple(row)[2:]) for row in rows]
        details, digests = [one[0] for one in sealed], [one[1] for one in sealed]
        await self._engine.fetch(_SQL["seal"], tenant, chained, [row[0] for row in rows], details, digests)
        return len(rows)

    async def expired(self, *, before: float, limit: int = 1000) -> list[AuditPrefix]:
        """What may go."""
        return prefixes(await self._engine.fetch(_SQL["old"], before, limit), before)

    async def sweep(self, prefix: AuditPrefix, stub: Checkpoint | None) -> int:
        """Let it go."""
        if stub is None:
            (swept,) = await self._engine.fetch_one(_SQL["sweep_before"], prefix.tenant, prefix.number)
        else:
            (swept,) = await self._engine.fetch_one(_SQL["sweep"], *row_of_checkpoint(stub))
        return int(swept)

    async def keep(self, checkpoint: Checkpoint) -> bool:
        """Keep one."""
        return bool(await self._engine.fetch(_SQL["keep"], *row_of_checkpoint(checkpoint)))

    async def checkpoints(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[Checkpoint]:
        """What keys said."""
        if not findable(tenant):
            return []
        return [checkpoint_of(row) for row in await self._engine.fetch(_SQL["checkpoints"], tenant, after, limit)]
