from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest
from runtime_scene import Gate, call_of, read, until

from corral.context import Context
from corral.errors import (
    AgentFailed,
    DeadlineExceeded,
    Draining,
    Interrupted,
    Overloaded,
    SessionBusy,
    TurnLost,
    ValidationFailed,
)
from corral.runtime.invocation import Invocation
from corral.runtime.pipeline import compose, in_turn, with_session
from corral.runtime.registry import Agent, Lazy
from corral.runtime.reply import Reply
from corral.sessions.event import EventQuery, SessionKey
from corral.settings.sections import SessionSettings

KEY = SessionKey("default", "s")


def echo(payload):
    return payload


async def said(road, key=KEY):
    page = await road.stores.sessions.events(key, EventQuery(limit=100))
    return [(event.role, event.actor, event.text or event.content) for event in reversed(page.items)]


async def is_free(road, key=KEY):
    try:
        turn = await road.turns.take(key, policy="reject")
    except SessionBusy:
        return False
    await turn.leave()
    return True


async def test_stages_are_passed_in_order_and_the_first_is_outermost():
    passed = []

    def stage(name):
        async def pass_on(call, proceed):
            passed.append(name)
            reply = await proceed(call)
            passed.append(f"/{name}")
            return reply

        return pass_on

    async def innermost(call):
        passed.append("run")
        return Reply(call.payload)

    reply = await compose([stage("a"), stage("b")], innermost)(call_of(echo, 1))
    assert reply.value == 1
    assert passed == ["a", "b", "run", "/b", "/a"]
    assert compose([], innermost) is innermost


# -- validated --------------------------------------------------------------------------------------------------------


class Question(msgspec.Struct):
    prompt: str
    count: int = 1


def typed(payload: Question):
    return {"type": type(payload).__name__, "prompt": payload.prompt}


async def test_the_payload_becomes_what_the_agent_asks_for(road):
    call = call_of(typed, {"prompt": "hi"}, session="s")
    assert await read(await road.run(call)) == {"type": "Question", "prompt": "hi"}
    assert call.sent == {"prompt": "hi"}
    assert (await said(road))[0] == ("user", "", "hi")


async def test_what_the_agent_cannot_take_never_begins(road):
    with pytest.raises(ValidationFailed) as caught:
        await road.run(call_of(typed, {"count": "x"}))
    assert [fault["pointer"] for fault in caught.value.errors] == ["/prompt", "/count"]
    assert road.seen == []


async def test_the_plain_limits_are_for_our_own_api(make_road):
    road = await make_road(runtime={"prompt_chars_max": 3})
    with pytest.raises(ValidationFailed, match="shape"):
        await road.run(call_of(echo, {"prompt": "four"}))
    assert await read(await road.run(call_of(echo, {"prompt": "four"}, strict=False))) == {"prompt": "four"}


async def test_an_agent_that_is_still_to_be_built_is_checked_from_its_second_call_on(road):
    agent = Agent("main", Lazy(lambda: typed))
    with pytest.raises(AgentFailed):
        await road.run(call_of(agent, {"count": "x"}))
    with pytest.raises(ValidationFailed):
        await road.run(call_of(agent, {"count": "x"}))


# -- admitted ---------------------------------------------------------------------------------------------------------


async def test_nobody_is_let_in_while_the_worker_drains(road):
    road.door.draining = True
    with pytest.raises(Draining) as caught:
        await road.run(call_of(echo))
    assert caught.value.retry_after_s == 1
    assert road.outcomes == ["rejected"]


async def test_a_worker_carries_so_many_and_no_more(make_road):
    road = await make_road(runtime={"concurrency_max": 2})
    gate = Gate()

    async def agent(payload):
        await gate.wait()

    running = [asyncio.create_task(road.run(call_of(agent))) for _ in range(2)]
    await until(lambda: len(road.invocations) == 2)
    with pytest.raises(Overloaded) as caught:
        await road.run(call_of(agent))
    assert caught.value.retry_after_s == 1
    gate.open.set()
    await asyncio.gather(*running)
    await road.run(call_of(echo))
    assert road.outcomes == ["rejected", "ok", "ok", "ok"]


@pytest.mark.parametrize(("asked", "granted"), [(None, 50), (10, 10), (100, 50)])
async def test_the_deadline_is_the_callers_or_the_operators_whichever_is_sooner(make_road, asked, granted):
    road = await make_road(runtime={"timeout_s": 50})
    call = call_of(echo)
    if asked is not None:
        call.context.deadline = call.started_at + asked
    await road.run(call)
    assert call.context.deadline == call.started_at + granted


def blocks(payload):
    threading.Event().wait(0.3)


async def waits(payload):
    await asyncio.Event().wait()


async def stream_waits(payload):
    yield "a"
    await asyncio.Event().wait()


@pytest.mark.parametrize("fn", [blocks, waits, stream_waits])
async def test_an_agent_that_takes_too_long_is_stopped(make_road, fn):
    road = await make_road(runtime={"timeout_s": 0.05})
    with pytest.raises(DeadlineExceeded):
        await read(await road.run(call_of(fn, session="s")))
    assert road.outcomes == ["timeout"]
    assert await is_free(road)
    assert await said(road) == []


async def test_an_agent_that_takes_too_long_over_its_end_is_stopped_again(make_road):
    road = await make_road(runtime={"timeout_s": 0.2})
    begun = asyncio.Event()

    async def agent(payload):
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    call = call_of(agent)
    running = asyncio.create_task(road.run(call))
    await begun.wait()
    call.cancel("client")
    with pytest.raises(DeadlineExceeded):
        await running


async def test_an_agent_that_will_not_be_cancelled_answers_after_all(make_road):
    road = await make_road(runtime={"timeout_s": 0.05})

    async def agent(payload):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "all the same"

    assert await read(await road.run(call_of(agent))) == "all the same"
    assert road.outcomes == ["ok"]


# -- in_turn ----------------------------------------------------------------------------------------------------------


async def test_a_call_without_a_session_waits_for_nobody(road):
    def agent(payload, context):
        assert not context.has_session
        with pytest.raises(Exception, match="has no session"):
            _ = context.session
        return "ok"

    assert await read(await road.run(call_of(agent))) == "ok"
    assert road.waits == []


@pytest.mark.parametrize("kind", ["value", "stream"])
async def test_a_turn_is_recorded_and_given_back(road, kind):
    async def stream(payload, context):
        assert context.session.id == "s"
        yield "Hel"
        yield "lo"

    async def value(payload, context):
        return {"result": "Hello", "tokens": 2}

    call = call_of(stream if kind == "stream" else value, {"prompt": "Hi"}, session="s")
    call.context.user_id = "ann"
    await read(await road.run(call))
    assert await said(road) == [("user", "ann", "Hi"), ("assistant", "ann", "Hello")]
    assert await is_free(road)
    assert len(road.waits) == 1


async def test_turns_are_not_recorded_if_nobody_wants_it(make_road):
    road = await make_road(sessions={"record": False})

    async def agent(payload, context):
        yield "a"

    await read(await road.run(call_of(agent, "x", session="s")))
    await read(await road.run(call_of(echo, "x", session="s")))
    assert await said(road) == []


async def test_an_agent_that_keeps_its_conversation_itself_is_left_alone(road):
    async def agent(payload, context):
        await context.session.append("user", "mine")
        return "reply"

    await road.run(call_of(agent, "x", session="s"))
    assert await said(road) == [("user", "", "mine")]


@pytest.mark.parametrize("kind", ["value", "stream"])
async def test_a_turn_that_failed_is_not_recorded_and_given_back(road, kind):
    async def value(payload):
        raise ValueError("broken")

    async def stream(payload):
        yield "a"
        raise ValueError("broken")

    with pytest.raises(AgentFailed):
        await read(await road.run(call_of(value if kind == "value" else stream, "x", session="s")))
    assert await said(road) == []
    assert await is_free(road)


async def test_turns_of_one_session_come_one_after_the_other(road):
    order = []

    async def agent(payload):
        order.append(f"{payload} begins")
        await asyncio.sleep(0)
        order.append(f"{payload} ends")

    await asyncio.gather(*(road.run(call_of(agent, number, session="s")) for number in range(10)))
    assert order == [f"{number} {what}" for number in range(10) for what in ("begins", "ends")]


async def test_a_stream_has_the_turn_until_it_has_been_read_or_closed(road):
    async def agent(payload):
        yield "a"
        yield "b"

    unread = await road.run(call_of(agent, session="s"))
    assert not await is_free(road)
    await unread.stream.aclose()
    assert await is_free(road)
    assert road.outcomes == ["cancelled"]

    begun = await road.run(call_of(agent, session="s"))
    assert await anext(begun.stream) == '"a"'
    assert not await is_free(road)
    await begun.stream.aclose()
    await begun.stream.aclose()
    assert await is_free(road)
    assert road.outcomes == ["cancelled", "cancelled"]
    assert await said(road) == []


async def test_waiting_for_the_turn_counts_into_the_deadline(make_road):
    road = await make_road(runtime={"timeout_s": 0.1})
    turn = await road.turns.take(KEY)
    with pytest.raises(DeadlineExceeded):
        await road.run(call_of(echo, session="s"))
    await turn.leave()
    assert road.outcomes == ["timeout"]
    assert await read(await road.run(call_of(echo, 1, session="s"))) == 1


async def test_a_call_that_is_cancelled_while_it_waits_leaves_the_line(road):
    turn = await road.turns.take(KEY)
    call = call_of(echo, session="s")
    running = asyncio.create_task(road.run(call))
    await until(lambda: road.turns._lines[KEY].turns)
    call.cancel("request")
    with pytest.raises(Exception, match="cancelled"):
        await running
    await turn.leave()
    assert await is_free(road)


@pytest.mark.parametrize("where", ["call", "settings"])
async def test_who_will_not_wait_is_told_at_once(make_road, where):
    road = await make_road(sessions={"on_conflict": "reject" if where == "settings" else "enqueue"})
    turn = await road.turns.take(KEY)
    with pytest.raises(SessionBusy):
        await road.run(call_of(echo, session="s", on_conflict="reject" if where == "call" else None))
    await turn.leave()


async def test_who_interrupts_stops_whoever_runs_and_whoever_waits(road):
    gate = Gate()

    async def agent(payload):
        if payload == "first":
            await gate.wait()
        return payload

    first = asyncio.create_task(road.run(call_of(agent, "first", session="s")))
    await gate.reached.wait()
    second = asyncio.create_task(road.run(call_of(agent, "second", session="s")))
    await until(lambda: len(road.turns._lines[KEY].turns) == 2)
    third = road.run(call_of(agent, "third", session="s", on_conflict="interrupt"))
    assert await read(await third) == "third"
    for stopped in (first, second):
        with pytest.raises(Interrupted):
            await stopped
    assert sorted(road.outcomes) == ["cancelled", "cancelled", "ok"]
    assert [text for _, _, text in await said(road)] == ["third", "third"]


async def test_a_turn_that_was_lost_at_the_last_moment_is_not_answered_as_if_it_counted(road):
    async def agent(payload, context):
        context.session._access.turn._callbacks.clear()  # as if the news came too late
        thief = await road.turns.take(KEY, policy="interrupt")
        await thief.leave()
        return "too late"

    with pytest.raises(TurnLost):
        await road.run(call_of(agent, "x", session="s"))
    assert road.outcomes == ["rejected"]
    assert isinstance(road.seen[0].error, TurnLost)
    assert await said(road) == []


async def test_a_second_ending_runs_though_the_first_failed(road):
    call = call_of(echo, "x", session="s")

    async def fail(call):
        raise ValueError("an ending of ours is broken")

    call.at_end(fail)
    with pytest.raises(ValueError, match="broken"):
        await road.run(call)
    assert await is_free(road)
    assert len(road.invocations) == 0


async def test_nobody_needs_to_know_how_long_turns_took_to_come(road):
    stage = in_turn(road.turns, road.stores.sessions, SessionSettings())

    async def run(call):
        return Reply(call.context.session.id)

    call = call_of(echo, session="s")
    assert (await stage(call, run)).value == "s"
    assert not await is_free(road)
    await call.end()
    assert await is_free(road)


async def test_the_reference_knows_sessions_and_no_turns(road):
    async def run(call):
        return Reply(call.context.has_session and call.context.session.id)

    stage = with_session(road.stores.sessions)
    turn = await road.turns.take(KEY)
    assert (await stage(call_of(echo, session="s"), run)).value == "s"
    assert (await stage(call_of(echo), run)).value is False
    await turn.leave()


def test_an_invocation_is_made_without_a_loop():
    assert Invocation(Agent("main", echo), 1, Context("r"), 0.0).outcome == "ok"
