"""Values that may be lost, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.cache.store import Claimed, EntryDraft, Kept, Kind, KindStats, Looked, Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("cache.sql"))


class PostgresCache:
    """One row per entry, in tables that a crash of the server empties."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def lacks(self, tenant: str, key: bytes, generation: int) -> bool:  # noqa: ARG002 - whoever writes there, nobody tells us
        """Nothing is known without asking."""
        return False

    async def get(self, tenant: str, keys: Sequence[bytes]) -> Looked:
        """Look."""
        if not findable(tenant):
            return Looked({}, 0)
        rows = await self._engine.fetch(_SQL["get"], tenant, list(keys))
        found = {row[1]: Kept(row[2], row[3], row[4], row[5]) for row in rows if row[1] is not None}
        return Looked(found, int(rows[0][0] or 0))

    async def put(self, tenant: str, drafts: Sequence[EntryDraft]) -> int:
        """Keep."""
        check_id("tenant", tenant)
        for draft in drafts:
            for tag in draft.tags:
                check_id("tag", tag)
        one_each = list({draft.key: draft for draft in drafts}.values())  # a statement changes a row once
        (kept,) = await self._engine.fetch_one(
            _SQL["put"],
            tenant,
            [draft.key for draft in one_each],
            [draft.value for draft in one_each],
            [draft.kind for draft in one_each],
            [draft.ttl_s for draft in one_each],
            [draft.stale_s for draft in one_each],
            [msgspec.json.encode(draft.tags).decode() if draft.tags else "" for draft in one_each],
            [draft.generation for draft in one_each],
        )
        return int(kept) + (len(drafts) - len(one_each) if kept else 0)

    async def claim(self, tenant: str, key: bytes, holder: str, *, lease_s: float) -> Claimed:
        """Take the right to ask."""
        check_id("tenant", tenant)
        ours, value, age, fresh, left = await self._engine.fetch_one(_SQL["claim"], tenant, key, holder, lease_s)
        return Claimed(ours=ours, kept=None if value is None else Kept(value, age, fresh, left))

    async def release(self, tenant: str, key: bytes, holder: str) -> None:
        """Give it up."""
        if findable(tenant, holder):
            await self._engine.fetch(_SQL["release"], tenant, key, holder)

    async def drop(self, tenant: str, *, tags: Sequence[str] = (), kind: Kind | None = None) -> int:
        """Throw away."""
        if not findable(tenant):
            return 0
        known = [tag for tag in tags if findable(tag)] if tags else None
        (gone,) = await self._engine.fetch_one(_SQL["drop"], tenant, known, kind)
        return int(gone)

    async def tally(self, tallies: Sequence[Tally]) -> None:
        """Count."""
        known = [one for one in tallies if findable(one.tenant)]
        if not known:
            return
        uses = [(one.tenant, key) for one in known for key in one.used]
        await self._engine.fetch(
            _SQL["tally"],
            [one.tenant for one in known],
            [one.kind for one in known],
            [one.hits for one in known],
            [one.misses for one in known],
            [one.saved_usd for one in known],
            [tenant for tenant, _ in uses],
            [key for _, key in uses],
            again=False,
        )

    async def stats(self, tenant: str) -> list[KindStats]:
        """Count what there is."""
        if not findable(tenant):
            return []
        return [
            KindStats(kind=kind, entries=entries, bytes=int(size), hits=hits, misses=misses, saved_usd=saved)
            for kind, entries, size, hits, misses, saved in await self._engine.fetch(_SQL["stats"], tenant)
        ]

    async def sweep(self, *, entries_max: int, bytes_max: int, limit: int = 1000) -> int:
        """Make room."""
        (gone,) = await self._engine.fetch_one(_SQL["sweep"], entries_max, bytes_max, limit)
        return int(gone)
