"""API keys, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import findable
from corral.backends.key_rows import bound_of, key_of
from corral.backends.queries import read_queries
from corral.messages import Page
from corral.security.key_store import KEYS_MAX, KeyExists, KeyHead, KeyNotFound, KeyOver, KeyRecord, TooManyKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.security.key_store import KeyDraft

_SQL = read_queries(Path(__file__).with_name("keys.sql"))
_LAST = 2**63 - 1


class PostgresKeys:
    """One row per key, and one for all together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def head(self) -> KeyHead:
        """What changed."""
        row = await self._engine.fetch_one(_SQL["head"])
        return KeyHead() if row is None else KeyHead(row[0], bytes(row[1]))

    async def seal(self, chosen: bytes) -> KeyHead:
        """The head with its seal."""
        await self._engine.fetch(_SQL["seal"], chosen)
        return await self.head()

    async def create(self, tenant: str, draft: KeyDraft) -> KeyRecord:
        """Keep a key."""
        row = await self._engine.fetch_one(_SQL["create"], *bound_of(tenant, draft).values(), KEYS_MAX, again=False)
        if row[1] is not None:
            return key_of(row[1:])
        if row[0] >= KEYS_MAX:
            raise TooManyKeys
        raise KeyExists

    async def find(self, key_id: str) -> KeyRecord | None:
        """A key of whatever tenant."""
        if not findable(key_id):
            return None
        row = await self._engine.fetch_one(_SQL["find"], key_id)
        return None if row is None else key_of(row)

    async def listed(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[KeyRecord]:
        """A tenant's, the latest first."""
        check_limit(limit)
        before = read_cursor(cursor, int)
        if not findable(tenant):
            return Page([])
        last = _LAST if before is None else max(min(before, _LAST), 0)
        rows = await self._engine.fetch(_SQL["list"], tenant, last, limit + 1)
        page = page_of([tuple(row) for row in rows], lambda row: row[-1], limit)
        return Page([key_of(row) for row in page.items], page.next_cursor)

    async def rotate(
        self, tenant: str, key_id: str, digest: bytes, *, grace_s: float, ttl_s: float | None = None
    ) -> KeyRecord:
        """Put another key in its place."""
        if not findable(tenant, key_id):
            raise KeyNotFound
        row = await self._engine.fetch_one(_SQL["rotate"], key_id, tenant, digest, grace_s, ttl_s, again=False)
        if row is not None:
            return key_of(row)
        known = await self.find(key_id)
        raise KeyNotFound if known is None or known.tenant != tenant else KeyOver

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        """Let nobody in with it any more."""
        if not findable(tenant, key_id):
            raise KeyNotFound
        row = await self._engine.fetch_one(_SQL["revoke"], key_id, tenant)
        if row is None:
            raise KeyNotFound
        return key_of(row)

    async def touch(self, used: Sequence[tuple[str, float]]) -> None:
        """Say when keys were used last."""
        if used:
            ids, times = zip(*used, strict=True)
            await self._engine.fetch(_SQL["touch"], list(ids), list(times))

    async def spend(self, token: bytes, *, until: float) -> bool:
        """Whether this is the first time."""
        return await self._engine.fetch_one(_SQL["spend"], token, until, again=False) is not None

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep."""
        (swept,) = await self._engine.fetch_one(_SQL["expire"], before, limit)
        return int(swept)
