"""Copies of sessions' newest events that all workers share, in Redis or Valkey: what is lost is read from the store again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from corral.backends.redis.hints import TOLD

if TYPE_CHECKING:
    from corral.sessions.event import SessionKey

T = TypeVar("T")

_log = logging.getLogger("corral.sessions")

_TIMEOUT_S = 0.5
_CONNECTIONS_MAX = 32
_REST_S = 5.0
"""A server that did not answer is left alone for so long: reads go to the store meanwhile."""
_SCANNED = 500


class RedisShelf:
    """One key for each session, named by hashes of tenant and session. It never raises for what the server does."""

    def __init__(self, url: str) -> None:
        """`url` is `redis://…` or `rediss://…`."""
        self._url = url
        self._redis: Redis | None = None
        self._again_at = 0.0

    def start(self) -> None:
        """Be ready, on this loop."""
        if self._redis is None:
            self._redis = Redis.from_url(
                self._url,
                socket_connect_timeout=_TIMEOUT_S,
                socket_timeout=_TIMEOUT_S,
                max_connections=_CONNECTIONS_MAX,
                protocol=2,
                **TOLD,
            )

    async def stop(self) -> None:
        """Close. Stopping twice is stopping once."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()

    async def get(self, key: SessionKey) -> bytes | None:
        """What lies there."""
        redis = self._reachable()
        if redis is None:
            return None
        found = await self._asked(redis.get(_name(key.tenant, key.session_id)))
        return found if isinstance(found, bytes) else None

    async def put(self, key: SessionKey, copy: bytes, *, ttl_s: float) -> None:
        """Leave it there for a while."""
        redis = self._reachable()
        if redis is not None:
            await self._asked(redis.set(_name(key.tenant, key.session_id), copy, px=max(1, int(ttl_s * 1000))))

    async def drop(self, tenant: str, session_id: str | None = None) -> None:
        """Take away one copy, or all of a tenant's."""
        redis = self._reachable()
        if redis is None:
            return
        if session_id is not None:
            await self._asked(redis.delete(_name(tenant, session_id)))
            return
        cursor = 0
        while True:
            found = await self._asked(redis.scan(cursor, match=_name(tenant, None), count=_SCANNED))
            if found is None:
                return
            cursor, names = found
            if names:
                await self._asked(redis.delete(*names))
            if not cursor:
                return

    def _reachable(self) -> Redis | None:
        return self._redis if asyncio.get_running_loop().time() >= self._again_at else None

    async def _asked(self, question: Awaitable[T]) -> T | None:
        try:
            return await question
        except (RedisError, OSError, TimeoutError) as error:
            self._again_at = asyncio.get_running_loop().time() + _REST_S
            _log.debug("Redis does not give copies of sessions now: %s", error)
            return None


def _name(tenant: str, session_id: str | None) -> str:
    """The key's name; without a session the pattern of all of a tenant's."""
    session = "*" if session_id is None else _hash(session_id)
    return f"corral:hot:{_hash(tenant)}:{session}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
