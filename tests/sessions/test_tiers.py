from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from corral.app import App
from corral.backends.open import open_stores
from corral.errors import SessionCold, StoreUnavailable
from corral.observability.metrics import Metrics
from corral.sessions.archive_files import FileArchive
from corral.sessions.event import Draft, EventQuery, SessionEvent, SessionKey, Stamp
from corral.sessions.hot import Hot, Recent
from corral.sessions.tier_counting import TierCounting
from corral.sessions.tiers import TieredSessions
from corral.settings.tier_sections import TierSettings
from ready import ready_url

KEY = SessionKey("acme", "s-1")


def said(text: str) -> Draft:
    return Draft(role="user", content=[{"type": "text", "text": text}])


class Broken(FileArchive):
    """An archive that can be made to fail at each step."""

    fails = ""

    async def put(self, name: str, body: bytes) -> None:
        if self.fails == "put":
            raise StoreUnavailable
        await super().put(name, body[:-1] if self.fails == "truncated" else body)

    async def get(self, name: str) -> bytes | None:
        if self.fails == "get":
            raise StoreUnavailable
        return await super().get(name)


@pytest.fixture
async def stores(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
def archive(tmp_path):
    return Broken(tmp_path / "archive")


@pytest.fixture
def tiers(stores, archive):
    def make(**settings):
        return TieredSessions(
            stores.sessions, stores.tiers, TierSettings(**{"warm_s": 1e-6, **settings}), archive=archive
        )

    return make


async def texts(sessions: TieredSessions, **query) -> list[str]:
    page = await sessions.events(KEY, EventQuery(**{"limit": 1000, **query}))
    return [event.text for event in reversed(page.items)]


def files(tmp_path: Path) -> int:
    return len(list((tmp_path / "archive").rglob("*.gz")))


async def test_a_session_goes_to_the_archive_and_comes_back_when_it_is_read(tiers, stores, tmp_path):
    sessions = tiers()
    await sessions.append(KEY, [said("one"), said("two")])
    assert await sessions.sweep() == 1
    assert files(tmp_path) == 1
    with pytest.raises(SessionCold):
        await stores.sessions.events(KEY, EventQuery())
    assert (await sessions.get(KEY)).events == 2
    assert await texts(tiers()) == ["one", "two"]
    assert await sessions.archiving._sweep_litter() == 1
    assert files(tmp_path) == 0


@pytest.mark.parametrize("fails", ["put", "get", "truncated"])
async def test_an_archive_that_fails_takes_nothing_away(tiers, archive, fails):
    sessions = tiers()
    await sessions.append(KEY, [said("one")])
    archive.fails = fails
    with pytest.raises(StoreUnavailable):
        await sessions.sweep()
    assert await texts(tiers()) == ["one"]
    archive.fails = ""
    assert await sessions.sweep() + await sessions.sweep() == 1  # others are tried before it is again
    assert await texts(tiers()) == ["one"]


async def test_an_object_that_is_lost_or_changed_is_said_so_and_new_words_are_kept(tiers, tmp_path):
    sessions = tiers()
    await sessions.append(KEY, [said("one")])
    await sessions.sweep()
    (path,) = (tmp_path / "archive").rglob("*.gz")
    await asyncio.to_thread(path.write_bytes, b"else")
    with pytest.raises(StoreUnavailable, match=r"was changed\. Put it back"):
        await texts(sessions)
    await asyncio.to_thread(path.unlink)
    with pytest.raises(StoreUnavailable, match="is gone"):
        await texts(sessions)
    await sessions.append(KEY, [said("two")])
    assert await texts(sessions, limit=1) == ["two"]
    assert await sessions.delete("acme", session_id="s-1") == 1


async def test_only_as_much_comes_back_as_is_read(tiers, stores, monkeypatch):
    monkeypatch.setattr("corral.sessions.archiving.SEGMENT_EVENTS_MAX", 10)
    sessions = tiers(hot_max_bytes=0)
    for n in range(5):
        await sessions.append(KEY, [said(f"{n}{m}") for m in range(10)])
    while await sessions.sweep():
        pass
    assert len(await stores.tiers.segments(KEY)) == 5
    assert await texts(sessions, limit=10) == [f"4{m}" for m in range(10)]
    assert len(await stores.tiers.segments(KEY)) == 4
    assert len(await texts(sessions, limit=25)) == 25
    assert len(await stores.tiers.segments(KEY)) == 2
    assert len(await texts(sessions)) == 50
    assert await stores.tiers.segments(KEY) == []


async def test_depth_says_how_far_back_anybody_reads(tiers, monkeypatch):
    monkeypatch.setattr("corral.sessions.archiving.SEGMENT_EVENTS_MAX", 10)
    sessions = tiers(depth=15)
    for n in range(5):
        await sessions.append(KEY, [said(f"{n}{m}") for m in range(10)])
    while await sessions.sweep():
        pass
    assert len(await texts(sessions)) == 20
    assert len(await texts(sessions, actor="")) == 20


async def test_without_an_archive_nothing_moves(stores):
    sessions = TieredSessions(stores.sessions, stores.tiers, TierSettings(warm_s=1e-6))
    await sessions.append(KEY, [said("one")])
    assert await sessions.sweep() == 0
    assert await texts(sessions) == ["one"]
    await sessions.stop()


async def test_newest_events_are_read_from_memory_until_somebody_writes(tiers, stores):
    sessions = tiers(warm_s=1000)
    await sessions.append(KEY, [said("one"), said("two")])
    assert await texts(sessions, limit=20) == ["one", "two"]
    assert await texts(sessions, limit=20) == ["one", "two"]
    assert (sessions.hot.hits, sessions.hot.misses) == (1, 1)
    await sessions.append(KEY, [said("three")])
    await stores.sessions.append(KEY, [said("four")])  # another worker
    assert await texts(sessions, limit=20) == ["one", "two", "three", "four"]
    assert (sessions.hot.hits, sessions.hot.misses) == (2, 1)
    page = await sessions.events(KEY, EventQuery(limit=2))
    rest = await sessions.events(KEY, EventQuery(limit=5, cursor=page.next_cursor))
    assert [event.text for event in rest.items] == ["two", "one"]
    await stores.sessions.delete_event(KEY, page.items[0].id)  # another worker
    assert await texts(sessions, limit=20) == ["one", "two", "three"]
    assert sessions.hot.misses == 2
    await stores.sessions.delete("acme", session_id="s-1")
    assert await texts(sessions, limit=20) == []
    await stores.sessions.append(KEY, [said("new"), said("new"), said("new")])
    assert await texts(sessions, limit=20) == ["new"] * 3


async def test_two_workers_move_the_same_sessions_once(tiers, tmp_path):
    first, second = tiers(), tiers()
    for n in range(8):
        await first.append(SessionKey("acme", f"s-{n}"), [said(str(n))])
    moved = await asyncio.gather(first.sweep(), second.sweep())
    assert sum(moved) == 8
    counts = await first.counts("acme")
    assert (counts.cold_sessions, counts.cold_events) == (8, 8)
    assert 8 <= files(tmp_path) <= 16  # what the loser wrote is litter, and not due yet


def test_memory_is_bounded_and_forgets_what_was_not_used():
    class Now:
        at = 0.0

        def monotonic(self) -> float:
            return self.at

        def now(self) -> float:
            return self.at

    clock = Now()
    hot = Hot(ttl_s=10.0, max_bytes=10_000, clock=clock)

    def recent(n: int) -> Recent:
        event = SessionEvent(
            id="x", session_id="s", seq=1, role="user", content=[{"type": "text", "text": "x" * n}], created_at=1.0
        )
        return Recent(stamp=Stamp(1, 1.0, 0, 1, 0, 1.0), events=[event], complete=True)

    async def run() -> None:
        for n in range(20):
            await hot.keep(SessionKey("acme", str(n)), recent(1000))
        assert hot.bytes <= 10_000
        assert 5 <= len(hot) < 10
        await hot.keep(SessionKey("acme", "huge"), recent(5000))
        assert hot.held(SessionKey("acme", "huge")) is None
        clock.at = 11.0
        assert hot.held(SessionKey("acme", "19")) is None
        await hot.keep(KEY, recent(10))
        assert len(hot) == 1
        await hot.erase("acme")
        assert (len(hot), hot.bytes) == (0, 0)

    asyncio.run(run())


async def test_what_is_moved_is_counted(tiers):
    metrics = Metrics()
    counting = TierCounting(metrics)
    sessions = tiers()
    sessions.archiving.watch = counting
    await sessions.append(KEY, [said("one")])
    await sessions.sweep()
    await texts(sessions)
    counting.show(await sessions.counts(), sessions.hot)
    said_metrics = metrics.render().decode()
    assert 'corral_sessions_tier_moved_events_total{to="cold"} 1' in said_metrics
    assert 'corral_sessions_tier_moved_events_total{to="warm"} 1' in said_metrics
    assert 'corral_sessions_tier_sessions{tier="warm"} 1' in said_metrics


async def test_a_service_moves_sessions_and_shows_how_many(build, tmp_path):
    app = App()
    app.entrypoint(lambda payload: payload)
    service = await build(app, sessions={"tiers": {"warm_s": 1e-6}})
    sessions = service.stores.sessions
    await sessions.append(KEY, [said("one")])
    assert await sessions.expire() == 1
    assert list(tmp_path.rglob("archive/*/*/*.gz"))
    assert b'corral_sessions_tier_events{tier="cold"} 1' in await service._metrics()
    assert await texts(sessions) == ["one"]
