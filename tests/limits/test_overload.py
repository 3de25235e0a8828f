from __future__ import annotations

import asyncio

import pytest
from limit_scene import LoopClock, in_jumping_time
from overload_scene import an_overload

from corral.errors import AgentFailed, DeadlineExceeded, Overloaded
from corral.messages import Caller, Delta, EmbedCall, EmbedReply, Message, ModelCall, ModelReply, as_parts


def metric(overload, name):
    text = overload.metrics.render().decode()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)
    }


class Callers:
    """Who calls an `Overload`, and how it ends for each."""

    def __init__(self, overload):
        self.overload = overload
        self.served = []
        self.refused = {}

    def rank(self, tier="", asked=None, tenant="t"):
        return self.overload.priorities.rank(tenant, tier, None, None, asked)

    async def enter(self, name="", *, tier="", asked=None, tenant="t", deadline=None):
        try:
            place = await self.overload.enter("agent", self.rank(tier, asked), tenant, deadline)
        except Overloaded as error:
            self.refused[name] = error
            return None
        self.served.append(name)
        return place

    async def start(self, name, **said):
        task = asyncio.ensure_future(self.enter(name, **said))
        await asyncio.sleep(0)
        return task


def fixed(most=2, **said):
    return an_overload(concurrency_max=most, adaptive=False, **said)


async def test_so_many_at_once_and_the_rest_by_urgency():
    callers = Callers(fixed(2))
    places = [await callers.enter(name) for name in "ab"]
    waiting = [
        await callers.start("low", asked=1),
        await callers.start("usual"),
        await callers.start("high", tier="premium"),
    ]
    assert callers.overload.shown() == {"limit": 2, "in_flight": 2, "waiting": 3}
    assert metric(callers.overload, "corral_limits_line_waiting") == {
        f'corral_limits_line_waiting{{line="agents",class="{name}"}}': 1
        for name in ("background_task", "new_user", "premium_user")
    }
    for place in places:
        place.leave()
        place.leave()  # twice is once
    high, usual = await waiting[2], await waiting[1]
    high.leave()
    (await waiting[0]).leave()
    usual.leave()
    assert callers.served == ["a", "b", "high", "usual", "low"]
    assert callers.overload.shown() == {"limit": 2, "in_flight": 0, "waiting": 0}
    assert set(metric(callers.overload, "corral_limits_line_waiting").values()) == {0}
    assert metric(callers.overload, "corral_limits_places") == {
        'corral_limits_places{line="agents"}': 2,
        'corral_limits_places_taken{line="agents"}': 0,
    }
    callers.overload.stop()


def test_who_would_not_be_served_in_time_is_told_so_at_once():
    async def scene():
        callers = Callers(fixed(1, wait_max_s=10))
        place = await callers.enter("first")
        await asyncio.sleep(4)
        place.leave()  # so long calls take
        await callers.enter("long")
        callers.overload.check(callers.rank(), "t", None)
        await callers.enter("hurried", deadline=LoopClock.monotonic() + 2)
        with pytest.raises(Overloaded, match="too late"):
            callers.overload.check(callers.rank(), "t", LoopClock.monotonic() + 2)
        waits = [await callers.start(name) for name in ("one", "two", "three")]
        began = LoopClock.monotonic()
        assert set(callers.refused) == {"hurried", "three"}
        assert callers.refused["hurried"].retry_after_s == 3
        assert callers.refused["three"].retry_after_s >= 1
        await asyncio.gather(*waits)
        assert LoopClock.monotonic() - began == pytest.approx(10)
        assert callers.refused["one"].retry_after_s == 1
        assert metric(callers.overload, "corral_limits_shed") == {
            'corral_limits_shed_total{line="agents",class="new_user",reason="late"}': 3,
            'corral_limits_shed_total{line="agents",class="new_user",reason="timeout"}': 2,
        }
        callers.overload.stop()

    in_jumping_time(scene)


async def test_of_too_many_the_lowest_is_shed_and_told_when_to_come_back():
    callers = Callers(fixed(1, waiting_max=2))
    place = await callers.enter("served")
    waits = [await callers.start("low", asked=1), await callers.start("usual")]
    waits.append(await callers.start("high", tier="premium"))
    await callers.start("lower", asked=0)
    assert set(callers.refused) == {"low", "lower"}
    assert all(1 <= error.retry_after_s <= 60 and error.status == 503 for error in callers.refused.values())
    assert metric(callers.overload, "corral_limits_shed") == {
        'corral_limits_shed_total{line="agents",class="background_task",reason="displaced"}': 1,
        'corral_limits_shed_total{line="agents",class="background_task",reason="full"}': 1,
    }
    place.leave()
    (await waits[2]).leave()
    (await waits[1]).leave()
    assert callers.served == ["served", "high", "usual"]


async def test_who_goes_away_leaves_no_gap():
    callers = Callers(fixed(1))
    place = await callers.enter("served")
    gone, stays = await callers.start("gone"), await callers.start("stays")
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert callers.overload.waiting == 1
    place.leave()
    (await stays).leave()
    assert callers.overload.in_flight == 0


async def test_who_goes_away_as_its_turn_comes_gives_its_place_to_the_next():
    callers = Callers(fixed(1))
    place = await callers.enter("served")
    gone, stays = await callers.start("gone"), await callers.start("stays")
    place.leave()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    (await stays).leave()
    assert callers.served == ["served", "stays"]
    assert (callers.overload.in_flight, callers.overload.waiting) == (0, 0)


async def test_who_has_just_gone_away_is_neither_served_nor_refused():
    callers = Callers(fixed(1, waiting_max=2))
    place = await callers.enter("served")
    first, second = await callers.start("first"), await callers.start("second", asked=1)
    first.cancel()
    place.leave()  # before the one that was cancelled runs again
    (await second).leave()
    place = await callers.enter("served")
    first, second = await callers.start("first", asked=1), await callers.start("second", asked=1)
    second.cancel()
    urgent = asyncio.ensure_future(callers.enter("urgent", tier="premium"))
    await asyncio.sleep(0)
    first.cancel()
    callers.overload.stop()
    ended = await asyncio.gather(first, second, urgent, return_exceptions=True)
    assert [type(one) for one in ended] == [asyncio.CancelledError, asyncio.CancelledError, type(None)]
    place.leave()
    assert (callers.overload.in_flight, callers.overload.waiting) == (0, 0)
    assert set(callers.refused) == {"urgent"}


async def test_who_goes_away_as_it_is_refused_is_gone():
    callers = Callers(fixed(1, waiting_max=1))
    place = await callers.enter("served")
    gone = await callers.start("gone", asked=1)
    stays = asyncio.ensure_future(callers.enter("stays", tier="premium"))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    place.leave()
    (await stays).leave()
    assert (callers.overload.in_flight, callers.overload.waiting) == (0, 0)


async def test_a_tenant_has_no_more_than_its_share_while_others_wait():
    callers = Callers(fixed(4))
    places = [await callers.enter(f"flood{n}", tenant="flood", tier="premium") for n in range(4)]
    floods = [await callers.start(f"more{n}", tenant="flood", tier="premium") for n in range(4)]
    small = await callers.start("small", tenant="small", asked=1)
    places[0].leave()
    await asyncio.sleep(0)
    assert callers.served[-1] == "small"
    (await small).leave()
    for place in places[1:]:
        place.leave()
    for flood in floods:
        (await flood).leave()
    assert callers.overload.in_flight == 0


def test_jobs_make_room_while_callers_wait_and_a_moment_after():
    async def scene():
        callers = Callers(fixed(1))
        told = []
        callers.overload.on_calm(lambda: told.append(LoopClock.monotonic()))
        assert callers.overload.jobs_at_once(64) == 64
        place = await callers.enter()
        assert callers.overload.jobs_at_once(64) == 64
        waits = await callers.start("waits")
        assert [callers.overload.jobs_at_once(of) for of in (64, 4, 1)] == [16, 1, 1]
        place.leave()
        place = await waits
        await asyncio.sleep(0.5)
        assert callers.overload.jobs_at_once(64) == 16
        waits = await callers.start("waits")  # and so it is put off
        await asyncio.sleep(5)
        assert not told
        place.leave()
        (await waits).leave()
        calm_at = LoopClock.monotonic() + 1
        await asyncio.sleep(2)
        assert told == [pytest.approx(calm_at)]
        assert callers.overload.jobs_at_once(64) == 64
        assert not callers.overload.is_loaded

    in_jumping_time(scene)


async def test_the_end_refuses_who_waits():
    callers = Callers(fixed(1))
    await callers.enter("served")
    waits = await callers.start("waits")
    callers.overload.stop()
    callers.overload.stop()
    assert await waits is None
    assert "shutting down" in callers.refused["waits"].message


def test_failures_say_nothing_about_load_unless_time_ran_out():
    async def scene():
        overload = an_overload()
        callers = Callers(overload)
        for error in (None, AgentFailed("x"), DeadlineExceeded()):
            place = await callers.enter()
            await asyncio.sleep(1)
            place.leave(error)
        place = await callers.enter()
        await asyncio.sleep(5)
        place.leave(first_at=LoopClock.monotonic() - 4)  # a stream: a second until its first piece
        learnt = overload._adaptive._places["agent"]
        assert (learnt.count, learnt.quiet_s) == (3, pytest.approx(1))

    in_jumping_time(scene)


# -- calls of the gateway ---------------------------------------------------------------------------------------------


def question(priority=5, **said):
    return ModelCall(
        model="m", messages=[Message(role="user", content=as_parts("hi"))], caller=Caller(priority=priority, **said)
    )


async def test_calls_to_models_hold_a_place_until_their_reply_is_there():
    overload = fixed(2)
    seen = []

    async def answer(call):
        seen.append((call.caller.priority, overload.in_flight))
        yield Delta(kind="text", text="a")
        yield ModelReply(content=as_parts("a"))

    call = overload.asked(answer)
    events = [event async for event in call(question(tier="premium"))]
    assert [type(event) for event in events] == [Delta, ModelReply]
    stream = call(question(priority=9))
    await anext(stream)
    assert overload.in_flight == 1
    await stream.aclose()  # its client left
    assert overload.in_flight == 0
    stream = call(question(priority=1, tier="premium"))
    assert type(await anext(stream)) is Delta
    assert type(await anext(stream)) is ModelReply
    assert overload.in_flight == 0
    await stream.aclose()
    assert seen == [(9, 1), (3, 1), (1, 1)]


async def test_a_call_that_fails_leaves_its_place():
    overload = fixed(1)

    async def answer(call):
        raise AgentFailed("no")
        yield call

    async def embed(call):
        assert call.caller.priority == 9
        if call.texts == ["bad"]:
            raise AgentFailed("no")
        return EmbedReply(vectors=[[1.0]], model="m")

    with pytest.raises(AgentFailed):
        await anext(overload.asked(answer)(question()))
    embedded = overload.embedded(embed)
    caller = Caller(tier="premium", session_id="s")
    assert (await embedded(EmbedCall(model="m", texts=["good"], caller=caller))).model == "m"
    with pytest.raises(AgentFailed):
        await embedded(EmbedCall(model="m", texts=["bad"], caller=caller))
    assert overload.in_flight == 0
