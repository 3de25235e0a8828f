from __future__ import annotations

import asyncio
import threading

import pytest
from session_scene import KEY, Interposed, is_free, until

from corral.errors import (
    CorralError,
    EventNotFound,
    SessionExists,
    StateConflict,
    StoreUnavailable,
    TurnLost,
    ValidationFailed,
)
from corral.messages import Message
from corral.sessions import home as home_module
from corral.sessions.event import EventQuery, SessionKey
from corral.sessions.session import Session


@pytest.fixture
async def session(stores):
    return Session(stores.sessions, KEY, actor="ada")


@pytest.fixture
async def turn(turns):
    return await turns.take(KEY)


@pytest.fixture
async def in_turn(stores, turn):
    return Session(stores.sessions, KEY, turn=turn, actor="ada")


async def elsewhere(work):
    """Run a coroutine function on a loop of its own, as an isolated agent does."""
    return await asyncio.to_thread(asyncio.run, work())


# -- reading ---------------------------------------------------------------------------------------------------------


async def test_messages_come_oldest_first_and_are_the_newest_ones(session):
    for number in range(5):
        await session.append("user", f"m{number}", metadata={"number": number})
    messages = await session.messages(3)
    assert [message.text for message in messages] == ["m2", "m3", "m4"]
    assert messages[0] == Message(role="user", content=[{"type": "text", "text": "m2"}], metadata={"number": 2})
    assert [message.text for message in await session.messages()] == ["m0", "m1", "m2", "m3", "m4"]


async def test_a_new_session_has_said_nothing(session):
    assert session.id == "s1"
    assert await session.messages() == []
    assert (await session.events()).items == []


async def test_messages_may_be_more_than_a_page(session):
    await session.append([{"role": "user", "content": str(number)} for number in range(1000)])
    await session.append([{"role": "user", "content": str(number)} for number in range(1000, 1200)])
    messages = await session.messages(1100)
    assert [message.text for message in messages] == [str(number) for number in range(100, 1200)]


async def test_at_least_one_message_is_asked_for(session):
    with pytest.raises(ValidationFailed, match="at least 1"):
        await session.messages(0)


async def test_messages_are_of_the_main_branch_or_of_another_with_what_came_before_it(session):
    await session.append("user", "before")
    await session.append("user", "aside", branch="side")
    await session.append("user", "after")
    assert [message.text for message in await session.messages()] == ["before", "after"]
    assert [message.text for message in await session.messages(branch="side")] == ["before", "aside"]


async def test_events_come_newest_first_by_page_and_by_filter(session):
    for number in range(4):
        await session.append(
            "user" if number % 2 else "tool", str(number), actor=f"a{number}", metadata={"n": str(number)}
        )
    page = await session.events(3)
    assert [event.text for event in page.items] == ["3", "2", "1"]
    rest = await session.events(cursor=page.next_cursor)
    assert [event.text for event in rest.items] == ["0"]
    assert [event.text for event in (await session.events(roles=["tool"])).items] == ["2", "0"]
    assert [event.text for event in (await session.events(actor="a1")).items] == ["1"]
    assert [event.text for event in (await session.events(metadata={"n": "2"})).items] == ["2"]
    assert len((await session.events(branch="main", include_parents=True, since=0)).items) == 4


# -- appending -------------------------------------------------------------------------------------------------------


async def test_the_ways_to_say_one_thing(session):
    expected = Message(role="user", content=[{"type": "text", "text": "hi"}])
    await session.append("user", "hi")
    await session.append(role="user", content="hi")
    await session.append("hi", role="user")
    await session.append(expected)
    await session.append({"role": "user", "content": "hi"})
    await session.append([{"role": "user", "content": "hi"}, expected])
    await session.append((await session.events(1)).items[0])
    assert await session.messages() == [expected] * 8
    assert session.appended


async def test_what_an_event_does_not_say_comes_from_the_call_and_then_from_the_request(session):
    (event,) = await session.append("assistant", "hi")
    assert (event.actor, event.branch, event.turn, event.expires_at) == ("ada", "main", None, None)
    first, second = await session.append(
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b", "actor": "bob", "branch": "x", "ttl_s": 5}],
        actor="cleo",
        metadata={"k": "v"},
        ttl_s=100,
    )
    assert (first.actor, first.branch, first.metadata) == ("cleo", "main", {"k": "v"})
    assert (second.actor, second.branch, second.metadata) == ("bob", "x", {"k": "v"})
    assert first.expires_at == pytest.approx(first.created_at + 100)
    assert second.expires_at == pytest.approx(second.created_at + 5)


async def test_several_are_appended_together_or_not_at_all(session):
    with pytest.raises(ValidationFailed):
        await session.append([{"role": "user", "content": "a"}, {"role": "nobody", "content": "b"}])
    assert await session.messages() == []
    assert not session.appended


async def test_an_append_that_was_cancelled_may_have_been_kept(stores):
    store = Interposed(stores.sessions)
    reached = asyncio.Event()

    async def hang():
        reached.set()
        await asyncio.Event().wait()

    store.after["append"] = hang
    session = Session(store, KEY)
    task = asyncio.create_task(session.append("user", "hi"))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert session.appended


async def test_nothing_appended_is_nothing_said(session):
    assert await session.append([]) == []
    assert not session.appended


@pytest.mark.parametrize(
    ("args", "details", "what"),
    [
        (("hi",), {}, "Say who speaks"),
        ((), {"content": "hi"}, "Say who speaks"),
        (("a", "b"), {"role": "user"}, "given twice"),
        ((), {}, "Append a role and a content"),
        ((7,), {}, "not a value of type int"),
        ((b"hi",), {}, "not a value of type bytes"),
        (("robot", "hi"), {}, "'robot' is no role: one of system, user"),
    ],
)
async def test_what_cannot_be_appended_is_said_clearly(session, args, details, what):
    with pytest.raises(ValidationFailed, match=what):
        await session.append(*args, **details)


async def test_a_session_lives_on_from_its_last_event(stores):
    session = Session(stores.sessions, KEY, ttl_s=1000)
    (event,) = await session.append("user", "hi")
    info = await stores.sessions.get(KEY)
    assert info.expires_at == pytest.approx(event.created_at + 1000)


# -- within a turn ---------------------------------------------------------------------------------------------------


async def test_writes_carry_the_turn(in_turn, turn):
    (event,) = await in_turn.append("user", "hi")
    assert event.turn == turn.token
    await in_turn.state.set(1)


async def test_a_turn_that_was_lost_writes_nothing(in_turn, turns, stores):
    newer = await turns.take(KEY, policy="interrupt")
    for write in (in_turn.append("user", "hi"), in_turn.state.set(1), in_turn.delete()):
        with pytest.raises(TurnLost):
            await write
    assert await in_turn.messages() == []
    assert not in_turn.appended
    await newer.leave()


async def test_what_goes_on_after_the_turn_writes_nothing(in_turn, turn):
    await turn.leave()
    with pytest.raises(TurnLost, match="This turn is over"):
        await in_turn.append("user", "afterthought")


async def test_a_turn_lost_without_notice_is_stopped_by_the_store(make_turns, stores, other_turns):
    turns = await make_turns()
    turns._unwatch()
    session = Session(stores.sessions, KEY, turn=await turns.take(KEY))
    newer = await other_turns.take(KEY, policy="interrupt")
    with pytest.raises(TurnLost):
        await session.append("user", "too late")
    with pytest.raises(TurnLost):
        await session.state.set("too late")
    await newer.leave()


# -- copies and the end ----------------------------------------------------------------------------------------------


async def test_fork_copies_up_to_an_event(session, stores):
    first, second, _ = await session.append([{"role": "user", "content": text} for text in "abc"])
    await session.state.set({"n": 1})
    info = await session.fork("s2", at_event=second.id)
    assert info.session_id == "s2"
    copy = Session(stores.sessions, SessionKey("acme", "s2"))
    assert [message.text for message in await copy.messages()] == ["a", "b"]
    assert await copy.state.get() == {"n": 1}
    assert first.id == (await copy.events()).items[-1].id
    with pytest.raises(SessionExists):
        await session.fork("s2")
    with pytest.raises(EventNotFound):
        await session.fork("s3", at_event="0000000000000000#00000001")
    with pytest.raises(ValidationFailed, match="session id"):
        await session.fork("")


async def test_delete_without_a_turn(session, stores):
    assert not await session.delete()
    await session.append("user", "hi")
    assert await session.delete()
    assert await stores.sessions.get(KEY) is None


async def test_an_agent_that_deletes_its_session_is_not_interrupted_and_nothing_is_recorded(
    in_turn, turn, turns, stores
):
    lost = []
    turn.on_lost(lambda: lost.append(1))
    await in_turn.append("user", "hi")
    assert await in_turn.delete()
    await until(lambda: not turns._background)
    assert not turn.lost
    assert not lost
    assert in_turn.appended
    with pytest.raises(TurnLost, match="This turn is over"):
        await in_turn.append("user", "again")
    await turn.leave()
    assert await stores.sessions.get(KEY) is None
    assert await is_free(stores.turns)


async def test_a_delete_that_fails_ends_the_turn_all_the_same(stores, turn, turns):
    store = Interposed(stores.sessions)

    async def fail():
        raise StoreUnavailable

    store.before["delete"] = fail
    session = Session(store, KEY, turn=turn)
    with pytest.raises(StoreUnavailable):
        await session.delete()
    assert await is_free(stores.turns)
    store.before.clear()
    with pytest.raises(TurnLost):
        await session.delete()


async def test_a_turn_that_is_over_only_waits_for_the_work(turn):
    await turn.leave()

    async def work():
        return 7

    assert await turn.end_with(work()) == 7


# -- state -----------------------------------------------------------------------------------------------------------


async def test_state_is_read_and_written(session):
    state = session.state
    assert state is session.state
    assert await state.get() is None
    assert await state.get("fresh") == "fresh"
    assert state.version == 0
    assert await state.set({"a": 1}) == 1
    assert state.version == 1
    assert await state.get("fresh") == {"a": 1}
    assert await state.set(None) == 2
    assert await state.get("fresh") is None


async def test_two_that_write_at_once_are_told(session):
    await session.state.set(1, expected_version=0)
    with pytest.raises(StateConflict):
        await session.state.set(2, expected_version=0)
    await session.state.set(2, expected_version=1)
    assert await session.state.get() == 2


async def test_no_update_is_lost(stores, other_stores):
    sessions = [Session(each.sessions, KEY) for each in (stores, other_stores)]
    await asyncio.gather(*(sessions[n % 2].state.update(lambda count: count + 1, default=0) for n in range(30)))
    assert await sessions[0].state.get() == 30


async def test_an_update_may_be_asynchronous(session):
    async def change(value):
        await asyncio.sleep(0)
        return [*value, 1]

    assert await session.state.update(change, default=[]) == [1]
    assert await session.state.update(change) == [1, 1]


async def test_an_update_that_returns_nothing_is_a_mistake(session):
    with pytest.raises(ValidationFailed, match="must return the new state"):
        await session.state.update(lambda value: None)
    with pytest.raises(ValidationFailed, match="must return the new state"):
        await asyncio.to_thread(session.sync.state.update, lambda value: None)


async def test_an_update_gives_up_at_last(stores):
    store = Interposed(stores.sessions)

    async def conflict():
        raise StateConflict

    store.before["write_state"] = conflict
    session = Session(store, KEY)
    with pytest.raises(StateConflict, match="50 times"):
        await session.state.update(lambda value: 1)
    with pytest.raises(StateConflict, match="50 times"):
        await asyncio.to_thread(session.sync.state.update, lambda value: 1)


@pytest.mark.parametrize(
    ("value", "what"),
    [("x" * 65_536, "65538 bytes as JSON; at most 65536"), (object(), "cannot be written as JSON"), ("\ud800", "JSON")],
)
async def test_state_is_small_and_json(session, value, what):
    with pytest.raises(ValidationFailed, match=what):
        await session.state.set(value)
    assert await session.state.get() is None


# -- from a thread ---------------------------------------------------------------------------------------------------


async def test_synchronous_agents_make_the_same_calls(in_turn, turn, stores):
    def agent():
        session = in_turn.sync
        assert session is in_turn.sync
        assert session.id == "s1"
        assert session.messages() == []
        session.append("user", "hi", metadata={"k": "v"})
        (event,) = session.append({"role": "assistant", "content": "hello"})
        assert event.turn == turn.token
        assert session.state.get("none") == "none"
        assert session.state.set([1]) == 1
        assert session.state is session.state
        assert session.state.version == 1
        caller = threading.get_ident()

        def change(value):
            assert threading.get_ident() == caller
            return [*value, 2]

        assert session.state.update(change) == [1, 2]
        with pytest.raises(StateConflict):
            session.state.set(0, expected_version=0)
        assert [event.text for event in session.events(5, roles=["assistant"]).items] == ["hello"]
        assert session.fork("s2").session_id == "s2"
        assert [message.text for message in session.messages(2)] == ["hi", "hello"]
        return session.delete()

    assert await asyncio.to_thread(agent)
    assert await stores.sessions.get(KEY) is None


async def test_a_synchronous_update_is_repeated_on_conflict(session):
    def agent():
        def change(value):
            if not value:
                session.sync.state.set(1)
            return value + 1

        return session.sync.state.update(change, default=0)

    assert await asyncio.to_thread(agent) == 2


async def test_blocking_calls_on_the_loop_are_refused_instead_of_hanging(session):
    with pytest.raises(CorralError, match="await the session's own"):
        session.sync.messages()
    with pytest.raises(CorralError, match="await the session's own"):
        session.sync.state.get()


async def test_agents_on_a_loop_of_their_own_make_the_same_calls(in_turn):
    async def agent():
        await in_turn.append("user", "hi")
        await in_turn.state.update(lambda value: {"n": 1})
        await in_turn.fork("s2")
        return [message.text for message in await in_turn.messages()], await in_turn.delete()

    assert await elsewhere(agent) == (["hi"], True)


@pytest.mark.usefixtures("may_block")
async def test_blocking_calls_on_another_loop_hold_up_that_one_only(session):
    async def agent():
        return session.sync.messages()

    assert await elsewhere(agent) == []


async def test_an_error_reaches_the_other_loop(in_turn, turns):
    newer = await turns.take(KEY, policy="interrupt")

    async def agent():
        await in_turn.append("user", "hi")

    with pytest.raises(TurnLost):
        await elsewhere(agent)
    await newer.leave()


async def test_a_worker_that_has_stopped_cannot_be_reached(stores):
    async def make():
        return Session(stores.sessions, KEY)

    session = await elsewhere(make)
    with pytest.raises(StoreUnavailable, match="worker has stopped"):
        await session.messages()
    with pytest.raises(StoreUnavailable, match="worker has stopped"):
        await asyncio.to_thread(session.sync.messages)


async def test_a_loop_that_does_not_answer_is_not_waited_for_for_ever(stores, monkeypatch):
    monkeypatch.setattr(home_module, "_ANSWER_S_MAX", 0.01)
    store = Interposed(stores.sessions)

    async def hang():
        await asyncio.Event().wait()

    store.before["events"] = hang
    session = Session(store, KEY)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await asyncio.to_thread(session.sync.messages)


async def test_a_timeout_of_the_stores_own_is_passed_on(stores):
    store = Interposed(stores.sessions)

    async def fail():
        raise TimeoutError("the store's own")

    store.before["events"] = fail
    session = Session(store, KEY)
    with pytest.raises(TimeoutError, match="the store's own"):
        await asyncio.to_thread(session.sync.messages)


async def test_sessions_of_two_tenants_never_meet(stores, session):
    await session.append("user", "secret")
    stranger = Session(stores.sessions, SessionKey("other", "s1"))
    assert await stranger.messages() == []
    assert await stranger.state.get() is None
    assert not await stranger.delete()
    page = await stores.sessions.events(KEY, EventQuery())
    assert len(page.items) == 1
