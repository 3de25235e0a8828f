from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict

import pytest

from corral.backends.open import open_stores
from corral.sessions.event import SessionKey
from corral.sessions.turns import Turns
from corral.settings.sections import SessionSettings

KEY = SessionKey("acme", "s1")


class Interposed:
    """The real store, with a word before and after each call: to see what is called, to hold it up, to make it fail."""

    def __init__(self, store):
        self._store = store
        self.calls = defaultdict(int)
        self.before = {}
        self.after = {}

    def __getattr__(self, name):
        call = getattr(self._store, name)
        if not inspect.iscoroutinefunction(call):
            return call

        async def interposed(*args, **kwargs):
            self.calls[name] += 1
            if name in self.before:
                await self.before[name]()
            result = await call(*args, **kwargs)
            if name in self.after:
                await self.after[name]()
            return result

        return interposed


async def until(condition, seconds=10.0):
    """Wait until a condition holds that another process or thread brings about."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - another process or thread sets no event of ours
            await asyncio.sleep(0.002)
        return found


async def is_free(turns_store, key=KEY):
    """Whether nobody holds or waits for the turn, seen through the port."""
    from corral.errors import SessionBusy

    try:
        await turns_store.join(key, "probe", policy="reject", lease_s=5, waiting_max=10)
    except SessionBusy:
        return False
    await turns_store.leave(key, "probe")
    return True


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/corral.db"


@pytest.fixture
async def open_more(url):
    """Opens the stores once more, as another process would."""
    opened = []

    async def open_one():
        stores = open_stores(url)
        opened.append(stores)
        await stores.start()
        return stores

    yield open_one
    for stores in opened:
        await stores.stop()


@pytest.fixture
async def stores(open_more):
    return await open_more()


@pytest.fixture
async def other_stores(stores, open_more):
    return await open_more()


@pytest.fixture
async def make_turns(url, stores, open_more):
    made = []

    async def make(store=None, **settings):
        options = {name: settings.pop(name) for name in ("clock", "chance", "open_turn_store") if name in settings}
        opener = options.pop("open_turn_store", lambda: open_stores(url))
        turns = Turns(store or stores.turns, opener, SessionSettings(**settings), **options)
        await turns.start()
        made.append(turns)
        return turns

    yield make
    for turns in made:
        await turns.stop()


@pytest.fixture
async def turns(make_turns):
    return await make_turns()


@pytest.fixture
async def other_turns(make_turns, other_stores):
    """The turns of what might be another process."""
    return await make_turns(other_stores.turns)
