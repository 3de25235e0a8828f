"""What came of calls of tools, and their long results, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.clock import new_id
from corral.errors import IdempotencyKeyReused
from corral.tools.store import Begun, Claim, Ended, Running, Unknown

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("tools.sql"))


class PostgresToolEffects:
    """One row per key: claimed while it has no reply."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(
        self, tenant: str, key: str, fingerprint: str, *, tool: str, lease_s: float, ttl_s: float, take_over: bool
    ) -> Claim:
        """Claim a key."""
        check_id("tenant", tenant)
        check_id("idempotency key", key)
        check_id("fingerprint", fingerprint, empty=True)
        check_id("tool", tool)
        token = new_id()
        args = (tenant, key, fingerprint, tool, token, lease_s, ttl_s, take_over)
        outcome, left_s, reply, called, begun_at = await self._engine.fetch_one(_SQL["begin"], *args)
        match outcome:
            case "begun" | "again":
                return Begun(token, outcome == "again")
            case "running":
                return Running(left_s)
            case "ended":
                return Ended(bytes(reply))
            case "unknown":
                return Unknown(called, begun_at)
        raise IdempotencyKeyReused

    async def renew(self, tenant: str, key: str, token: str, *, lease_s: float) -> bool:
        """Keep a claim alive."""
        if not findable(tenant, key, token):
            return False
        return await self._engine.fetch_one(_SQL["renew"], tenant, key, token, lease_s) is not None

    async def finish(self, tenant: str, key: str, token: str, reply: bytes) -> bool:
        """Remember what came of it."""
        if not findable(tenant, key, token):
            return False
        return await self._engine.fetch_one(_SQL["finish"], tenant, key, token, reply) is not None

    async def lose(self, tenant: str, key: str, token: str) -> None:
        """Nobody will know."""
        if findable(tenant, key, token):
            await self._engine.fetch(_SQL["lose"], tenant, key, token)

    async def give_up(self, tenant: str, key: str, token: str) -> None:
        """Nothing has happened."""
        if findable(tenant, key, token):
            await self._engine.fetch(_SQL["give_up"], tenant, key, token)

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""
        (swept,) = await self._engine.fetch_one(_SQL["expire"], limit)
        return int(swept)


class PostgresToolArtefacts:
    """One row per result; PostgreSQL keeps large ones apart by itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def put(self, tenant: str, owner: str, name: str, body: bytes, *, ttl_s: float) -> None:
        """Keep."""
        check_id("tenant", tenant)
        check_id("owner", owner, empty=True)
        check_id("name", name)
        await self._engine.fetch(_SQL["put_artefact"], tenant, owner, name, body, ttl_s)

    async def get(self, tenant: str, owner: str, name: str) -> bytes | None:
        """Read."""
        if not findable(tenant, owner, name):
            return None
        row = await self._engine.fetch_one(_SQL["get_artefact"], tenant, owner, name)
        return bytes(row[0]) if row else None

    async def expire(self, *, limit: int = 100) -> int:
        """Sweep."""
        (swept,) = await self._engine.fetch_one(_SQL["expire_artefacts"], limit)
        return int(swept)
