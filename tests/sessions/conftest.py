from __future__ import annotations

import pytest

from corral.backends.open import open_stores
from corral.sessions import turns as turns_module
from corral.sessions.turns import Turns
from corral.settings.sections import SessionSettings
from ready import ready_url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """Every test of this room runs on both engines."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return ready_url(tmp_path)


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
async def woken(make_turns, stores, other_stores, monkeypatch):
    """Turns of two processes that neither poll nor renew while a test runs: whatever they hear of, they were woken for."""
    monkeypatch.setattr(turns_module, "_POLL_S", 3600.0)
    return [await make_turns(each.turns, lease_s=3600) for each in (stores, other_stores)]


@pytest.fixture
async def turns(make_turns):
    return await make_turns()


@pytest.fixture
async def other_turns(make_turns, other_stores):
    """The turns of what might be another process."""
    return await make_turns(other_stores.turns)
