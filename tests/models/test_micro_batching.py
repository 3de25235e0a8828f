from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_scene import TurnedClock, settled

from corral.errors import ModelRequestInvalid, ModelTimeout, ModelUnavailable
from corral.messages import Caller, EmbedCall, EmbedReply, Usage
from corral.models.micro_batching import MicroBatching


class Embedder:
    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, call: EmbedCall) -> EmbedReply:
        self.asked.append(call.texts)
        await self.gate.wait()
        if any("down" in text for text in call.texts):
            raise ModelUnavailable("down")
        if any("bad" in text for text in call.texts):
            raise ModelRequestInvalid("bad text")
        tokens = sum(len(text) for text in call.texts)
        return EmbedReply(
            vectors=[[float(len(text))] for text in call.texts], usage=Usage(input=tokens), cost_usd=tokens / 1000
        )


def of(*texts: str, **facts) -> EmbedCall:
    return EmbedCall(model="e/m", texts=list(texts), **facts)


async def together(batching, embedder, calls, clock, *, turn=0.003):
    tasks = [asyncio.ensure_future(batching.embed(call, embedder)) for call in calls]
    await settled()
    await clock.turn(turn)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_calls_of_a_moment_travel_together():
    clock, embedder = TurnedClock(), Embedder()
    batching = MicroBatching(clock=clock, sleep=clock.sleep)
    replies = await together(batching, embedder, [of("a"), of("bb", "ccc"), of("dddd")], clock)
    assert embedder.asked == [["a", "bb", "ccc", "dddd"]]
    assert [reply.vectors for reply in replies] == [[[1.0]], [[2.0], [3.0]], [[4.0]]]
    assert [reply.usage.input for reply in replies] == [1, 5, 4]
    assert [reply.cost_usd for reply in replies] == pytest.approx([0.001, 0.005, 0.004])
    assert clock.sleeping == 0


async def test_full_ones_leave_at_once_and_large_ones_go_in_pieces():
    clock, embedder = TurnedClock(), Embedder()
    batching = MicroBatching(size_max=3, clock=clock, sleep=clock.sleep)
    await together(batching, embedder, [of("a"), of("b", "c"), of("d", "e"), of("f", "g")], clock)
    assert embedder.asked == [["a", "b", "c"], ["d", "e"], ["f", "g"]]
    embedder.asked.clear()
    reply = await batching.embed(of(*"abcdefgh"), embedder)
    assert embedder.asked == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]
    assert len(reply.vectors) == reply.usage.input == 8
    assert reply.cost_usd == pytest.approx(0.008)
    assert (await batching.embed(of(), embedder)).vectors == []


async def test_tenants_agents_and_models_are_kept_apart():
    clock, embedder = TurnedClock(), Embedder()
    batching = MicroBatching(clock=clock, sleep=clock.sleep)
    calls = [of("a", caller=Caller(tenant=tenant)) for tenant in ("x", "y", "x")]
    calls += [of("a", dimensions=2), of("a", extra={"k": 1}), of("a", caller=Caller(agent="other"))]
    await together(batching, embedder, calls, clock)
    assert sorted(embedder.asked) == [["a"], ["a"], ["a"], ["a"], ["a", "a"]]


@settings(deadline=None)
@given(bad=st.lists(st.booleans(), min_size=1, max_size=12))
async def test_texts_that_are_refused_sink_nobody_else(bad):
    clock, embedder = TurnedClock(), Embedder()
    batching = MicroBatching(clock=clock, sleep=clock.sleep)
    calls = [of("bad" if is_bad else "x" * (1 + number)) for number, is_bad in enumerate(bad)]
    replies = await together(batching, embedder, calls, clock)
    for number, (is_bad, reply) in enumerate(zip(bad, replies, strict=True)):
        if is_bad:
            assert isinstance(reply, ModelRequestInvalid)
        else:
            assert reply.vectors == [[1.0 + number]]
            assert reply.usage.input >= 0
    assert len(embedder.asked) <= 2 * len(bad)


async def test_a_provider_that_is_down_fails_all_once():
    clock, embedder = TurnedClock(), Embedder()
    batching = MicroBatching(clock=clock, sleep=clock.sleep)
    replies = await together(batching, embedder, [of("a"), of("down")], clock)
    assert all(isinstance(reply, ModelUnavailable) for reply in replies)
    assert len(embedder.asked) == 1


async def test_who_leaves_is_not_asked_for_and_harms_nobody():
    clock, embedder = TurnedClock(), Embedder()
    batching = MicroBatching(clock=clock, sleep=clock.sleep)
    gone, stays = (asyncio.ensure_future(batching.embed(of(text), embedder)) for text in ("gone", "stays"))
    await settled()
    gone.cancel()
    await clock.turn(1)
    assert (await stays).vectors == [[5.0]]
    assert embedder.asked == [["stays"]]


async def test_a_question_that_nobody_waits_for_any_more_is_not_asked_to_its_end():
    clock, embedder = TurnedClock(), Embedder()
    embedder.gate.clear()
    batching = MicroBatching(clock=clock, sleep=clock.sleep)
    one, two = (asyncio.ensure_future(batching.embed(of(text), embedder)) for text in ("a", "b"))
    await settled()
    await clock.turn(0.003)
    assert embedder.asked == [["a", "b"]]
    one.cancel()
    await settled()
    assert batching._afoot
    two.cancel()
    await settled()
    assert not batching._afoot


async def test_each_waits_for_as_long_as_it_may():
    clock, embedder = TurnedClock(), Embedder()
    batching = MicroBatching(clock=clock, sleep=clock.sleep)
    embedder.gate.clear()
    late = asyncio.ensure_future(batching.embed(of("a", deadline=clock.at), embedder))
    patient = asyncio.ensure_future(batching.embed(of("b"), embedder))
    with pytest.raises(ModelTimeout):
        await late
    await clock.turn(1)
    embedder.gate.set()
    assert (await patient).vectors == [[1.0]]


async def test_it_drains_and_stops_twice():
    clock, embedder = TurnedClock(), Embedder()
    batching = MicroBatching(clock=clock, sleep=clock.sleep)
    task = asyncio.ensure_future(batching.embed(of("a"), embedder))
    await settled()
    await batching.drain()
    assert (await task).vectors == [[1.0]]
    embedder.gate.clear()
    task = asyncio.ensure_future(batching.embed(of("a"), embedder))
    await settled()
    await batching.stop()
    await batching.stop()
    with pytest.raises(ModelUnavailable, match="shutting down"):
        await task
    with pytest.raises(ModelUnavailable, match="shutting down"):
        await batching.embed(of("a"), embedder)
    await settled()
    assert clock.sleeping == 0
    await batching.start()
    embedder.gate.set()
    task = asyncio.ensure_future(batching.embed(of("a"), embedder))
    await clock.turn(1)
    assert (await task).vectors == [[1.0]]
