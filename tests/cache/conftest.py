from __future__ import annotations

import asyncio

import pytest
from cache_scene import Layers, TurnedClock

from corral.backends.sqlite.stores import SqliteStores
from corral.cache import shelf
from ready import ready_url


@pytest.fixture(autouse=True)
def _a_busy_machine_is_no_outage(monkeypatch):
    monkeypatch.setattr(shelf, "_ANSWER_S", 30.0)


@pytest.fixture
def clock():
    return TurnedClock()


@pytest.fixture
async def stores(tmp_path, clock):
    """A store whose clock is turned by the test."""
    stores = SqliteStores(ready_url(tmp_path), clock=clock)
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
async def layers(stores, clock):
    """Cached answers in that store: `layers(model, ttl_s=…)`."""
    made = []

    async def make(model, store=stores.cache, **settings):
        one = Layers(model, store, clock=clock, **settings)
        made.append(one)
        await one.cached.start()
        return one

    yield make
    async with asyncio.timeout(20):
        for one in made:
            await one.cached.drain()
            await one.cached.stop()
            await one.cached.stop()
