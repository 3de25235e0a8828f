"""A run as the fold of its entries: it goes on from wherever they end, and neither asks nor calls twice what they hold."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from agent_scene import ScriptedModel, heard, kinds, says, wants
from hypothesis import given
from hypothesis import strategies as st

from corral.agents.agent import Agent
from corral.agents.connected import House, using
from corral.agents.event import ApprovalAsked, Failed, Finished, ToolFinished, ToolStarted
from corral.agents.failing import LoopDetected
from corral.agents.journal import (
    Answered,
    AnyEntry,
    ApprovalWanted,
    Asked,
    Decided,
    Ended,
    HandedOff,
    InMemory,
    Told,
    ToolDone,
    add_usage,
    approval_id,
    effect_key,
    fold,
)
from corral.errors import Cancelled, ConfigError, ModelUnavailable
from corral.messages import Message, ToolReply, Usage, as_parts
from corral.tools.failing import failed
from corral.tools.toolbox import Toolbox


class Died(BaseException):
    """The process is gone."""


class Mortal(InMemory):
    """A keeper whose process dies after so many entries; each was written before."""

    def __init__(self, run_id, entries=(), *, dies_after=None):
        super().__init__(run_id, entries)
        self.dies_after = dies_after
        self.closed = 0

    async def append(self, entry):
        await super().append(msgspec.json.decode(msgspec.json.encode(entry), type=AnyEntry))
        if len(self.entries) == self.dies_after:
            raise Died

    async def close(self):
        self.closed += 1


class World:
    """Tools with effects, counted by the key of the call that had them."""

    def __init__(self):
        self.effects: dict[str, int] = {}
        self.calls = 0

    async def call(self, call):
        self.calls += 1
        self.effects[call.idempotency_key] = self.effects.get(call.idempotency_key, 0) + 1
        await asyncio.sleep(0)
        text = f"{call.name} {call.input.get('n')}"
        return ToolReply(name=call.name, id=call.id, content=as_parts(text), value=text)


class Box(Toolbox):
    """A toolbox whose calls go somewhere else."""

    def __init__(self, call, *tools):
        super().__init__(tools)
        self.call = call  # type: ignore[method-assign]  # that is what it is for


def asked_of(model):
    return [len(call.messages) for call in model.calls]


async def begun(agent, keeper, prompt="go"):
    class Keeping:
        async def open(self, opening):
            return keeper

    with using(House(keeping=Keeping())):
        return await agent.run(prompt)


script = st.lists(st.integers(1, 3), max_size=4)


def lines_of(turns):
    """So many calls in each turn, then an answer. No two are the same, so that it is no circle."""
    numbers = iter(range(100))
    lines = [wants(*[("act", {"n": next(numbers)}) for _ in range(count)]) for count in turns]
    return [*lines, says("done")]


def answering(turns):
    """A model that knows where it is from what it is asked: the same before and after a death."""
    lines = lines_of(turns)
    return ScriptedModel(lambda call: lines[sum(message.role == "assistant" for message in call.messages)])


@given(script, st.data())
async def test_a_run_that_dies_anywhere_goes_on_and_repeats_nothing_that_was_written(turns, data):
    entries_max = 3 + len(turns) + sum(turns)
    world, keeper = World(), Mortal("run-1")
    model = answering(turns)
    agent = Agent("a", "I.", tools=Box(world.call), model=model)
    deaths = data.draw(st.lists(st.integers(1, entries_max), max_size=4, unique=True).map(sorted))
    result = None
    for dies_after in [*deaths, None]:
        keeper.dies_after = dies_after
        try:
            result = await (agent.resume(keeper) if keeper.entries else begun(agent, keeper))
        except Died:
            continue
    assert result is not None
    assert result.output == "done"
    assert (result.steps, result.tool_calls) == (len(turns) + 1, sum(turns))
    # Every answer was asked for once: what a death took away had not been written, or was not yet asked.
    assert len([entry for entry in keeper.entries if isinstance(entry, Answered)]) == len(turns) + 1
    assert len(model.calls) == len(turns) + 1
    # Each effect has a key of its own that stays the same; what was written down is never called again.
    assert len(world.effects) == sum(turns)
    done = [entry for entry in keeper.entries if isinstance(entry, ToolDone)]
    assert len(done) == sum(turns)
    assert keeper.closed >= 1


@given(script, st.integers(0, 20))
async def test_folding_and_going_on_lead_to_the_same(turns, cut):
    world, keeper = World(), InMemory("run-1")
    agent = Agent("a", tools=Box(world.call), model=answering(turns))
    whole = await begun(agent, keeper)
    state = fold(keeper.entries)
    assert state.over
    assert [message for message in state.messages if message.role != "system"] == whole.messages
    assert (state.step, state.tool_calls, state.usage, state.cost) == (
        whole.steps,
        whole.tool_calls,
        whole.usage,
        whole.cost_usd,
    )
    fork = InMemory("run-2", keeper.entries[: max(1, min(cut, len(keeper.entries)))])
    again = await agent.resume(fork)
    assert again.messages == whole.messages
    assert again.run_id == "run-2"


async def test_a_run_that_is_over_says_again_how_it_ended_and_asks_nobody():
    keeper = InMemory("run-1")
    model = ScriptedModel("done")
    agent = Agent("a", model=model)
    await begun(agent, keeper)
    events = await heard(agent.carry_on(keeper))
    assert kinds(events) == ["Finished"]
    assert (events[0].output, len(model.calls), len(keeper.entries)) == ("done", 1, 3)


async def test_a_failure_that_may_pass_is_gone_on_from_and_another_is_not():
    keeper = InMemory("run-1")
    model = ScriptedModel(wants(("act", {"n": 1})), ModelUnavailable("down"), "done")
    agent = Agent("a", tools=Box(World().call), model=model)
    with pytest.raises(ModelUnavailable):
        await begun(agent, keeper)
    ended = keeper.entries[-1]
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.code, ended.retryable) == ("failed", "model_unavailable", True)
    assert not fold(keeper.entries).over
    result = await agent.resume(keeper)
    assert (result.output, result.tool_calls) == ("done", 1)

    async def same(call):
        return ToolReply(name=call.name, id=call.id, content=as_parts("same"))

    circling = InMemory("run-2")
    agent = Agent("a", tools=Box(same), model=ScriptedModel(wants("act")))
    with pytest.raises(LoopDetected):
        await begun(agent, circling)
    events = await heard(agent.carry_on(circling))
    assert (kinds(events), events[0].code) == (["Failed"], "loop_detected")
    with pytest.raises(LoopDetected):
        await agent.resume(circling)


async def test_a_keeper_that_says_no_ends_the_run():
    class Taken(InMemory):
        async def append(self, entry):
            if not isinstance(entry, Asked):
                raise Cancelled("Somebody cancelled this run.")
            await super().append(entry)

    keeper = Taken("run-1")
    with pytest.raises(Cancelled):
        await begun(Agent("a", model=ScriptedModel("x")), keeper)
    assert len(keeper.entries) == 1
    cancelled = InMemory(
        "run-2", [*keeper.entries, Ended(outcome="cancelled", code="cancelled", message="Ann said so")]
    )
    events = await heard(Agent("a", model=ScriptedModel("x")).carry_on(cancelled))
    assert [(type(event), event.code, event.message) for event in events] == [(Failed, "cancelled", "Ann said so")]


async def test_there_is_nothing_to_go_on_from_without_entries():
    with pytest.raises(ConfigError, match="no entries to go on from"):
        await Agent("a", model=ScriptedModel("x")).resume(InMemory("run-1"))


# -- approvals -----------------------------------------------------------------------------------------------------------


class Careful:
    """Tools of which one asks for approval until somebody gave it."""

    def __init__(self):
        self.calls: list[Any] = []

    async def call(self, call):
        self.calls.append(call)
        if call.name == "refund" and not call.approved_by:
            call.notes["rule"] = "money"
            return failed(call, "approval_required", "Refunds need a person.")
        return ToolReply(name=call.name, id=call.id, content=as_parts(f"{call.name} {call.input}"))


class People(InMemory):
    """A keeper that knows what people say."""

    def __init__(self, run_id, *said):
        super().__init__(run_id)
        self.said = list(said)

    async def decisions(self, wanted):
        self.wanted = list(wanted)
        return [self.said.pop(0)] if self.said else []


def refunder(world):
    model = ScriptedModel(wants("look", ("refund", {"usd": 100})), "Done.")
    return Agent("a", tools=Box(world.call), model=model), model


async def test_a_call_that_needs_a_person_pauses_the_run_when_the_others_are_done():
    world, keeper = Careful(), InMemory("run-1")
    agent, model = refunder(world)

    class Keeping:
        async def open(self, opening):
            return keeper

    with using(House(keeping=Keeping())):
        events = await heard(agent.stream("go"))
    assert kinds(events)[-1] == "Finished"
    assert events[-1].reason == "paused"
    asked = next(event for event in events if isinstance(event, ApprovalAsked))
    assert asked.approval == approval_id("run-1", 1, "c1")
    assert (asked.tool, asked.input, asked.rule) == ("refund", {"usd": 100}, "money")
    assert [event.name for event in events if isinstance(event, ToolFinished)] == ["look"]
    # Gone on without a decision, it pauses at once, and calls nothing.
    again = await heard(agent.carry_on(keeper))
    assert kinds(again) == ["Finished"]
    assert (again[0].reason, len(world.calls), len(model.calls)) == ("paused", 2, 1)
    # Approved with other arguments.
    await keeper.append(Decided(approval=asked.approval, decision="approve", by="ann", input={"usd": 50}))
    result = await agent.resume(keeper)
    assert result.output == "Done."
    call = world.calls[-1]
    assert (call.name, call.input, call.approved_by) == ("refund", {"usd": 50}, "ann")
    assert call.idempotency_key == effect_key("run-1", 1, "c1")
    assert [part["tool_use_id"] for part in result.messages[2].content] == ["c0", "c1"]


async def test_a_result_that_waits_for_people_says_for_what():
    agent, _ = refunder(Careful())
    result = await agent.run("go")
    assert (result.paused, result.output, [one.tool for one in result.approvals]) == (True, None, ["refund"])


@pytest.mark.parametrize("by", ["", "bob"])
async def test_a_keeper_that_can_wait_for_people_has_the_run_go_on_by_itself(by):
    wanted = approval_id("run-1", 1, "c1")
    keeper = People("run-1", Decided(approval=wanted, decision="refuse", by=by, note="Too much."))
    world = Careful()
    agent, _model = refunder(world)
    result = await begun(agent, keeper)
    assert result.output == "Done."
    assert [one.tool for one in keeper.wanted] == ["refund"]
    refused = result.messages[2].content[1]
    assert refused["is_error"]
    assert "refused" in refused["content"][0]["text"]
    assert "Too much." in refused["content"][0]["text"]
    assert len(world.calls) == 2  # it was not made after that
    decided = next(entry for entry in keeper.entries if isinstance(entry, Decided))
    assert decided.at > 0


async def test_an_approval_that_was_given_and_is_asked_for_again_is_a_fault_and_no_circle():
    async def stubborn(call):
        return failed(call, "approval_required", "Never enough.")

    keeper = People("run-1", Decided(approval=approval_id("run-1", 1, "c0"), decision="approve"))
    agent = Agent("a", tools=Box(stubborn), model=ScriptedModel(wants("x"), "Done."))
    result = await begun(agent, keeper)
    assert result.messages[2].content[0]["is_error"]


def test_a_decision_about_something_else_changes_nothing():
    state = fold([Asked(agent="a", messages=[]), Decided(approval="other", decision="approve")])
    assert state.decisions == {}


# -- the rest of the fold ------------------------------------------------------------------------------------------------


async def test_where_words_came_from_goes_with_every_later_call():
    seen = []

    async def call(call):
        seen.append((call.name, call.tainted))
        return ToolReply(name=call.name, id=call.id, content=as_parts(call.name), tainted=(f"tool:{call.name}",))

    model = ScriptedModel(wants("a", "b"), wants("c"), "done")
    await Agent("x", tools=Box(call), model=model).run("go")
    assert seen[:2] == [("a", ()), ("b", ())]
    assert seen[2][0] == "c"
    assert set(seen[2][1]) == {"tool:a", "tool:b"}


def test_entries_survive_json_and_add_up():
    reply = wants(("t", {"a": 1}), text="hm")
    entries = [
        Asked(agent="a", messages=[Message(role="user", content=as_parts("q"))], session="s", parent="p"),
        Answered(step=1, reply=reply),
        ToolDone(step=1, reply=ToolReply(name="t", id="c0", content=as_parts("r"), cost_usd=0.5)),
        HandedOff(step=1, to="b", reason="r"),
        Told(step=1, messages=[Message(role="user", content=as_parts("again"))], why="repair"),
        ApprovalWanted(step=1, approval="x", call="c9", tool="t"),
        Ended(outcome="failed", code="c", message="m", retryable=True),
    ]
    read = msgspec.json.decode(msgspec.json.encode(entries), type=list[AnyEntry])
    assert read == entries
    state = fold(read)
    assert (state.entries, state.hand_offs, state.repairs, state.tool_calls) == (7, 1, 1, 1)
    assert state.cost == pytest.approx(0.501)
    assert [message.role for message in state.messages] == ["user", "assistant", "tool", "user"]
    assert state.ended is not None
    assert not state.over
    assert state.tools_called == ["t"]


counts = st.builds(Usage, input=st.integers(0, 9), cache_read=st.integers(0, 9), output=st.integers(0, 9))


@given(counts, counts, counts)
def test_usage_adds_up_in_any_order(one, two, three):
    assert add_usage(add_usage(one, two), three) == add_usage(one, add_usage(three, two))
    assert add_usage(one, two).total == one.total + two.total


async def test_events_of_a_resumed_turn_are_those_of_what_is_left():
    world, keeper = World(), Mortal("run-1", dies_after=3)
    agent = Agent("a", tools=Box(world.call), model=answering([3]))
    with pytest.raises(Died):
        await begun(agent, keeper)
    keeper.dies_after = None
    done = {entry.reply.id for entry in keeper.entries if isinstance(entry, ToolDone)}
    events = await heard(agent.carry_on(keeper))
    assert len(done) == 1
    assert {event.id for event in events if isinstance(event, ToolStarted)} == {"c0", "c1", "c2"} - done
    assert isinstance(events[-1], Finished)
