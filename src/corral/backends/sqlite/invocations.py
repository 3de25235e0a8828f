"""Answers by idempotency key, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.clock import new_id
from corral.errors import IdempotencyKeyReused
from corral.runtime.store import Begun, Finished, InProgress

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("invocations.sql"))


class SqliteInvocations:
    """One row per key: claimed while it has no reply, answered when it has one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(
        self, tenant: str, key: str, fingerprint: str, *, lease_s: float, ttl_s: float
    ) -> Begun | InProgress | Finished:
        """Claim a key."""
        check_id("tenant", tenant)
        check_id("idempotency key", key)
        check_id("fingerprint", fingerprint, empty=True)
        token = new_id()

        def run(transaction: Transaction) -> Begun | InProgress | Finished:
            now = transaction.now
            found = transaction.execute(_SQL["find"], {"tenant": tenant, "key": key}).fetchone()
            if found is not None:
                known, lease_until, expires_at, reply = found
                running = reply is None and lease_until > now
                if (running or expires_at > now) and known != fingerprint:
                    raise IdempotencyKeyReused
                if running:
                    return InProgress()
                if reply is not None and expires_at > now:
                    return Finished(reply)
            bound = {
                "tenant": tenant,
                "key": key,
                "fingerprint": fingerprint,
                "token": token,
                "lease_until": now + lease_s,
                "ttl_s": ttl_s,
                "expires_at": now + ttl_s,
            }
            transaction.execute(_SQL["claim"], bound)
            return Begun(token)

        return await self._engine.write(run)

    async def renew(self, tenant: str, key: str, token: str, *, lease_s: float) -> bool:
        """Keep a claim alive."""
        if not findable(tenant, key, token):
            return False
        bound = {"tenant": tenant, "key": key, "token": token}

        def run(transaction: Transaction) -> bool:
            return transaction.execute(_SQL["renew"], {**bound, "lease_until": transaction.now + lease_s}).rowcount > 0

        return await self._engine.write(run)

    async def finish(self, tenant: str, key: str, token: str, reply: bytes) -> bool:
        """Keep the answer."""
        if not findable(tenant, key, token):
            return False
        bound = {"tenant": tenant, "key": key, "token": token, "reply": reply}

        def run(transaction: Transaction) -> bool:
            return transaction.execute(_SQL["finish"], {**bound, "now": transaction.now}).rowcount > 0

        return await self._engine.write(run)

    async def abandon(self, tenant: str, key: str, token: str) -> None:
        """Give the key up."""
        if not findable(tenant, key, token):
            return
        bound = {"tenant": tenant, "key": key, "token": token}

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["abandon"], bound)

        await self._engine.write(run)

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""

        def run(transaction: Transaction) -> int:
            return transaction.execute(_SQL["expire"], {"now": transaction.now, "limit": limit}).rowcount

        return await self._engine.write(run)
