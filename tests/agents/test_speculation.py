"""Speculation: what is fetched ahead, when it is used, and when it is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from agent_scene import ScriptedModel, heard, says, wants
from hypothesis import given
from hypothesis import strategies as st
from team_scene import Member

from corral import Agent
from corral.agents.ahead import Ahead
from corral.agents.event import Finished, ToolFinished
from corral.agents.follow_up import FollowUp
from corral.agents.journal import Answered, fold
from corral.agents.payback import Outcome, Payback
from corral.agents.speculating import SpeculationCounting
from corral.agents.speculation import Speculation
from corral.messages import (
    Caller,
    Delta,
    Message,
    ModelCall,
    ModelEvent,
    ModelReply,
    ToolCall,
    ToolFault,
    ToolReply,
    as_parts,
)
from corral.observability.metrics import Metrics
from corral.tools.tool import tool
from corral.tools.toolbox import Toolbox


class TurnedClock:
    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Scene:
    """One run after the other, with tools that count and can be held back."""

    def __init__(self, **options: Any) -> None:
        self.clock = TurnedClock()
        self.speculation = Speculation(clock=self.clock, **options)
        self.metrics = Metrics()
        self.counting = SpeculationCounting(self.metrics)
        self.made: list[ToolCall] = []
        self.hold: asyncio.Event | None = None
        self.faulty = False
        self.stopped = 0

        @tool(read_only=True, idempotent=True, cost_usd=0.5)
        async def ticket(key: str) -> dict[str, Any]:
            return {"order": f"X{key}"}

        @tool(read_only=True, idempotent=True)
        async def order(key: str) -> str:
            return f"order {key}"

        @tool(idempotent=True)
        async def refund(key: str) -> str:
            return f"refunded {key}"

        self.tools = Toolbox([ticket, order, refund])

    async def call(self, call: ToolCall) -> ToolReply:
        self.made.append(call)
        try:
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if self.faulty:
            return ToolReply(name=call.name, id=call.id, fault=ToolFault(code="failed", message="No."))
        value: Any = {"order": f"X{call.input.get('key')}"} if call.name == "ticket" else f"{call.name} {call.input}"
        return ToolReply(name=call.name, id=call.id, value=value, content=as_parts(str(value)))

    def run(self, *lines: ModelReply | list[ModelEvent], tainted: tuple[str, ...] = ()) -> Run:
        return Run(self, list(lines), tainted)

    @property
    def ahead(self) -> list[tuple[str, Any]]:
        return [(one.name, one.input.get("key")) for one in self.made if one.notes.get("speculated")]


class Run:
    """A run whose model says these lines."""

    def __init__(self, scene: Scene, lines: list[Any], tainted: tuple[str, ...]) -> None:
        self.scene = scene
        self.lines = lines
        self.seen_at: list[int] = []
        self.ahead: Ahead = scene.speculation.run(
            scene.tools,
            ask=self._model,
            call=scene.call,
            caller=Caller(agent="support"),
            tainted=tainted,
            counting=scene.counting,
        )

    async def _model(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        line = self.lines.pop(0)
        for _ in range(3):  # it thinks
            await asyncio.sleep(0)
        for event in line if isinstance(line, list) else [line]:
            yield event
            await asyncio.sleep(0)
            self.seen_at.append(len(self.scene.made))

    async def step(self, question: str = "?") -> ModelReply:
        message = Message(role="user", content=as_parts(question))
        reply = None
        async for event in self.ahead.ask(ModelCall(model="m", messages=[message])):
            reply = event
        assert isinstance(reply, ModelReply)
        return reply

    async def all(self, question: str = "?", **facts: Any) -> list[ToolReply]:
        """Ask and call until the model has no more to say."""
        replies: list[ToolReply] = []
        while self.lines:
            for use in (await self.step(question)).tool_uses:
                call = ToolCall(
                    name=use["name"], input=use["input"], id=use["id"], caller=Caller(agent="support"), **facts
                )
                replies.append(await self.ahead.call(call))
        await self.ahead.close()
        await self.ahead.close()
        return replies


def chain(number: int) -> list[ModelReply]:
    return [wants(("ticket", {"key": f"T-{number}"})), wants(("order", {"key": f"XT-{number}"})), says("Done.")]


async def test_what_always_follows_is_called_ahead_and_given() -> None:
    scene = Scene()
    for number in (1, 2):
        await scene.run(*chain(number)).all()
    assert scene.ahead == []
    replies = await scene.run(*chain(7)).all()
    assert scene.ahead == [("order", "XT-7")]
    assert [(reply.name, reply.cached, reply.id) for reply in replies] == [
        ("ticket", "", "c0"),
        ("order", "speculated", "c0"),
    ]
    assert (scene.speculation.hits, scene.speculation.misses, scene.speculation.hit_rate) == (1, 0, 1.0)
    assert len([call for call in scene.made if call.name == "order"]) == 3  # and never twice


async def test_arguments_begin_their_call_when_they_are_complete() -> None:
    scene = Scene()
    written = [
        Delta("tool_use", index=0, id="c0", name="order"),
        Delta("tool_input", '{"key": ', 0),
        Delta("tool_input", '"O-1"}', 0),
        Delta("tool_use", index=1, id="c1", name="refund"),
        Delta("tool_input", '{"key": "O-1"}', 1),
        wants(("order", {"key": "O-1"}), ("refund", {"key": "O-1"})),
    ]
    run = scene.run(written)
    await run.step()
    assert run.seen_at == [0, 0, 1, 1, 1, 1]
    assert scene.ahead == [("order", "O-1")]  # a refund is nothing to try out
    await run.ahead.close()
    assert scene.speculation.misses == 1


async def test_a_name_makes_its_likely_arguments_likelier() -> None:
    scene = Scene()
    for number in range(1, 6):  # an order follows two times out of five: not likely enough before the model says so
        lines = chain(number) if number > 3 else [wants(("ticket", {"key": f"T-{number}"})), says("Done.")]
        await scene.run(*lines).all()
    written = [Delta("tool_use", index=0, id="c0", name="order"), wants(("order", {"key": "XT-7"}))]
    run = scene.run(wants(("ticket", {"key": "T-7"})), written)
    await run.step()
    await run.ahead.call(ToolCall(name="ticket", input={"key": "T-7"}, id="x", caller=Caller(agent="support")))
    scene.made.clear()
    run.seen_at.clear()
    await run.step()
    assert scene.ahead == [("order", "XT-7")]
    assert run.seen_at == [1, 1]  # begun before the answer was there
    await run.ahead.close()


async def test_what_changes_something_is_never_called_ahead() -> None:
    scene = Scene(chance_min=0.0)
    for number in (1, 2, 3, 4):
        lines = [wants(("ticket", {"key": f"T-{number}"})), wants(("refund", {"key": f"XT-{number}"})), says("Done.")]
        await scene.run(*lines).all()
    assert {name for name, _ in scene.ahead} <= {"ticket"}


async def test_what_was_not_wanted_is_stopped_and_counted() -> None:
    scene = Scene()
    for number in (1, 2):
        await scene.run(*chain(number)).all()
    scene.made.clear()
    run = scene.run(wants(("ticket", {"key": "T-7"})), says("That is all."))
    await run.step()
    await run.ahead.call(ToolCall(name="ticket", input={"key": "T-7"}, id="x", caller=Caller(agent="support")))
    scene.hold = asyncio.Event()
    await run.step()
    await run.ahead.close()
    assert scene.ahead == [("order", "XT-7")]
    assert scene.stopped == 1
    assert (scene.speculation.hits, scene.speculation.misses) == (0, 1)
    assert scene.speculation.running == 0
    assert b'corral_agents_speculation_total{agent="support",kind="tool",outcome="miss"} 1' in scene.metrics.render()


async def test_a_failure_ahead_is_no_failure_of_the_run() -> None:
    scene = Scene()
    for number in (1, 2):
        await scene.run(*chain(number)).all()
    run = scene.run(wants(("ticket", {"key": "T-7"})), wants(("order", {"key": "XT-7"})))
    await run.step()
    await run.ahead.call(ToolCall(name="ticket", input={"key": "T-7"}, id="x"))
    scene.faulty = True
    await run.step()
    scene.faulty = False
    reply = await run.ahead.call(ToolCall(name="order", input={"key": "XT-7"}, id="y"))
    assert (reply.fault, reply.cached, reply.id) == (None, "", "y")
    await run.ahead.close()


@pytest.mark.parametrize("facts", [{"tainted": ("tool:web",)}, {"approved_by": "ada"}])
async def test_a_call_that_stands_under_other_rules_is_another_call(facts: dict[str, Any]) -> None:
    scene = Scene()
    for number in (1, 2):
        await scene.run(*chain(number)).all()
    run = scene.run(*chain(7))
    await run.step()
    await run.ahead.call(ToolCall(name="ticket", input={"key": "T-7"}, id="x"))
    await run.step()
    reply = await run.ahead.call(ToolCall(name="order", input={"key": "XT-7"}, id="y", **facts))
    assert reply.cached == ""
    assert scene.speculation.misses == 1
    await run.ahead.close()


async def test_calls_ahead_know_what_is_untrusted() -> None:
    scene = Scene()
    for number in (1, 2):
        await scene.run(*chain(number)).all()
    await scene.run(*chain(7), tainted=("document:faq",)).all(tainted=("document:faq",))
    assert [one.tainted for one in scene.made if one.notes.get("speculated")] == [("document:faq",)]
    assert scene.speculation.hits == 1


async def test_no_more_at_once_than_may() -> None:
    scene = Scene(at_once=2, running_max=1)
    scene.hold = asyncio.Event()
    deltas = [
        event
        for n in range(4)
        for event in (Delta("tool_use", index=n, name="order"), Delta("tool_input", f'{{"key": "{n}"}}', n))
    ]
    run = scene.run([*deltas, wants(*(("order", {"key": str(n)}) for n in range(4)))])
    await run.step()
    assert scene.speculation.running == 1
    assert len(scene.ahead) == 1
    await run.ahead.close()
    assert scene.speculation.running == 0


async def test_what_does_not_pay_is_left_alone_and_comes_back() -> None:
    scene = Scene(hits_min=0.5)
    payback = scene.speculation.payback("ticket")
    for _ in range(8):
        scene.speculation.over("ticket", Outcome(hit=False, wasted_usd=0.5))
    assert not payback.on
    assert not scene.speculation.may(scene.tools, "ticket")
    assert scene.speculation.may(scene.tools, "order")
    scene.clock.time += 61
    assert scene.speculation.may(scene.tools, "ticket")
    assert scene.speculation.wasted_usd == 4.0


# -- payback -----------------------------------------------------------------------------------------------------------


def test_a_saved_second_may_cost_so_much() -> None:
    dear = Payback(clock=TurnedClock(), hits_min=0.1, usd_per_s_max=0.01, least=2)
    dear.add(Outcome(hit=True, saved_s=1.0))
    dear.add(Outcome(hit=False, wasted_usd=0.02))
    assert not dear.on
    cheap = Payback(clock=TurnedClock(), hits_min=0.1, usd_per_s_max=0.01, least=2)
    cheap.add(Outcome(hit=True, saved_s=3.0))
    cheap.add(Outcome(hit=False, wasted_usd=0.02))
    assert cheap.on


def test_each_pause_is_longer_than_the_one_before_until_it_pays_again() -> None:
    clock = TurnedClock()
    payback = Payback(clock=clock, hits_min=0.5, usd_per_s_max=1.0, newest=4, least=2, pause_s=10, pause_max_s=35)
    for pause in (10, 20, 35, 35):
        for _ in range(2):
            payback.add(Outcome(hit=False))
        clock.time += pause - 1
        assert not payback.on
        clock.time += 1
        assert payback.on
    for _ in range(4):
        payback.add(Outcome(hit=True))
    for _ in range(3):
        payback.add(Outcome(hit=False))
    clock.time += 10
    assert payback.on


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 9), st.floats(0, 9), st.floats(0, 100)), max_size=60))
def test_payback_is_on_or_will_be(outcomes: list[Any]) -> None:
    clock = TurnedClock()
    payback = Payback(clock=clock, hits_min=0.3, usd_per_s_max=0.1, least=3, pause_s=5, pause_max_s=50)
    for hit, saved, wasted, waits in outcomes:
        payback.add(Outcome(hit=hit, saved_s=saved, wasted_usd=wasted))
        assert 0 <= payback.hit_rate <= 1
        clock.time += waits
    clock.time += 50
    assert payback.on


# -- follow-up context -------------------------------------------------------------------------------------------------


async def test_what_was_foreseen_is_there_when_it_is_asked() -> None:
    fetched: list[str] = []

    async def fetch(question: str) -> str:
        fetched.append(question)
        return "Within 30 days."

    member = Member("support")
    role = FollowUp(member, foresee=lambda text: ["How can I return my order?"], fetch=fetch)
    await heard(role.stream("Where is my order?", session="s"))
    await role.drain()
    await heard(role.stream("And how do I return the order?", session="s"))
    await role.stop()
    assert fetched[0] == "How can I return my order?"
    asked = member.asked[1]
    assert "Within 30 days." in asked[0].text
    assert asked[-1].text == "And how do I return the order?"
    assert role.payback.hit_rate == 1.0


async def test_what_was_foreseen_for_somebody_else_or_another_question_is_not_used() -> None:
    async def fetch(question: str) -> str:
        return "Secret."

    async def foresee(question: str) -> list[str]:
        return ["How can I return my order?"]

    member = Member("support")
    role = FollowUp(member, foresee=foresee, fetch=fetch)
    for session, question in (("s", "Where is it?"), ("t", "How can I return my order?"), ("s", "Do you like rain?")):
        await heard(role.stream(question, session=session))
        await role.drain()
    await heard(role.stream("How can I return my order?"))
    assert member.asked == [
        "Where is it?",
        "How can I return my order?",
        "Do you like rain?",
        "How can I return my order?",
    ]
    assert role.payback.hit_rate == 0.0
    await role.stop()
    await role.stop()


async def test_what_cannot_be_foreseen_or_is_late_disturbs_nobody() -> None:
    async def fetch(question: str) -> str:
        raise ValueError

    role = FollowUp(Member("a"), foresee=lambda text: ["x"], fetch=fetch)
    assert isinstance((await heard(role.stream("?", session="s")))[-1], Finished)
    await role.drain()

    async def never(question: str) -> str:
        await asyncio.Event().wait()
        return ""

    role = FollowUp(Member("a"), foresee=lambda text: ["x"], fetch=never)
    await heard(role.stream("?", session="s"))
    await heard(role.stream("?", session="s"))
    await role.stop()
    assert len(asyncio.all_tasks()) == 1


# -- in an agent -------------------------------------------------------------------------------------------------------


async def test_an_agent_gets_faster_by_looking_on() -> None:
    made: list[str] = []

    @tool(read_only=True, idempotent=True)
    async def ticket(key: str) -> dict[str, str]:
        """A ticket."""
        made.append(key)
        return {"order": f"X{key}"}

    @tool(read_only=True, idempotent=True)
    async def order(key: str) -> str:
        """An order."""
        made.append(key)
        return f"order {key}"

    speculation = Speculation()
    cached: list[str] = []
    for number in (1, 2, 3):
        model = ScriptedModel(*chain(number))
        agent = Agent("support", tools=[ticket, order], model=model, speculation=speculation)
        events = await heard(agent.stream("Where is it?"))
        assert isinstance(events[-1], Finished)
        cached += [event.cached for event in events if isinstance(event, ToolFinished)]
    assert cached == ["", "", "", "", "", "speculated"]
    assert made == ["T-1", "XT-1", "T-2", "XT-2", "T-3", "XT-3"]
    assert speculation.running == 0
    assert msgspec.json.encode(speculation.hit_rate) == b"1.0"


async def test_what_was_called_in_vain_is_in_the_cost_of_the_run() -> None:
    @tool(read_only=True, idempotent=True)
    async def ticket(key: str) -> dict[str, str]:
        """A ticket."""
        return {"order": f"X{key}"}

    @tool(read_only=True, idempotent=True, cost_usd=0.25)
    async def order(key: str) -> str:
        """An order."""
        return f"order {key}"

    speculation = Speculation(usd_per_s_max=1e9)
    costs: list[float | None] = []
    for lines in (chain(1), chain(2), [chain(3)[0], says("Done.")], [says("Nothing to do.")]):
        agent = Agent("support", tools=[ticket, order], model=ScriptedModel(*lines), speculation=speculation)
        end = (await heard(agent.stream("Where is it?")))[-1]
        assert isinstance(end, Finished)
        costs.append(end.cost_usd)
    assert costs == pytest.approx([0.253, 0.253, 0.252, 0.001]), "the third has called for an order that nobody wanted"


def test_what_was_wasted_is_read_again_from_the_journal() -> None:
    reply = says("Done.")
    entry = Answered(step=1, reply=reply, wasted_usd=0.5, at=1.0)
    again = msgspec.json.decode(msgspec.json.encode(entry), type=Answered)
    before = fold([Answered(step=1, reply=reply, at=1.0)])
    assert fold([again]).cost_usd == before.cost_usd + 0.5
