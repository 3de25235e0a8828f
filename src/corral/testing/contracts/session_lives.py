"""What a `SessionStore` promises about whole sessions: lists, state, expiry, forgetting, tenants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.errors import SessionNotFound, StateConflict, TurnLost
from corral.sessions.event import EventQuery, SessionKey, SessionQuery, State
from corral.testing.contracts.setting import KEY, Contract, listed, said, texts

if TYPE_CHECKING:
    from corral.backends.stores import Stores


async def _ids(stores: Stores, tenant: str = "acme", **query: object) -> list[str]:
    page = await stores.sessions.sessions(tenant, SessionQuery(**query))  # type: ignore[arg-type]  # the query's own fields
    return [info.session_id for info in page.items]


async def _actors(stores: Stores, tenant: str = "acme") -> list[tuple[str, int]]:
    page = await stores.sessions.actors(tenant)
    return [(info.actor, info.sessions) for info in page.items]


class SessionListContract(Contract):
    """Making sessions, and listing them and who speaks in them."""

    async def test_creating_twice_changes_nothing(self, stores: Stores) -> None:
        assert await stores.sessions.create(KEY, actor="ada", metadata={"a": [1]}, ttl_s=None)
        before = await stores.sessions.get(KEY)
        assert not await stores.sessions.create(KEY, actor="bob", metadata={"b": 2}, ttl_s=5)
        assert await stores.sessions.get(KEY) == before
        assert before is not None
        assert (before.actor, before.metadata, before.events, before.expires_at) == ("ada", {"a": [1]}, 0, None)

    async def test_many_creators_make_one_session(self, stores: Stores, other_stores: Stores) -> None:
        made = await asyncio.gather(
            *(
                store.sessions.create(KEY, metadata={}, ttl_s=None)
                for store in (stores, other_stores)
                for _ in range(10)
            )
        )
        assert sum(made) == 1

    async def test_the_first_who_is_named_is_the_sessions_actor(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("be kind", "system"), said("hi", actor="ada"), said("x", actor="bob")])
        await stores.sessions.append(KEY, [said("again", actor="bob")])
        info = await stores.sessions.get(KEY)
        assert info is not None
        assert info.actor == "ada"

    async def test_the_most_recently_active_comes_first(self, stores: Stores) -> None:
        for name in ("a", "b", "c"):
            await stores.sessions.append(SessionKey("acme", name), [said("x")])
        await stores.sessions.append(SessionKey("acme", "a"), [said("y")])
        assert (await _ids(stores))[0] == "a"
        assert sorted(await _ids(stores)) == ["a", "b", "c"]

    async def test_pages_of_sessions_do_not_repeat(self, stores: Stores) -> None:
        for number in range(7):
            await stores.sessions.append(SessionKey("acme", f"s{number}"), [said("x", actor="ada")])
        for actor in (None, "ada"):
            seen: list[str] = []
            cursor = None
            while True:
                page = await stores.sessions.sessions("acme", SessionQuery(limit=3, cursor=cursor, actor=actor))
                seen += [info.session_id for info in page.items]
                if (cursor := page.next_cursor) is None:
                    break
                await stores.sessions.append(SessionKey("acme", f"new after {seen[-1]}"), [said("x", actor="ada")])
            assert seen[:1] != []
            assert len(seen) == len(set(seen))
            assert {f"s{number}" for number in range(7)} <= set(seen)

    async def test_sessions_can_be_narrowed_to_an_actor(self, stores: Stores) -> None:
        await stores.sessions.append(SessionKey("acme", "one"), [said("x", actor="ada")])
        await stores.sessions.append(SessionKey("acme", "two"), [said("x", actor="bob"), said("y", actor="ada")])
        await stores.sessions.append(SessionKey("acme", "three"), [said("x", actor="bob")])
        await stores.sessions.create(SessionKey("acme", "four"), actor="ada", metadata={}, ttl_s=None)
        assert sorted(await _ids(stores, actor="ada")) == ["four", "one", "two"]
        assert await _ids(stores, actor="nobody") == []

    async def test_sessions_and_actors_of_a_prefix(self, stores: Stores) -> None:
        for name, actor in (("m.ada.1", "ada"), ("m.ada.2", "ada"), ("m.bob.1", "bob"), ("n%_.ada.1", "ada")):
            await stores.sessions.append(SessionKey("acme", name), [said("x", actor=actor)])
        await stores.sessions.append(SessionKey("other", "m.eve.1"), [said("x", actor="eve")])
        assert await _ids(stores, prefix="m.") == ["m.bob.1", "m.ada.2", "m.ada.1"]
        assert await _ids(stores, prefix="m.ada.", actor="ada") == ["m.ada.2", "m.ada.1"]
        assert await _ids(stores, prefix="n%_.") == ["n%_.ada.1"]
        assert await _ids(stores, prefix="m%") == await _ids(stores, prefix="nul\0") == []
        named = await stores.sessions.actors("acme", prefix="m.")
        assert [info.actor for info in named.items] == ["ada", "bob"]
        assert [info.actor for info in (await stores.sessions.actors("acme", prefix="n%")).items] == ["ada"]

    async def test_actors_are_listed_by_name_in_pages(self, stores: Stores) -> None:
        for actor in ("carol", "ada", "Bob", "über"):
            await stores.sessions.append(SessionKey("acme", f"with {actor}"), [said("x", actor=actor)])
        await stores.sessions.append(SessionKey("acme", "with ada again"), [said("x", actor="ada"), said("y")])
        assert await _actors(stores) == [("Bob", 1), ("ada", 2), ("carol", 1), ("über", 1)]
        first = await stores.sessions.actors("acme", limit=3)
        second = await stores.sessions.actors("acme", limit=3, cursor=first.next_cursor)
        assert [info.actor for info in first.items + second.items] == ["Bob", "ada", "carol", "über"]
        assert second.next_cursor is None
        last = await listed(stores, SessionKey("acme", "with ada again"))
        assert first.items[1].last_seen_at == last[0].created_at


class StateContract(Contract):
    """The small document of a session."""

    async def test_state_is_empty_until_it_is_written(self, stores: Stores) -> None:
        assert await stores.sessions.read_state(KEY) == State(None, 0)
        await stores.sessions.append(KEY, [said("x")])
        assert await stores.sessions.read_state(KEY) == State(None, 0)

    async def test_each_write_is_a_new_version(self, stores: Stores) -> None:
        assert await stores.sessions.write_state(KEY, {"a": 1}) == 1
        assert await stores.sessions.write_state(KEY, None) == 2
        assert await stores.sessions.read_state(KEY) == State(None, 2)
        assert await stores.sessions.write_state(KEY, ["\0", "世界"], expected_version=2) == 3
        assert await stores.sessions.read_state(KEY) == State(["\0", "世界"], 3)
        assert await stores.sessions.get(KEY) is not None

    async def test_a_stale_version_changes_nothing(self, stores: Stores) -> None:
        with pytest.raises(StateConflict):
            await stores.sessions.write_state(KEY, 1, expected_version=1)
        assert await stores.sessions.get(KEY) is None
        await stores.sessions.write_state(KEY, 1, expected_version=0)
        for stale in (0, 2):
            with pytest.raises(StateConflict):
                await stores.sessions.write_state(KEY, 2, expected_version=stale)
        assert await stores.sessions.read_state(KEY) == State(1, 1)

    async def test_of_many_who_saw_the_same_version_one_wins(self, stores: Stores, other_stores: Stores) -> None:
        async def count(store: Stores) -> int:
            lost = 0
            for _ in range(5):
                while True:
                    state = await store.sessions.read_state(KEY)
                    try:
                        await store.sessions.write_state(KEY, (state.value or 0) + 1, expected_version=state.version)
                        break
                    except StateConflict:
                        lost += 1
            return lost

        await asyncio.gather(*(count(store) for store in (stores, other_stores) for _ in range(4)))
        assert await stores.sessions.read_state(KEY) == State(40, 40)

    async def test_state_is_fenced_by_the_turn(self, stores: Stores) -> None:
        await stores.turns.join(KEY, "t1", policy="enqueue", lease_s=10, waiting_max=10)
        assert await stores.sessions.write_state(KEY, 1, turn="t1") == 1
        await stores.turns.join(KEY, "t2", policy="interrupt", lease_s=10, waiting_max=10)
        with pytest.raises(TurnLost):
            await stores.sessions.write_state(KEY, 2, turn="t1")
        assert await stores.sessions.read_state(KEY) == State(1, 1)


class ExpiryContract(Contract):
    """Events and sessions that end by themselves."""

    async def test_an_expired_event_is_not_listed_and_then_swept(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("stays"), said("gone", ttl_s=0), said("later", ttl_s=3600)])
        assert await texts(stores) == ["stays", "later"]
        assert await stores.sessions.expire() == 1
        assert await stores.sessions.expire() == 0
        assert await texts(stores) == ["stays", "later"]

    async def test_an_expired_session_is_gone_before_it_is_swept(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("x", actor="ada")], ttl_s=0)
        await stores.sessions.write_state(SessionKey("acme", "other"), 1)
        assert await stores.sessions.get(KEY) is None
        assert await texts(stores) == []
        assert await _ids(stores) == ["other"]
        assert await _ids(stores, actor="ada") == []
        assert await _actors(stores) == []
        assert await stores.sessions.read_state(KEY) == State(None, 0)
        with pytest.raises(SessionNotFound):
            await stores.sessions.fork(KEY, "copy")
        assert await stores.sessions.expire() == 1
        assert await _ids(stores) == ["other"]

    async def test_an_expired_session_starts_anew(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("old")], ttl_s=0)
        (event,) = await stores.sessions.append(KEY, [said("new")])
        assert event.seq == 1
        assert await texts(stores) == ["new"]
        await stores.sessions.append(KEY, [said("newer")], ttl_s=0)
        assert await stores.sessions.create(KEY, metadata={"fresh": True}, ttl_s=None)
        assert await texts(stores) == []
        await stores.sessions.append(KEY, [said("newest")], ttl_s=0)
        assert await stores.sessions.write_state(KEY, 1, expected_version=0) == 1
        assert await texts(stores) == []
        await stores.sessions.append(KEY, [said("last")], ttl_s=0)
        await stores.sessions.append(SessionKey("acme", "source"), [said("copied")])
        await stores.sessions.fork(SessionKey("acme", "source"), KEY.session_id)
        assert await texts(stores) == ["copied"]
        assert await stores.sessions.expire() == 0

    async def test_activity_moves_a_sessions_end(self, stores: Stores) -> None:
        await stores.sessions.create(KEY, metadata={}, ttl_s=100)
        first = await stores.sessions.get(KEY)
        await stores.sessions.append(KEY, [said("x")])
        same = await stores.sessions.get(KEY)
        await stores.sessions.append(KEY, [said("x")], ttl_s=500)
        moved = await stores.sessions.get(KEY)
        assert first is not None
        assert same is not None
        assert moved is not None
        assert first.expires_at == same.expires_at == pytest.approx(first.created_at + 100)
        assert moved.expires_at == pytest.approx(moved.updated_at + 500)

    async def test_a_turn_moves_the_end_too(self, stores: Stores) -> None:
        await stores.turns.join(KEY, "t1", policy="enqueue", lease_s=10, waiting_max=10)
        await stores.turns.leave(KEY, "t1", drafts=[said("x")], ttl_s=500)
        info = await stores.sessions.get(KEY)
        assert info is not None
        assert info.expires_at == pytest.approx(info.updated_at + 500)

    async def test_a_sweep_takes_no_more_than_it_was_asked_to(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said(str(number), ttl_s=0) for number in range(5)])
        for number in range(3):
            await stores.sessions.append(SessionKey("acme", f"gone {number}"), [said("x")], ttl_s=0)
        assert [await stores.sessions.expire(limit=4) for _ in range(3)] == [4, 4, 0]
        assert await _ids(stores) == ["s-1"]

    async def test_many_may_sweep_at_once(self, stores: Stores, other_stores: Stores) -> None:
        await stores.sessions.append(KEY, [said(str(number), ttl_s=0) for number in range(50)])
        swept = await asyncio.gather(*(store.sessions.expire() for store in (stores, other_stores) for _ in range(4)))
        assert sum(swept) == 50


class ForgetContract(Contract):
    """Deleting."""

    async def test_a_session_is_forgotten_whole(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("x", actor="ada")])
        await stores.sessions.write_state(KEY, 1)
        await stores.sessions.append(SessionKey("acme", "other"), [said("y", actor="ada")])
        assert await stores.sessions.delete("acme", session_id="s-1") == 1
        assert await stores.sessions.delete("acme", session_id="s-1") == 0
        assert await stores.sessions.get(KEY) is None
        assert await texts(stores) == []
        assert await stores.sessions.read_state(KEY) == State(None, 0)
        assert await _actors(stores) == [("ada", 1)]
        (event,) = await stores.sessions.append(KEY, [said("fresh")])
        assert event.seq == 1

    async def test_forgetting_an_actor_leaves_what_others_said(self, stores: Stores) -> None:
        alone, shared, created = (SessionKey("acme", name) for name in ("alone", "shared", "created"))
        await stores.sessions.append(alone, [said("secret", actor="ada"), said("reply", "assistant")])
        await stores.sessions.append(
            shared, [said("mine", actor="ada"), said("r", "assistant"), said("b", actor="bob")]
        )
        await stores.sessions.create(created, actor="ada", metadata={}, ttl_s=None)
        await stores.sessions.append(KEY, [said("b", actor="bob")])
        assert await stores.sessions.delete("acme", actor="ada") == 2
        assert sorted(await _ids(stores)) == ["s-1", "shared"]
        assert await texts(stores, shared) == ["r", "b"]
        assert await texts(stores, alone) == []
        assert await _actors(stores) == [("bob", 2)]
        info = await stores.sessions.get(shared)
        assert info is not None
        assert info.actor == ""
        assert await stores.sessions.delete("acme", actor="ada") == 0

    async def test_forgetting_nobody_forgets_nothing(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("x", actor="ada"), said("y", "assistant")])
        assert await stores.sessions.delete("acme", actor="") == 0
        assert await stores.sessions.delete("acme", session_id="") == 0
        assert await stores.sessions.delete("") == 0
        assert await texts(stores) == ["x", "y"]

    async def test_forgetting_a_tenant_leaves_the_others(self, stores: Stores) -> None:
        for number in range(3):
            await stores.sessions.append(SessionKey("acme", f"{number}"), [said("x", actor="ada")])
        other = SessionKey("umbrella", "0")
        await stores.sessions.append(other, [said("y", actor="ada")])
        assert await stores.sessions.delete("acme") == 3
        assert await _ids(stores) == []
        assert await _actors(stores) == []
        assert await texts(stores, other) == ["y"]

    @pytest.mark.parametrize("what", [{"session_id": "s-1"}, {"actor": "ada"}, {}], ids=["session", "actor", "tenant"])
    async def test_a_turn_that_runs_meanwhile_loses_it(self, stores: Stores, what: dict[str, str]) -> None:
        await stores.sessions.append(KEY, [said("x", actor="ada")])
        assert await stores.turns.join(KEY, "running", policy="enqueue", lease_s=10, waiting_max=10)
        await stores.sessions.delete("acme", **what)
        with pytest.raises(TurnLost):
            await stores.turns.leave(KEY, "running", drafts=[said("late", actor="ada")])
        assert await stores.sessions.get(KEY) is None


class TenantContract(Contract):
    """Nothing of one tenant is seen or touched by another."""

    async def test_the_same_ids_of_two_tenants_never_meet(self, stores: Stores) -> None:
        ours, theirs = SessionKey("ours", "s"), SessionKey("theirs", "s")
        (event,) = await stores.sessions.append(ours, [said("ours", actor="ada")])
        await stores.sessions.write_state(ours, "ours")
        await stores.turns.join(ours, "t", policy="enqueue", lease_s=10, waiting_max=10)

        assert await stores.sessions.get(theirs) is None
        assert (await stores.sessions.events(theirs, EventQuery())).items == []
        assert await _ids(stores, "theirs") == []
        assert await _ids(stores, "theirs", actor="ada") == []
        assert await _actors(stores, "theirs") == []
        assert await stores.sessions.read_state(theirs) == State(None, 0)
        assert not await stores.sessions.delete_event(theirs, event.id)
        with pytest.raises(SessionNotFound):
            await stores.sessions.fork(theirs, "copy")
        for what in ({"session_id": "s"}, {"actor": "ada"}, {}):
            assert await stores.sessions.delete("theirs", **what) == 0
        with pytest.raises(TurnLost):
            await stores.sessions.append(theirs, [said("x")], turn="t")
        with pytest.raises(TurnLost):
            await stores.sessions.write_state(theirs, 1, turn="t")
        with pytest.raises(TurnLost):
            await stores.turns.claim(theirs, "t")
        assert await stores.turns.renew([(theirs, "t")], lease_s=10) == ["t"]
        await stores.turns.leave(theirs, "t")
        assert await stores.turns.join(theirs, "mine", policy="rollback", lease_s=10, waiting_max=0)
        assert await stores.sessions.create(theirs, metadata={}, ttl_s=None)
        (other,) = await stores.sessions.append(theirs, [said("theirs", actor="ada")])
        assert other.seq == 1

        assert await texts(stores, ours) == ["ours"]
        assert await stores.turns.claim(ours, "t")
        assert await stores.sessions.read_state(ours) == State("ours", 1)
        assert await stores.sessions.delete("theirs", actor="ada") == 1
        assert await texts(stores, ours) == ["ours"]
