"""What came of calls of tools, and their long results, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.clock import new_id
from corral.errors import IdempotencyKeyReused
from corral.tools.store import Begun, Claim, Ended, Running, Unknown

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("tools.sql"))


class SqliteToolEffects:
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
        bound = {
            "tenant": tenant,
            "key": key,
            "fingerprint": fingerprint,
            "tool": tool,
            "token": new_id(),
            "lease_s": lease_s,
            "ttl_s": ttl_s,
        }

        def run(transaction: Transaction) -> Claim:
            now = transaction.now
            found = transaction.execute(_SQL["find"], {"tenant": tenant, "key": key}).fetchone()
            again = False
            if found is not None:
                known, called, begun_at, lease_until, expires_at, reply = found
                left_s = lease_until - now
                if expires_at > now or (reply is None and left_s > 0):
                    if known != fingerprint:
                        raise IdempotencyKeyReused
                    if reply is not None:
                        return Ended(reply)
                    if left_s > 0:
                        return Running(left_s)
                    if not take_over:
                        return Unknown(called, begun_at)
                    again = True
            transaction.execute(_SQL["claim"], {**bound, "now": now})
            return Begun(str(bound["token"]), again)

        return await self._engine.write(run)

    async def renew(self, tenant: str, key: str, token: str, *, lease_s: float) -> bool:
        """Keep a claim alive."""
        return await self._change("renew", tenant, key, token, lease_s=lease_s)

    async def finish(self, tenant: str, key: str, token: str, reply: bytes) -> bool:
        """Remember what came of it."""
        return await self._change("finish", tenant, key, token, reply=reply)

    async def lose(self, tenant: str, key: str, token: str) -> None:
        """Nobody will know."""
        await self._change("lose", tenant, key, token)

    async def give_up(self, tenant: str, key: str, token: str) -> None:
        """Nothing has happened."""
        await self._change("give_up", tenant, key, token)

    async def _change(self, query: str, tenant: str, key: str, token: str, **more: object) -> bool:
        if not findable(tenant, key, token):
            return False
        bound = {"tenant": tenant, "key": key, "token": token, **more}

        def run(transaction: Transaction) -> bool:
            return transaction.execute(_SQL[query], {**bound, "now": transaction.now}).rowcount > 0

        return await self._engine.write(run)

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""

        def run(transaction: Transaction) -> int:
            return transaction.execute(_SQL["expire"], {"now": transaction.now, "limit": limit}).rowcount

        return await self._engine.write(run)


class SqliteToolArtefacts:
    """One row per result."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def put(self, tenant: str, owner: str, name: str, body: bytes, *, ttl_s: float) -> None:
        """Keep."""
        check_id("tenant", tenant)
        check_id("owner", owner, empty=True)
        check_id("name", name)
        bound = {"tenant": tenant, "owner": owner, "name": name, "body": body, "ttl_s": ttl_s}

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["put_artefact"], {**bound, "now": transaction.now})

        await self._engine.write(run)

    async def get(self, tenant: str, owner: str, name: str) -> bytes | None:
        """Read."""
        if not findable(tenant, owner, name):
            return None
        bound = {"tenant": tenant, "owner": owner, "name": name}
        row = await self._engine.read(
            lambda view: view.execute(_SQL["get_artefact"], {**bound, "now": view.now}).fetchone()
        )
        return row[0] if row else None

    async def expire(self, *, limit: int = 100) -> int:
        """Sweep."""

        def run(transaction: Transaction) -> int:
            return transaction.execute(_SQL["expire_artefacts"], {"now": transaction.now, "limit": limit}).rowcount

        return await self._engine.write(run)
