from __future__ import annotations

import asyncio
import logging
import time

import pytest
from session_scene import Interposed

from corral.backends.sqlite.stores import SqliteStores
from corral.errors import SessionCold, StoreUnavailable
from corral.observability.metrics import Metrics
from corral.sessions.archive_files import FileArchive
from corral.sessions.archiving import Archiving
from corral.sessions.event import Draft, EventQuery, Segment, SessionKey
from corral.sessions.hot import Hot
from corral.sessions.tier_counting import TierCounting
from corral.sessions.tiers import TieredSessions
from corral.settings.tier_sections import TierSettings
from ready import ready_url

KEY = SessionKey("acme", "s-1")


def said(text: str, **more) -> Draft:
    return Draft(role="user", content=[{"type": "text", "text": text}], **more)


class AheadClock:
    """The machine's clock, put forward by hand."""

    ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    monotonic = staticmethod(time.monotonic)


class Hooked(FileArchive):
    """An archive before whose reads and writes something else happens."""

    async def before_put(self) -> None:
        """Nothing, unless a test says so."""

    before_get = before_put

    async def put(self, name: str, body: bytes) -> None:
        await self.before_put()
        await super().put(name, body)

    async def get(self, name: str) -> bytes | None:
        await self.before_get()
        return await super().get(name)


@pytest.fixture
def clock():
    return AheadClock()


@pytest.fixture
async def stores(tmp_path, clock):
    stores = SqliteStores(ready_url(tmp_path), clock=clock)
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
def store(stores):
    return Interposed(stores.sessions)


@pytest.fixture
def archive(tmp_path):
    return Hooked(tmp_path / "archive")


@pytest.fixture
def tiers(store, stores, archive):
    def make(**settings):
        return TieredSessions(store, stores.tiers, TierSettings(**{"warm_s": 1e-6, **settings}), archive=archive)

    return make


async def texts(sessions, key: SessionKey = KEY, **query) -> list[str]:
    page = await sessions.events(key, EventQuery(**{"limit": 1000, **query}))
    return [event.text for event in reversed(page.items)]


async def all_cold(sessions: TieredSessions) -> None:
    while await sessions.sweep():
        pass


# -- moving


async def test_what_expired_in_the_archive_goes_and_what_did_not_stays(tiers, stores, clock):
    sessions = tiers()
    await sessions.append(KEY, [said("short", ttl_s=60.0), said("long")])
    assert await sessions.sweep() == 1
    clock.ahead = 61.0
    sessions = tiers(warm_s=3600.0)
    assert await sessions.sweep() == 1
    assert await stores.tiers.segments(KEY) == []
    assert await texts(stores.sessions) == ["long"]


async def test_expired_events_that_cannot_be_read_now_do_not_keep_others_from_the_archive(
    tiers, stores, archive, clock, caplog
):
    sessions = tiers()
    await sessions.append(KEY, [said("short", ttl_s=60.0)])
    await sessions.sweep()
    (segment,) = await stores.tiers.segments(KEY)
    await archive.delete(segment.object)
    clock.ahead = 61.0
    other = SessionKey("acme", "s-2")
    await sessions.append(other, [said("other")])
    with caplog.at_level(logging.WARNING):
        assert await sessions.sweep() == 1
    assert "cannot be removed now" in caplog.text
    assert len(await stores.tiers.segments(other)) == 1


async def test_a_sweep_looks_at_so_many_sessions_and_the_next_goes_on_from_there(tiers, monkeypatch):
    monkeypatch.setattr("corral.backends.sqlite.tiers._STRETCH", 1)
    monkeypatch.setattr("corral.sessions.archiving._STRETCHES", 2)
    sessions = tiers()
    for n in range(5):
        await sessions.append(SessionKey("acme", f"s-{n}"), [said("x")])
    assert [await sessions.sweep() for _ in range(3)] == [2, 2, 1]


async def test_an_archive_that_never_answers_is_given_up_and_nothing_is_lost(tiers, archive, monkeypatch):
    monkeypatch.setattr("corral.sessions.archiving._WRITING_S", 0.01)
    sessions = tiers()
    await sessions.append(KEY, [said("one")])
    archive.before_put = asyncio.Event().wait
    with pytest.raises(StoreUnavailable, match=r"took more than 0\.01 s for 1 events"):
        await sessions.sweep()
    assert await texts(sessions) == ["one"]


async def test_which_sessions_came_back_is_not_remembered_for_ever(tiers, monkeypatch):
    monkeypatch.setattr("corral.sessions.archiving._THAWS_MAX", 2)
    sessions = tiers()
    keys = [SessionKey("acme", f"s-{n}") for n in range(5)]
    for key in keys:
        await sessions.append(key, [said("x")])
    await all_cold(sessions)
    for key in keys:
        assert await texts(sessions, key) == ["x"]
    assert len(sessions.archiving._thaws) <= 2


async def test_a_segment_that_another_worker_brought_back_meanwhile_is_read_there(tiers, stores, archive, tmp_path):
    sessions = tiers()
    await sessions.append(KEY, [said("one")])
    await sessions.sweep()
    other = Archiving(stores.tiers, FileArchive(tmp_path / "archive"), TierSettings())

    async def quicker() -> None:
        await other.thaw(KEY)
        await other.sweep()

    archive.before_get = quicker
    assert await texts(sessions) == ["one"]


async def test_an_object_of_another_session_is_not_read_whatever_the_store_says(tiers, stores, archive):
    sessions = tiers()
    theirs = SessionKey("other", "s-1")
    await sessions.append(theirs, [said("secret")])
    await sessions.sweep()
    (segment,) = await stores.tiers.segments(theirs)
    await sessions.append(KEY, [said("mine")])
    (idle,), _ = await stores.tiers.idle(0, idle_s=1e-6, events_max=10)
    batch = await stores.tiers.begin(idle, "a/b", events_max=10, bytes_max=1000, spare_s=60.0)
    wrong = Segment(
        key=KEY,
        number=idle.number,
        first_seq=1,
        last_seq=1,
        events=1,
        bytes=segment.bytes,
        object=batch.object,
        digest=segment.digest,
        cold_at=batch.events[0].created_at,
    )
    await archive.put(batch.object, await archive.get(segment.object))
    assert await stores.tiers.end(wrong, cold_seq=0)
    with pytest.raises(StoreUnavailable, match="belongs to another session"):
        await texts(sessions)


# -- reading


async def test_a_copy_that_is_far_behind_is_read_anew(tiers, stores):
    sessions = tiers(warm_s=3600.0, hot_events=2)
    await sessions.append(KEY, [said("1"), said("2")])
    assert await texts(sessions, limit=2) == ["1", "2"]
    await stores.sessions.append(KEY, [said("3"), said("4"), said("5")])  # another worker
    assert await texts(sessions, limit=2) == ["4", "5"]
    assert (sessions.hot.hits, sessions.hot.misses) == (0, 2)


async def test_what_a_copy_of_another_branch_cannot_answer_the_store_does(tiers):
    sessions = tiers(warm_s=3600.0, hot_events=3)
    await sessions.append(KEY, [said("1"), said("2"), said("3")])
    await sessions.append(KEY, [said(f"b{n}", branch="b") for n in range(3)])
    assert await texts(sessions, limit=2, branch="main") == ["2", "3"]


async def test_words_of_two_workers_stay_in_order(tiers, stores):
    sessions = tiers(warm_s=3600.0)
    await sessions.append(KEY, [said("1")])
    assert await texts(sessions, limit=20) == ["1"]
    await stores.sessions.append(KEY, [said("2")])  # another worker
    await sessions.append(KEY, [said("3")])
    assert await texts(sessions, limit=20) == ["1", "2", "3"]


async def test_a_session_of_more_segments_than_are_brought_back_one_by_one_comes_whole(tiers, monkeypatch):
    monkeypatch.setattr("corral.sessions.archiving.SEGMENT_EVENTS_MAX", 1)
    monkeypatch.setattr("corral.sessions.tiers._THAWS_MAX", 2)
    sessions = tiers()
    await sessions.append(KEY, [said(str(n)) for n in range(5)])
    await all_cold(sessions)
    assert await texts(sessions) == ["0", "1", "2", "3", "4"]


async def test_a_session_that_is_deleted_while_it_is_read_is_empty(store, stores, archive):
    numbers = Interposed(stores.tiers)
    sessions = TieredSessions(store, numbers, TierSettings(warm_s=1e-6, hot_max_bytes=0), archive=archive)
    await sessions.append(KEY, [said("one")])
    await sessions.sweep()

    async def deleted() -> None:
        await stores.sessions.delete("acme", session_id="s-1")

    numbers.before["stamp"] = deleted
    assert await texts(sessions) == []


async def test_where_the_archive_was_taken_away_it_is_said_that_the_session_lies_there(tiers, stores):
    sessions = tiers()
    await sessions.append(KEY, [said("one", actor="ada")])
    await sessions.sweep()
    without = TieredSessions(stores.sessions, stores.tiers, TierSettings())
    with pytest.raises(SessionCold):
        await texts(without)
    with pytest.raises(SessionCold):
        await without.fork(KEY, "copy")
    with pytest.raises(SessionCold):
        await without.delete("acme", actor="ada")
    assert await texts(sessions) == ["one"]


@pytest.mark.parametrize("what", ["fork", "delete"])
async def test_archivists_that_are_quicker_are_outlasted(tiers, store, monkeypatch, what):
    monkeypatch.setattr("corral.sessions.tiers._THAWS_MAX", 2)
    sessions = tiers()
    await sessions.append(KEY, [said("one", actor="ada")])

    async def cold_again() -> None:
        if store.calls[what] <= 2:
            await all_cold(sessions)

    store.before[what] = cold_again
    if what == "fork":
        assert (await sessions.fork(KEY, "copy")).events == 1
    else:
        assert await sessions.delete("acme", actor="ada") == 1
    assert store.calls[what] == 3


# -- forgetting


async def test_who_is_forgotten_is_in_no_copy_however_many_sessions(tiers, monkeypatch):
    monkeypatch.setattr("corral.sessions.tiers._FORGET_PAGE", 2)
    sessions = tiers(warm_s=3600.0)
    keys = [SessionKey("acme", f"s-{n}") for n in range(5)]
    for key in keys:
        await sessions.append(key, [said("x", actor="ada")])
        assert await texts(sessions, key, limit=20) == ["x"]
    assert await sessions.delete("acme", actor="ada") == 5
    assert len(sessions.hot) == 0
    assert [await texts(sessions, key, limit=20) for key in keys] == [[]] * 5


async def test_without_memory_nobody_looks_for_copies_to_forget(tiers, store):
    sessions = tiers(warm_s=3600.0, hot_max_bytes=0)
    await sessions.append(KEY, [said("x", actor="ada")])
    assert await sessions.delete("acme", actor="ada") == 1
    assert store.calls["sessions"] == 0
    assert await texts(sessions) == []


def test_between_two_counts_of_the_store_a_worker_shows_its_own(clock):
    metrics = Metrics()
    hot = Hot(ttl_s=10.0, max_bytes=1000, clock=clock)
    hot.hits = 3
    TierCounting(metrics).show(None, hot)
    shown = metrics.render().decode()
    assert 'corral_sessions_tier_hot_total{outcome="hit"} 3' in shown
    assert "corral_sessions_tier_sessions{" not in shown
