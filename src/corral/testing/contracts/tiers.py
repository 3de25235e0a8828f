"""What a `TierStore` promises, and that whoever uses sessions does not notice tiers at all."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from corral.clock import new_id
from corral.errors import CorralError, SessionCold
from corral.sessions.archive_files import FileArchive
from corral.sessions.event import EventQuery, Idle, Segment, SessionKey, SessionQuery
from corral.sessions.tiers import TieredSessions
from corral.settings.tier_sections import TierSettings
from corral.testing.contracts.setting import KEY, Contract, eventually, listed, said, texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from corral.backends.stores import Stores
    from corral.sessions.event import Batch
    from corral.sessions.store import SessionStore

_AT_ONCE = TierSettings(warm_s=1e-6, warm_events_max=1_000_000)


class Tiered:
    """Stores whose sessions are in tiers; everything else is theirs."""

    def __init__(self, stores: Stores, sessions: Any) -> None:
        self._stores = stores
        self.sessions = sessions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stores, name)


class ColdFirst:
    """Sessions of which everything goes to the archive before each call."""

    def __init__(self, tiered: TieredSessions) -> None:
        self.tiered = tiered

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.tiered, name)

        async def call(*args: Any, **more: Any) -> Any:
            await cool(self.tiered)
            return await method(*args, **more)

        return call


async def cool(tiered: TieredSessions) -> None:
    """Move whatever can move, and sweep what is nobody's."""
    assert tiered.archiving is not None
    while await tiered.archiving.sweep():
        pass


async def cool_tenant(stores: Stores, tiered: TieredSessions, tenant: str) -> None:
    """Move what can move of one tenant."""
    assert tiered.archiving is not None
    after: int | None = 0
    while after is not None:
        found, after = await stores.tiers.idle(after, idle_s=1e-6, events_max=1_000_000)
        for idle in found:
            if idle.key.tenant == tenant:
                await tiered.archiving.cool(idle)


def tiered(stores: Stores, folder: Path, **more: Any) -> TieredSessions:
    """Tiers over these stores, in which nothing is warm for long."""
    return TieredSessions(
        stores.sessions, stores.tiers, TierSettings(**{"warm_s": 1e-6, **more}), archive=FileArchive(folder / "archive")
    )


async def first_idle(stores: Stores) -> Idle:
    """The session that may go first."""
    found, _ = await stores.tiers.idle(0, idle_s=1e-6, events_max=1000)
    return found[0]


async def begun(stores: Stores, name: str = "a/b.json.gz", spare_s: float = 60.0, **more: int) -> Batch:
    """A segment of which only the name is noted."""
    limits = {"events_max": 1000, "bytes_max": 1_000_000, **more}
    batch = await stores.tiers.begin(await first_idle(stores), name, spare_s=spare_s, **limits)
    assert batch is not None
    return batch


def segment_for(batch: Batch) -> Segment:
    """What the archivist makes of it."""
    return Segment(
        key=batch.idle.key,
        number=batch.idle.number,
        first_seq=batch.events[0].seq,
        last_seq=batch.events[-1].seq,
        events=len(batch.events),
        bytes=123,
        object=batch.object,
        digest="d",
        cold_at=batch.events[-1].created_at,
        next_expiry=min((one.expires_at for one in batch.events if one.expires_at), default=None),
    )


class TierContract(Contract):
    """There and back, whatever happens meanwhile."""

    async def test_events_go_and_come_back_as_they_were(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("one", actor="ada", metadata={"a": 1}), said("two", "assistant")])
        await stores.sessions.append(KEY, [said("three", branch="b", ttl_s=3600)])
        before = await listed(stores)
        batch = await begun(stores)
        segment = segment_for(batch)
        assert await listed(stores) == before
        assert await stores.tiers.end(segment, cold_seq=0)
        with pytest.raises(SessionCold):
            await listed(stores)
        assert await texts(stores, warm_only=True) == []
        assert await stores.tiers.segments(KEY) == [segment]
        info = await stores.sessions.get(KEY)
        assert info is not None
        assert info.events == 3
        assert await stores.tiers.restore(segment, batch.events)
        assert not await stores.tiers.restore(segment, batch.events)
        assert await listed(stores) == before
        assert await stores.tiers.litter() == [batch.object]
        await stores.tiers.swept([batch.object])
        assert await stores.tiers.litter() == []

    async def test_a_worker_that_dies_before_the_end_leaves_nothing_but_litter(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("one")])
        batch = await begun(stores, spare_s=0.0)
        assert await texts(stores) == ["one"]
        assert await stores.tiers.litter() == [batch.object]
        assert not await stores.tiers.end(segment_for(batch), cold_seq=0)  # it was not dead, only late
        assert await texts(stores) == ["one"]

    async def test_litter_that_is_not_due_is_left_alone(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("one")])
        batch = await begun(stores)
        assert await stores.tiers.litter() == []
        assert await stores.tiers.end(segment_for(batch), cold_seq=0)
        assert await stores.tiers.litter() == []

    async def test_of_two_that_take_up_the_same_events_one_succeeds(self, stores: Stores, other_stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("one"), said("two")])
        batches = [await begun(stores, "a"), await begun(other_stores, "b")]
        done = await asyncio.gather(
            stores.tiers.end(segment_for(batches[0]), cold_seq=0),
            other_stores.tiers.end(segment_for(batches[1]), cold_seq=0),
        )
        assert sorted(done) == [False, True]
        (segment,) = await stores.tiers.segments(KEY)
        assert segment.object == ("a" if done[0] else "b")

    @pytest.mark.parametrize("change", ["delete_event", "turn", "delete", "recreate", "forget"])
    async def test_what_changed_meanwhile_stays(self, stores: Stores, change: str) -> None:
        written = await stores.sessions.append(KEY, [said("one", actor="ada"), said("two", actor="bob")])
        batch = await begun(stores)
        if change == "delete_event":
            await stores.sessions.delete_event(KEY, written[0].id)
        elif change == "turn":
            await stores.turns.join(KEY, "t", policy="enqueue", lease_s=60, waiting_max=1)
        elif change == "forget":
            await stores.sessions.delete("acme", actor="ada")
        else:
            await stores.sessions.delete("acme", session_id="s-1")
            if change == "recreate":
                await stores.sessions.append(KEY, [said("new")])
        before = await texts(stores)
        assert not await stores.tiers.end(segment_for(batch), cold_seq=0)
        assert await texts(stores) == before

    async def test_what_was_said_meanwhile_does_not_matter(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("one"), said("two")])
        batch = await begun(stores)
        await stores.sessions.append(KEY, [said("three")])
        assert await stores.tiers.end(segment_for(batch), cold_seq=0)
        assert await texts(stores, warm_only=True) == ["three"]
        assert [event.text for event in (await stores.sessions.events(KEY, EventQuery(limit=1))).items] == ["three"]

    async def test_a_session_in_which_somebody_has_the_turn_stays(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("one")])
        idle = await first_idle(stores)
        await stores.turns.join(KEY, "t", policy="enqueue", lease_s=60, waiting_max=1)
        limits = {"events_max": 10, "bytes_max": 1000, "spare_s": 60.0}
        assert await stores.tiers.begin(idle, "a", **limits) is None  # type: ignore[arg-type]  # as they are named

    async def test_a_batch_is_bounded_and_begins_with_the_oldest(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said(f"{n}" * 500) for n in range(8)])
        assert [one.seq for one in (await begun(stores, "a", events_max=3)).events] == [1, 2, 3]
        assert [one.seq for one in (await begun(stores, "b", bytes_max=1200)).events] == [1, 2]
        assert [one.seq for one in (await begun(stores, "c", bytes_max=1)).events] == [1]

    async def test_of_a_long_session_the_older_half_goes(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said(str(n)) for n in range(10)])
        await stores.sessions.append(SessionKey("acme", "short"), [said("x")])
        found, following = await stores.tiers.idle(0, idle_s=3600.0, events_max=6)
        assert [(idle.key, idle.keep) for idle in found] == [(KEY, 3)]
        assert following is None
        batch = await stores.tiers.begin(found[0], "a", events_max=100, bytes_max=10_000, spare_s=60.0)
        assert batch is not None
        assert [one.seq for one in batch.events] == [1, 2, 3, 4, 5, 6, 7]

    async def test_sessions_that_were_left_alone_are_found_in_pages(self, stores: Stores) -> None:
        keys = [SessionKey("acme" if n % 2 else "other", f"s-{n}") for n in range(7)]
        for key in keys:
            await stores.sessions.append(key, [said("x")])
        await stores.sessions.write_state(SessionKey("acme", "no-events"), 1)
        assert (await stores.tiers.idle(0, idle_s=3600.0, events_max=10))[0] == []
        found: list[SessionKey] = []
        after: int | None = 0
        while after is not None:
            page, after = await stores.tiers.idle(after, idle_s=1e-6, events_max=10, limit=3)
            found += [idle.key for idle in page]
        assert found == keys

    @pytest.mark.parametrize("how", ["session", "tenant", "actor", "expiry"])
    async def test_objects_of_what_is_forgotten_are_swept(self, stores: Stores, how: str) -> None:
        ttl_s = 0.001 if how == "expiry" else None
        await stores.sessions.append(KEY, [said("one", actor="ada")], ttl_s=None)
        batch = await begun(stores)
        assert await stores.tiers.end(segment_for(batch), cold_seq=0)
        if how == "session":
            assert await stores.sessions.delete("acme", session_id="s-1") == 1
        elif how == "tenant":
            assert await stores.sessions.delete("acme") == 1
        elif how == "actor":
            with pytest.raises(SessionCold):
                await stores.sessions.delete("acme", actor="ada")
            assert await stores.tiers.cold_of_actor("acme", "ada") == [KEY]
            assert await stores.tiers.cold_of_actor("other", "ada") == []
            await stores.tiers.restore(segment_for(batch), batch.events)
            assert await stores.sessions.delete("acme", actor="ada") == 1
        else:
            await stores.sessions.append(KEY, [said("two")], ttl_s=ttl_s)

            async def swept() -> bool:
                return await stores.sessions.expire() > 0

            await eventually(swept)
        assert await stores.tiers.litter() == [batch.object]
        assert await stores.tiers.segments(KEY) == []

    async def test_what_needs_the_archive_is_refused_and_changes_nothing(self, stores: Stores) -> None:
        written = await stores.sessions.append(KEY, [said("one"), said("two")])
        assert await stores.tiers.end(segment_for(await begun(stores)), cold_seq=0)
        await stores.sessions.append(KEY, [said("three")])
        with pytest.raises(SessionCold):
            await stores.sessions.fork(KEY, "copy")
        with pytest.raises(SessionCold):
            await stores.sessions.delete_event(KEY, written[0].id)
        with pytest.raises(SessionCold):
            await stores.sessions.append(KEY, [said("four", branch="b", branch_root=written[0].id)])
        assert await texts(stores, warm_only=True) == ["three"]
        assert await stores.sessions.get(SessionKey("acme", "copy")) is None
        page = await stores.sessions.events(KEY, EventQuery(limit=1))  # full without the archive
        assert page.next_cursor is not None
        with pytest.raises(SessionCold):
            await stores.sessions.events(KEY, EventQuery(limit=1, cursor=page.next_cursor))
        since = page.items[0].created_at + 1  # nothing that is cold is so new
        assert (await stores.sessions.events(KEY, EventQuery(since=since))).items == []

    async def test_segments_that_hold_something_expired_are_named(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("short", ttl_s=0.2), said("long")])
        batch = await begun(stores)
        assert await stores.tiers.end(segment_for(batch), cold_seq=0)
        found: list[Segment] = []

        async def expiring() -> bool:
            found[:] = await stores.tiers.expiring()
            return bool(found)

        await eventually(expiring)
        assert [one.object for one in found] == [batch.object]
        assert await stores.tiers.restore(found[0], batch.events)
        assert await texts(stores) == ["long"]

    async def test_the_stamp_changes_with_what_copies_must_know(self, stores: Stores) -> None:
        assert await stores.tiers.stamp(KEY) is None
        written = await stores.sessions.append(KEY, [said("one"), said("two")])
        first = await stores.tiers.stamp(KEY)
        assert first is not None
        assert (first.last_seq, first.cold_seq) == (2, 0)
        await stores.sessions.delete_event(KEY, written[0].id)
        second = await stores.tiers.stamp(KEY)
        assert second is not None
        assert second.erased > first.erased
        batch = await begun(stores)
        assert await stores.tiers.end(segment_for(batch), cold_seq=0)
        third = await stores.tiers.stamp(KEY)
        assert third is not None
        assert (third.erased, third.cold_seq) == (second.erased, 2)

    async def test_counts_are_of_one_tenant_or_of_all(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("x" * 1000), said("y" * 1000)])
        assert await stores.tiers.end(segment_for(await begun(stores)), cold_seq=0)
        await stores.sessions.append(KEY, [said("z" * 1000)])
        await stores.sessions.append(SessionKey("other", "s"), [said("x" * 1000)])
        counts = await stores.tiers.counts("acme")
        assert (counts.sessions, counts.warm_sessions, counts.cold_sessions) == (1, 1, 1)
        assert (counts.warm_events, counts.cold_events, counts.cold_bytes) == (1, 2, 123)
        assert 900 <= counts.warm_bytes <= 1200
        assert (await stores.tiers.counts()).sessions == 2
        assert (await stores.tiers.counts("nobody")).sessions == 0


_WORDS = st.text("ab\0é", max_size=8)
_KEYS = st.sampled_from(["s-1", "s-2"])
_ACTORS = st.sampled_from(["", "ada", "bob"])
_STEP = st.one_of(
    st.tuples(st.just("append"), _KEYS, st.lists(st.tuples(_WORDS, _ACTORS), min_size=1, max_size=4)),
    st.tuples(st.just("append"), _KEYS, st.lists(st.tuples(_WORDS, _ACTORS), min_size=1, max_size=4)),
    st.tuples(st.just("branch"), _KEYS, st.integers(0, 30)),
    st.tuples(st.just("read"), _KEYS, st.integers(1, 6)),
    st.tuples(st.just("filter"), _KEYS, _ACTORS),
    st.tuples(st.just("walk"), _KEYS, st.integers(1, 5)),
    st.tuples(st.just("delete_event"), _KEYS, st.integers(0, 30)),
    st.tuples(st.just("fork"), _KEYS, st.integers(0, 30)),
    st.tuples(st.just("delete"), _KEYS, st.none()),
    st.tuples(st.just("forget"), _KEYS, _ACTORS),
    st.tuples(st.just("list"), _KEYS, st.none()),
    st.tuples(st.just("cool"), _KEYS, st.none()),
    st.tuples(st.just("cool"), _KEYS, st.none()),
)


def _plain(found: Any) -> Any:
    """What two stores must agree on: all but ids and times."""
    if isinstance(found, list):
        return [_plain(one) for one in found]
    if hasattr(found, "items") and hasattr(found, "next_cursor"):
        return (_plain(found.items), found.next_cursor is not None)
    if hasattr(found, "seq"):
        return (found.session_id, found.seq, found.text, found.actor, found.branch)
    if hasattr(found, "updated_at"):
        return (found.session_id, found.actor, found.events)
    return found


async def _do(  # noqa: PLR0911 - one for each kind of step
    store: SessionStore, tenant: str, step: tuple[str, str, Any], ids: list[str]
) -> Any:
    what, name, detail = step
    key = SessionKey(tenant, name)
    match what:
        case "append":
            return await store.append(key, [said(words, actor=actor) for words, actor in detail])
        case "branch":
            root = ids[detail % len(ids)] if ids else None
            return await store.append(key, [said("branched", branch=f"b{detail % 3}", branch_root=root)])
        case "read":
            return await store.events(key, EventQuery(limit=detail, branch="main", include_parents=True))
        case "filter":
            return await store.events(key, EventQuery(actor=detail))
        case "delete_event":
            return await store.delete_event(key, ids[detail % len(ids)]) if ids else None
        case "fork":
            at = ids[detail % len(ids)] if ids and detail % 2 else None
            return await store.fork(key, "s-2" if name == "s-1" else "s-1", at_event=at)
        case "delete":
            return await store.delete(tenant, session_id=name)
        case "forget":
            return await store.delete(tenant, actor=detail) if detail else None
        case "list":
            return sorted(_plain((await store.sessions(tenant, SessionQuery())).items))
    return None


async def _walked(store: SessionStore, key: SessionKey, limit: int) -> list[Any]:
    """Everything, page by page."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = await store.events(key, EventQuery(limit=limit, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


class TierModelContract(Contract):
    """The same steps in a plain store and in tiers, by two workers in turn: nobody can tell the difference."""

    async def test_nobody_notices_the_tiers(self, stores: Stores, other_stores: Stores, tmp_path: Path) -> None:
        async def play(steps: list[tuple[str, str, Any]], seed: int) -> None:
            chance = random.Random(seed)  # noqa: S311 - which worker does it
            plain, mine = new_id(), new_id()
            workers = [tiered(one, tmp_path, hot_events=chance.choice([2, 5, 100])) for one in (stores, other_stores)]
            for step in steps:
                what, name, detail = step
                worker = chance.choice(workers)
                if what == "cool":
                    await cool_tenant(stores, worker, mine)
                    continue
                if what == "walk":
                    ours = _plain(await _walked(worker, SessionKey(mine, name), detail))
                    assert ours == _plain(await _walked(stores.sessions, SessionKey(plain, name), detail))
                    continue
                answers = []
                for store, tenant in ((stores.sessions, plain), (worker, mine)):
                    known = await _walked(store, SessionKey(tenant, name), 1000)
                    if what in {"branch", "delete_event", "fork"} and store is worker:
                        await cool_tenant(stores, worker, mine)
                    try:
                        answers.append(_plain(await _do(store, tenant, step, [event.id for event in known])))
                    except CorralError as error:
                        answers.append(type(error))
                theirs, ours = answers
                if what in {"read", "filter"} and isinstance(ours, tuple):
                    # A page that is full just where the archive begins goes on there, and may find nothing more.
                    assert ours[0] == theirs[0]
                    assert ours[1] or not theirs[1]
                else:
                    assert ours == theirs, step
            await stores.sessions.delete(mine)
            await stores.sessions.delete(plain)

        @settings(
            max_examples=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate],
        )
        @given(st.lists(_STEP, max_size=20), st.integers(0, 1000))
        def explore(steps: list[tuple[str, str, Any]], seed: int) -> None:
            asyncio.run(play(steps, seed))

        run: Callable[[], None] = explore
        await asyncio.to_thread(run)
