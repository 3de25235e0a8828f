"""Values that may be lost, in Redis or Valkey: everything by one script, which the server runs without interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from corral.backends.encoding import check_id, findable
from corral.backends.redis.hints import TOLD, shown
from corral.cache.store import KINDS, Claimed, EntryDraft, Kept, Kind, KindStats, Looked, Tally
from corral.errors import StoreUnavailable

_LUA = Path(__file__).with_name("cache.lua").read_text(encoding="utf-8")

_TIMEOUT_S = 2.0
_CONNECTIONS_MAX = 32
_TOGETHER = 500
"""A script takes some thousands of arguments, and nobody else is answered meanwhile."""


class RedisCache:
    """Entries go by themselves when their time is over, and with the server if it keeps nothing; no other store is behind it.

    A server with `maxmemory` may throw entries away as it likes (`volatile-lru`): what only entries need goes with the next
    sweep. It must not throw away what has no end (`allkeys-…`), or a clearing could be forgotten. Not for Redis Cluster.
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
                protocol=2,
                **TOLD,
            )
            self._script = self._redis.register_script(_LUA)

    async def stop(self) -> None:
        """Close. Stopping twice is stopping once."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()

    # -- the port -----------------------------------------------------------------------------------------------------

    def lacks(self, tenant: str, key: bytes, generation: int) -> bool:  # noqa: ARG002 - whoever writes there, nobody tells us
        """Nothing is known without asking."""
        return False

    async def get(self, tenant: str, keys: Sequence[bytes]) -> Looked:
        """Look."""
        if not findable(tenant):
            return Looked({}, 0)
        found: dict[bytes, Kept] = {}
        generation: int | None = None
        for some in _parts(keys) if keys else [[]]:
            said, *entries = await self._ask("get", tenant, *some)
            # Of a clearing in between, the elder generation is the one to remember.
            generation = said if generation is None else min(generation, said)
            found |= {key: _kept(entry) for key, entry in zip(some, entries, strict=True) if entry}
        return Looked(found, generation or 0)

    async def put(self, tenant: str, drafts: Sequence[EntryDraft]) -> int:
        """Keep."""
        check_id("tenant", tenant)
        for draft in drafts:
            for tag in draft.tags:
                check_id("tag", tag)
        kept = 0
        for some in _parts(drafts):
            kept += await self._ask("put", tenant, *(word for draft in some for word in _words(draft)))
        return kept

    async def claim(self, tenant: str, key: bytes, holder: str, *, lease_s: float) -> Claimed:
        """Take the right to ask."""
        check_id("tenant", tenant)
        ours, entry = await self._ask("claim", tenant, key, holder, lease_s)
        return Claimed(ours=bool(ours), kept=_kept(entry) if entry else None)

    async def release(self, tenant: str, key: bytes, holder: str) -> None:
        """Give it up."""
        if findable(tenant, holder):
            await self._ask("release", tenant, key, holder)

    async def drop(self, tenant: str, *, tags: Sequence[str] = (), kind: Kind | None = None) -> int:
        """Throw away."""
        if not findable(tenant):
            return 0
        known = [tag for tag in tags if findable(tag)]
        gone: int = await self._ask("drop", tenant, kind or "", "tags" if tags else "all", *known)
        return gone

    async def tally(self, tallies: Sequence[Tally]) -> None:
        """Count."""
        for one in tallies:
            if findable(one.tenant):
                for number, used in enumerate(_parts(one.used) if one.used else [()]):
                    counts = (0, 0, 0) if number else (one.hits, one.misses, one.saved_usd)
                    await self._ask("tally", one.tenant, one.kind, *counts, len(used), *used)

    async def stats(self, tenant: str) -> list[KindStats]:
        """Count what there is."""
        if not findable(tenant):
            return []
        said = await self._ask("stats", tenant)
        numbers = {name.decode(): float(value) for name, value in zip(said[::2], said[1::2], strict=True)}
        return [
            KindStats(
                kind=kind,
                saved_usd=numbers.get(f"{kind}:saved", 0.0),
                **{name: int(numbers.get(f"{kind}:{name}", 0)) for name in ("entries", "bytes", "hits", "misses")},
            )
            for kind in sorted(KINDS)
            if any(name.startswith(f"{kind}:") for name in numbers)
        ]

    async def sweep(self, *, entries_max: int, bytes_max: int, limit: int = 1000) -> int:
        """Make room."""
        gone: int = await self._ask("sweep", entries_max, bytes_max, limit)
        return gone

    async def _ask(self, *words: Any) -> Any:
        if self._redis is None or self._loop is None:
            raise StoreUnavailable(f"The cache at {self._shown} is not open; call start() first.")
        if asyncio.get_running_loop() is not self._loop:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._ask(*words), self._loop))
        try:
            return await self._script(args=words)
        except ResponseError as error:
            raise StoreUnavailable(f"The cache at {self._shown} (`store.hot`) refuses: {error}") from error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(
                f"The cache at {self._shown} does not answer: {error} (setting `store.hot`, environment "
                "`CORRAL_STORE_HOT`, flag `--hot`)."
            ) from error


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _TOGETHER):
        yield items[start : start + _TOGETHER]


def _words(draft: EntryDraft) -> tuple[Any, ...]:
    tags = msgspec.json.encode(draft.tags) if draft.tags else b""
    generation = "" if draft.generation is None else draft.generation
    return draft.key, draft.value, draft.kind, draft.ttl_s, draft.stale_s, tags, generation


def _kept(entry: Sequence[bytes]) -> Kept:
    value, age_s, fresh_s, left_s = entry
    return Kept(value, float(age_s), float(fresh_s), float(left_s))
