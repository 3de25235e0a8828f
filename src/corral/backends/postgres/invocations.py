"""Answers by idempotency key, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.clock import new_id
from corral.errors import IdempotencyKeyReused
from corral.runtime.store import Begun, Finished, InProgress

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("invocations.sql"))


class PostgresInvocations:
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
        args = (tenant, key, fingerprint, token, lease_s, ttl_s)
        outcome, reply = await self._engine.fetch_one(_SQL["begin"], *args)
        match outcome:
            case "begun":
                return Begun(token)
            case "running":
                return InProgress()
            case "finished":
                return Finished(reply)
        raise IdempotencyKeyReused

    async def renew(self, tenant: str, key: str, token: str, *, lease_s: float) -> bool:
        """Keep a claim alive."""
        if not findable(tenant, key, token):
            return False
        return await self._engine.fetch_one(_SQL["renew"], tenant, key, token, lease_s) is not None

    async def finish(self, tenant: str, key: str, token: str, reply: bytes) -> bool:
        """Keep the answer."""
        if not findable(tenant, key, token):
            return False
        return await self._engine.fetch_one(_SQL["finish"], tenant, key, token, reply) is not None

    async def abandon(self, tenant: str, key: str, token: str) -> None:
        """Give the key up."""
        if findable(tenant, key, token):
            await self._engine.fetch(_SQL["abandon"], tenant, key, token)

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""
        (swept,) = await self._engine.fetch_one(_SQL["expire"], limit)
        return int(swept)
