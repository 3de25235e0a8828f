"""What all workers know together of limits, in Redis or Valkey: a hash per key, changed by one script."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError, ResponseError

from corral.backends.redis.hints import TOLD, shown
from corral.errors import StoreUnavailable
from corral.limits.store import FORGOTTEN_S, Shared

_LUA = Path(__file__).with_name("limits.lua").read_text(encoding="utf-8")

_LOOK = -1
_TIMEOUT_S = 2.0
_CONNECTIONS_MAX = 32
_RETRIES = 3


class RedisLimits:
    """Answers in a fraction of a millisecond. What a server that dies forgets is made up for within a minute.

    There is no other store behind it: with two of them, workers that reach different ones would use a limit twice.
    """

    def __init__(self, url: str) -> None:
        """`url` is `redis://…` or `rediss://…`."""
        self._shown = shown(url)
        self._url = url
        self._redis: Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._script: Any = None

    def start(self) -> None:
        """Be ready, on this loop; whether a server is there is found out by asking it."""
        if self._redis is None:
            self._loop = asyncio.get_running_loop()
            self._redis = Redis.from_url(
                self._url,
                socket_connect_timeout=_TIMEOUT_S,
                socket_timeout=_TIMEOUT_S,
                max_connections=_CONNECTIONS_MAX,
                # A connection that broke while it was idle; a swap that was made twice fails the second time.
                retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), _RETRIES),
                protocol=2,
                **TOLD,
            )
            self._script = self._redis.register_script(_LUA)

    async def stop(self) -> None:
        """Close. Stopping twice is stopping once."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()

    async def read(self, key: str) -> Shared:
        """What is there."""
        return (await self._ask(key, _LOOK, b""))[1]

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        """Compare, and put."""
        return await self._ask(key, version, body)

    async def forget(self, *, idle_s: float = FORGOTTEN_S, limit: int = 1000) -> int:
        """Nothing: the server forgets by itself."""
        del idle_s, limit
        return 0

    async def _ask(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        if self._redis is None or self._loop is None:
            raise StoreUnavailable(f"The store of limits at {self._shown} is not open; call start() first.")
        if asyncio.get_running_loop() is not self._loop:
            asked = asyncio.run_coroutine_threadsafe(self._ask(key, version, body), self._loop)
            return await asyncio.wrap_future(asked)
        try:
            answer = await self._script(keys=[f"corral:limits:{key}"], args=[version, body, int(FORGOTTEN_S)])
        except ResponseError as error:
            raise StoreUnavailable(f"The store of limits at {self._shown} (`store.hot`) refuses: {error}") from error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(
                f"The store of limits at {self._shown} does not answer: {error} (setting `store.hot`, environment "
                "`CORRAL_STORE_HOT`, flag `--hot`)."
            ) from error
        done, kept, now_version, now = answer
        return bool(done), Shared(kept, now_version, float(now))
