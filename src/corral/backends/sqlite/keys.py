"""API keys, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import findable
from corral.backends.key_rows import bound_of, key_of
from corral.backends.queries import read_queries
from corral.messages import Page
from corral.security.key_store import KEYS_MAX, KeyExists, KeyHead, KeyNotFound, KeyOver, KeyRecord, TooManyKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction
    from corral.security.key_store import KeyDraft

_SQL = read_queries(Path(__file__).with_name("keys.sql"))
_LAST = 2**63 - 1


class SqliteKeys:
    """One row per key, and one for all together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def head(self) -> KeyHead:
        """What changed."""
        row = await self._engine.read(lambda view: view.execute(_SQL["head"]).fetchone())
        return KeyHead() if row is None else KeyHead(*row)

    async def seal(self, chosen: bytes) -> KeyHead:
        """The head with its seal."""

        def run(transaction: Transaction) -> KeyHead:
            transaction.execute(_SQL["seal"], {"seal": chosen})
            return KeyHead(*transaction.execute(_SQL["head"]).fetchone())

        return await self._engine.write(run)

    async def create(self, tenant: str, draft: KeyDraft) -> KeyRecord:
        """Keep a key."""
        bound = bound_of(tenant, draft)

        def run(transaction: Transaction) -> KeyRecord:
            full = {**bound, "now": transaction.now}
            if transaction.execute(_SQL["count"], full).fetchone()[0] >= KEYS_MAX:
                raise TooManyKeys
            rows = transaction.execute(_SQL["create"], full).fetchall()
            if not rows:
                raise KeyExists
            transaction.execute(_SQL["changed"])
            return key_of(rows[0])

        return await self._engine.write(run)

    async def find(self, key_id: str) -> KeyRecord | None:
        """A key of whatever tenant."""
        if not findable(key_id):
            return None
        row = await self._engine.read(lambda view: view.execute(_SQL["find"], {"id": key_id}).fetchone())
        return None if row is None else key_of(row)

    async def listed(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[KeyRecord]:
        """A tenant's, the latest first."""
        check_limit(limit)
        before = read_cursor(cursor, int)
        if not findable(tenant):
            return Page([])
        bound = {
            "tenant": tenant,
            "before": _LAST if before is None else max(min(before, _LAST), 0),
            "limit": limit + 1,
        }
        rows = await self._engine.read(lambda view: view.execute(_SQL["list"], bound).fetchall())
        page = page_of(rows, lambda row: row[-1], limit)
        return Page([key_of(row) for row in page.items], page.next_cursor)

    async def rotate(
        self, tenant: str, key_id: str, digest: bytes, *, grace_s: float, ttl_s: float | None = None
    ) -> KeyRecord:
        """Put another key in its place."""
        if not findable(tenant, key_id):
            raise KeyNotFound
        bound = {"id": key_id, "digest": digest, "grace_s": grace_s, "ttl_s": ttl_s}

        def run(transaction: Transaction) -> KeyRecord:
            full = {**bound, "now": transaction.now}
            row = transaction.execute(_SQL["find"], full).fetchone()
            if row is None or (known := key_of(row)).tenant != tenant:
                raise KeyNotFound
            if known.is_over(transaction.now):
                raise KeyOver
            changed = transaction.execute(_SQL["rotate"], full).fetchall()
            transaction.execute(_SQL["changed"])
            return key_of(changed[0])

        return await self._engine.write(run)

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        """Let nobody in with it any more."""
        if not findable(tenant, key_id):
            raise KeyNotFound

        def run(transaction: Transaction) -> KeyRecord:
            bound: dict[str, Any] = {"id": key_id, "tenant": tenant, "now": transaction.now}
            rows = transaction.execute(_SQL["revoke"], bound).fetchall()
            if not rows:
                raise KeyNotFound
            transaction.execute(_SQL["changed"])
            return key_of(rows[0])

        return await self._engine.write(run)

    async def touch(self, used: Sequence[tuple[str, float]]) -> None:
        """Say when keys were used last."""
        if not used:
            return

        def run(transaction: Transaction) -> None:
            transaction.connection.executemany(_SQL["touch"], used)

        await self._engine.write(run)

    async def spend(self, token: bytes, *, until: float) -> bool:
        """Whether this is the first time."""

        def run(transaction: Transaction) -> bool:
            bound = {"token": token, "until": until, "now": transaction.now}
            return transaction.execute(_SQL["spend"], bound).rowcount > 0

        return await self._engine.write(run)

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep."""

        def run(transaction: Transaction) -> int:
            bound = {"before": before, "now": transaction.now, "limit": limit}
            keys = transaction.execute(_SQL["expire_keys"], bound).rowcount
            return keys + transaction.execute(_SQL["expire_tokens"], bound).rowcount

        return await self._engine.write(run)
