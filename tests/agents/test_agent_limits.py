"""How far a run may go, and how it is noticed that it goes round in circles."""

from __future__ import annotations

import asyncio
import time

import pytest
from agent_scene import ScriptedModel, heard, says, wants
from hypothesis import given
from hypothesis import strategies as st

from corral.agents.agent import Agent
from corral.agents.connected import House, using
from corral.agents.event import Failed, Finished
from corral.agents.limits import Bounds, Limits, going_round
from corral.errors import ModelTimeout
from corral.messages import ModelReply, Usage
from corral.settings.agent_sections import AgentSettings


class Count:
    """A tool that never says the same twice."""

    def __init__(self):
        self.calls = 0

    async def count(self, n: int = 0) -> int:
        """Count."""
        self.calls += 1
        return self.calls


async def ending(*lines, limits=None, tools=None, **facts):
    model = ScriptedModel(*lines)
    counter = Count()
    agent = Agent("a", tools=tools or [counter.count], model=model, limits=limits or Limits(), **facts)
    return (await heard(agent.stream("?")))[-1], model, counter


# -- limits ----------------------------------------------------------------------------------------------------------------


async def test_steps_end_a_run_that_does_not_end_itself():
    end, model, counter = await ending(wants("count"), limits=Limits(steps=3))
    assert (type(end), end.code, end.steps) == (Failed, "steps_exceeded", 3)
    assert (len(model.calls), counter.calls) == (3, 3)


async def test_calls_of_tools_are_counted_before_they_are_made():
    end, _, counter = await ending(wants("count", "count"), limits=Limits(tool_calls=3))
    assert (end.code, end.tool_calls, counter.calls) == ("tool_calls_exceeded", 2, 2)


async def test_tokens_and_money_end_a_run_that_wants_to_go_on_but_never_one_that_is_done():
    end, _, _ = await ending(wants("count"), limits=Limits(tokens=40))
    assert (end.code, end.usage.total) == ("tokens_exceeded", 45)
    end, _, _ = await ending(wants("count"), limits=Limits(usd=0.0015))
    assert (end.code, end.cost_usd) == ("cost_exceeded", pytest.approx(0.002))
    end, _, _ = await ending("done", limits=Limits(tokens=1, usd=0.0001))
    assert (type(end), end.output) == (Finished, "done")


async def test_what_costs_an_unknown_amount_is_not_stopped_for_its_cost():
    unpriced = ModelReply(content=[], stop_reason="end", usage=Usage(input=5))
    end, _, _ = await ending(unpriced, limits=Limits(usd=0.0001))
    assert (type(end), end.cost_usd) == (Finished, None)


class Turned:
    """A clock that a tool or a model turns."""

    def __init__(self):
        self.at = time.monotonic()

    def now(self):
        return self.at

    def monotonic(self):
        return self.at


async def test_time_is_up_between_steps_and_within_one():
    clock = Turned()

    async def wait() -> str:
        clock.at += 10
        return str(clock.at)

    agent = Agent("a", tools=[wait], model=ScriptedModel(wants("wait")), limits=Limits(seconds=25))
    agent._clock = clock
    end = (await heard(agent.stream("?")))[-1]
    assert (end.code, end.steps, end.tool_calls) == ("time_exceeded", 3, 3)

    async def endless(call):
        await asyncio.Event().wait()
        yield

    agent = Agent("a", model=endless, limits=Limits(seconds=0.02))
    end = (await heard(agent.stream("?")))[-1]
    assert (end.code, end.steps) == ("time_exceeded", 0)


async def test_a_model_that_gives_up_at_the_deadline_is_the_runs_time():
    clock = Turned()

    async def late(call):
        clock.at = call.deadline
        raise ModelTimeout("too late")
        yield

    agent = Agent("a", model=late, limits=Limits(seconds=5))
    agent._clock = clock
    assert (await heard(agent.stream("?")))[-1].code == "time_exceeded"

    async def early(call):
        raise ModelTimeout("too late")
        yield

    assert (await heard(Agent("a", model=early).stream("?")))[-1].code == "model_timeout"


async def test_a_tool_that_hangs_ends_with_the_run():
    async def endless() -> str:
        await asyncio.Event().wait()
        return ""

    agent = Agent("a", tools=[endless], model=ScriptedModel(wants("endless")), limits=Limits(seconds=0.05))
    end = (await heard(agent.stream("?")))[-1]
    assert (end.code, end.tool_calls) == ("time_exceeded", 1)


async def test_the_house_decides_what_the_agent_leaves_open():
    with using(House(settings=AgentSettings(steps=2, tokens=1_000_000))):
        end, _, _ = await ending(wants("count"))
        assert end.steps == 2
        end, _, _ = await ending(wants("count"), limits=Limits(steps=4))
        assert end.steps == 4


def test_nothing_is_left_open_in_the_bounds_of_a_run():
    bounds = Bounds(Limits(seconds=5), AgentSettings(), now=10.0)
    assert (bounds.deadline, bounds.steps, bounds.repeats, bounds.tokens) == (15.0, 25, 3, None)


# -- circles ---------------------------------------------------------------------------------------------------------------


async def test_the_same_call_with_the_same_result_is_stopped_and_said():
    async def status() -> str:
        return "pending"

    end, _, _ = await ending(wants("status"), tools=[status])
    assert (end.code, end.steps) == ("loop_detected", 3)
    assert "made the same call 3 times" in end.message
    assert "status" in end.message


async def test_the_same_call_with_another_result_is_no_circle():
    end, _, counter = await ending(*[wants("count")] * 6, "done")
    assert (type(end), counter.calls) == (Finished, 6)


async def test_going_to_and_fro_is_stopped_too():
    async def left() -> str:
        return "go right"

    async def right() -> str:
        return "go left"

    lines = [wants("left"), wants("right")] * 4
    end, _, _ = await ending(*lines, "done", tools=[left, right])
    assert (end.code, end.steps) == ("loop_detected", 4)
    assert "to and fro between 2" in end.message
    end, _, _ = await ending(*lines, "done", tools=[left, right], limits=Limits(repeats=0))
    assert isinstance(end, Finished)


turn = st.tuples(st.sampled_from("abcd"))


@given(st.lists(turn, max_size=12), st.integers(0, 5))
def test_a_circle_is_found_exactly_when_the_last_turns_repeat(turns, repeats):
    found = going_round(turns, repeats)
    same = repeats > 0 and len(turns) >= repeats and len(set(turns[-repeats:])) == 1
    fro = repeats > 0 and any(
        len(turns) >= 2 * period and turns[-period:] == turns[-2 * period : -period] for period in (2, 3)
    )
    assert bool(found) == (same or fro)


@given(st.lists(turn, max_size=20).filter(lambda turns: len(set(turns)) == len(turns)))
def test_a_run_that_never_does_the_same_is_never_stopped(turns):
    assert going_round(turns, 3) == ""


@pytest.mark.parametrize("done", [says("x"), says("x", stop_reason="refusal")])
async def test_an_end_is_an_end_however_the_model_puts_it(done):
    end, _, _ = await ending(done)
    assert isinstance(end, Finished)
