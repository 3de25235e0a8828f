from __future__ import annotations

import asyncio

import pytest
from runtime_scene import call_of, read, until

from corral.errors import (
    AgentFailed,
    Cancelled,
    DeadlineExceeded,
    Interrupted,
    NoEntrypoint,
    Overloaded,
    SessionBusy,
    StoreUnavailable,
    TurnLost,
    ValidationFailed,
)
from corral.runtime.ending import outcome_of


class Source:
    """A stream that fails where the test says."""

    def __init__(self, *values, closing=None):
        self.values = list(values)
        self.closing = closing
        self.closed = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.values:
            raise StopAsyncIteration
        value = self.values.pop(0)
        if isinstance(value, BaseException):
            raise value
        return value

    async def aclose(self):
        self.closed += 1
        if self.closing is not None:
            raise self.closing


class Unclosable:
    """A stream that knows no `aclose`."""

    def __init__(self):
        self.values = [1, 2]

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.values:
            raise StopAsyncIteration
        return self.values.pop()


def of(source):
    async def agent(payload):
        return source

    return agent


@pytest.mark.parametrize("closing", [ValueError("untidy"), SystemExit(), asyncio.CancelledError()])
async def test_a_source_that_fails_at_its_end_ends_all_the_same(road, closing):
    source = Source("a", "b", closing=closing)
    assert await read(await road.run(call_of(of(source), session="s"))) == ["a", "b"]
    assert source.closed == 1
    assert road.outcomes == ["error"]
    left = await road.run(call_of(of(Source("a", closing=closing)), session="s"))
    await anext(left.stream)
    await left.stream.aclose()
    assert road.outcomes == ["error", "cancelled"]


async def test_the_first_error_is_the_one_that_is_told(road):
    with pytest.raises(AgentFailed, match="first"):
        await read(await road.run(call_of(of(Source(ValueError("first"), closing=ValueError("second"))))))


async def test_a_source_that_cannot_be_closed_is_left_alone(road):
    assert await read(await road.run(call_of(of(Unclosable())))) == [2, 1]
    reply = await road.run(call_of(of(Unclosable())))
    await reply.stream.aclose()
    assert road.outcomes == ["ok", "cancelled"]


async def test_a_turn_that_was_lost_is_told_at_the_end_of_the_stream(road):
    call = call_of(of(Source("a")), "x", session="s")
    reply = await road.run(call)
    assert await anext(reply.stream) == '"a"'
    call.context.session._access.turn._callbacks.clear()  # as if the news came too late
    thief = await road.turns.take(call.context.session._access.key, policy="interrupt")
    await thief.leave()
    with pytest.raises(TurnLost):
        await anext(reply.stream)
    await reply.stream.aclose()
    assert road.outcomes == ["rejected"]


async def test_an_agent_that_hits_the_fence_was_interrupted(road):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def agent(payload, context):
        begun.set()
        try:
            await go_on.wait()
        finally:
            await context.session.append("assistant", "a last word")

    call = call_of(agent, "x", session="s")
    running = asyncio.create_task(road.run(call))
    await begun.wait()
    thief = await road.turns.take(call.context.session._access.key, policy="interrupt")
    with pytest.raises(Interrupted):
        await running
    await thief.leave()


async def test_an_error_and_a_late_error_are_told_as_the_first_but_seen_as_the_last(road):
    async def late(call):
        raise StoreUnavailable

    call = call_of(of(Source(ValueError("first"))))
    call.at_end(late)
    with pytest.raises(AgentFailed, match="first"):
        await read(await road.run(call))
    assert isinstance(road.seen[0].error, StoreUnavailable)
    await until(lambda: not len(road.invocations))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AgentFailed("x"), "error"),
        (NoEntrypoint(), "error"),
        (ValueError("x"), "error"),
        (Cancelled(), "cancelled"),
        (Interrupted(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (DeadlineExceeded(), "timeout"),
        (SessionBusy(), "rejected"),
        (ValidationFailed(), "rejected"),
        (Overloaded(), "rejected"),
        (StoreUnavailable(), "rejected"),
    ],
)
def test_an_error_has_one_word_for_metrics_and_logs(error, outcome):
    assert outcome_of(error) == outcome
