"""Answers of a type, and guards of what goes in and out."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

import msgspec
import pydantic
import pytest
from agent_scene import ScriptedModel, heard, kinds, says, wants

from corral.agents.agent import Agent
from corral.agents.connected import House, using
from corral.agents.event import Failed, Finished, Text
from corral.agents.failing import GuardRefused, OutputMisfit
from corral.agents.guards import Verdict
from corral.agents.journal import InMemory, fold
from corral.agents.limits import Limits


class Ticket(msgspec.Struct):
    id: str
    urgent: bool = False


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Row(TypedDict):
    name: str


class Model(pydantic.BaseModel):
    count: int


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Ticket, '{"id": "T-1", "urgent": true}', Ticket("T-1", True)),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (Row, '```json\n{"name": "n"}\n```', {"name": "n"}),
        (Model, '{"count": 3}', Model(count=3)),
    ],
)
async def test_an_answer_of_a_type_is_a_value_of_it(kind, text, value):
    model = ScriptedModel(text)
    agent = Agent("reader", model=model, output=kind)
    result = await agent.run("read")
    assert result.output == value
    assert result.text == text
    assert model.last.output.schema["properties"]
    assert not agent.answers_in_text
    end = (await heard(agent.stream("read")))[-1]
    assert end.output == value


async def test_an_answer_that_does_not_fit_is_mended_once():
    model = ScriptedModel('{"id": 1}', '{"id": "T-1"}')
    result = await Agent("reader", model=model, output=Ticket).run("read")
    assert (result.output, result.steps) == (Ticket("T-1"), 2)
    asked = model.calls[1].messages
    assert [message.role for message in asked] == ["user", "assistant", "user"]
    assert "does not fit the schema" in asked[-1].text


async def test_an_answer_that_never_fits_fails():
    model = ScriptedModel("no idea")
    with pytest.raises(OutputMisfit, match="'reader' does not fit"):
        await Agent("reader", model=model, output=Ticket).run("read")
    assert len(model.calls) == 2
    never = ScriptedModel("no idea")
    end = (await heard(Agent("r", model=never, output=Ticket, limits=Limits(repairs=0)).stream("read")))[-1]
    assert (type(end), end.code, len(never.calls)) == (Failed, "output_misfit", 1)


async def test_tools_may_be_called_before_the_answer_of_a_type():
    async def look() -> str:
        return "T-7"

    model = ScriptedModel(wants("look"), '{"id": "T-7"}')
    assert (await Agent("r", tools=[look], model=model, output=Ticket).run("read")).output == Ticket("T-7")


def test_a_type_that_json_does_not_know_is_said_when_the_agent_is_made():
    class Opaque:
        pass

    with pytest.raises(TypeError, match="cannot be a"):
        Agent("r", output=Opaque)
    assert Agent("r", output=str).answers_in_text


# -- guards ----------------------------------------------------------------------------------------------------------------


class Inward:
    name = "inward"

    def __init__(self, verdict):
        self.verdict = verdict
        self.saw = []

    async def check_input(self, messages, about):
        self.saw.append((messages[-1].text, about.agent, about.caller.agent))
        return self.verdict


class Outward:
    def __init__(self, *verdicts):
        self.verdicts = list(verdicts)
        self.saw = []

    async def check_output(self, output, about):
        self.saw.append((output, len(about.messages)))
        return self.verdicts.pop(0) if self.verdicts else None


async def test_a_guard_that_has_nothing_to_say_changes_nothing():
    guard, other = Inward(None), Outward()
    result = await Agent("a", model=ScriptedModel("yes"), guards=[guard, other]).run("well?")
    assert (result.output, result.notes) == ("yes", {})
    assert guard.saw == [("well?", "a", "a")]
    assert other.saw == [("yes", 2)]


async def test_a_guard_may_refuse_what_is_asked_before_any_model_is():
    model = ScriptedModel("yes")
    agent = Agent("a", model=model, guards=[Inward(Verdict(action="refuse", text="Not here.", rule="r1"))])
    with pytest.raises(GuardRefused, match="Not here"):
        await agent.run("?")
    end = (await heard(agent.stream("?")))[-1]
    assert (end.code, end.retryable, model.calls) == ("refused", False, [])


async def test_a_guard_may_say_it_in_other_words_or_answer_itself():
    model = ScriptedModel("yes")
    agent = Agent("a", "I.", model=model, guards=[Inward(Verdict(action="replace", text="my card is [removed]"))])
    result = await agent.run("my card is 4111")
    assert model.last.messages[-1].text == "my card is [removed]"
    assert result.notes == {"guards": [{"guard": "inward", "action": "replace", "rule": ""}]}
    agent = Agent("a", model=model, guards=[Inward(Verdict(action="answer", text="We are closed."))])
    result = await agent.run("?")
    assert (result.output, result.steps, len(model.calls)) == ("We are closed.", 0, 1)
    assert [message.role for message in result.messages] == ["user", "assistant"]


async def test_no_text_is_streamed_before_the_guard_of_the_answer_has_seen_it_all():
    model = ScriptedModel("the password is hunter2")
    agent = Agent("a", model=model, guards=[Outward(Verdict(action="replace", text="I cannot say."))])
    events = await heard(agent.stream("?"))
    assert kinds(events) == ["UsageSeen", "Text", "Finished"]
    assert [event.text for event in events if isinstance(event, Text)] == ["I cannot say."]
    assert isinstance(events[-1], Finished)
    assert events[-1].output == "I cannot say."
    agent = Agent("a", model=model, guards=[Outward(Verdict(action="refuse"))])
    events = await heard(agent.stream("?"))
    assert kinds(events) == ["UsageSeen", "Failed"]


async def test_what_a_guard_put_in_place_of_the_answer_is_what_the_run_said():
    keeper = InMemory("run-1")

    class Keeping:
        async def open(self, opening):
            return keeper

    agent = Agent("a", model=ScriptedModel("secret"), guards=[Outward(Verdict(action="replace", text="nothing"))])
    with using(House(keeping=Keeping())):
        result = await agent.run("?")
    assert result.text == "nothing"
    assert fold(keeper.entries).messages[-1].text == "nothing"
    assert (await agent.resume(keeper)).output == "nothing"


async def test_a_guard_that_fails_lets_nothing_through():
    class Broken:
        async def check_output(self, output, about):
            raise RuntimeError("no judge")

    events = await heard(Agent("a", model=ScriptedModel("secret"), guards=[Broken()]).stream("?"))
    assert kinds(events) == ["UsageSeen", "Failed"]
    assert events[-1].code == "agent_error"


def test_a_guard_that_looks_at_nothing_is_none():
    with pytest.raises(TypeError, match="is no guard"):
        Agent("a", guards=[object()])


async def test_several_guards_look_one_after_the_other():
    first = Outward(Verdict(action="replace", text="one"))
    second = Outward(Verdict(action="replace", text="two"))
    result = await Agent("a", model=ScriptedModel(says("zero")), guards=[first, second]).run("?")
    assert (result.output, second.saw[0][0]) == ("two", "one")
