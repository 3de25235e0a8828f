"""The loop of an agent: what it asks, what it calls, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

import pytest
from agent_scene import ScriptedModel, heard, kinds, says, wants

from corral.agents.agent import Agent
from corral.agents.board import working_memory
from corral.agents.event import Failed, Finished, Reasoning, Text, ToolFinished, ToolStarted, UsageSeen
from corral.agents.failing import StepsExceeded
from corral.agents.limits import Limits
from corral.context import Context, enter_context, leave_context
from corral.errors import ConfigError, CorralError, ModelRateLimited, ModelStreamBroken
from corral.messages import Delta, Message, ModelReply, Usage, as_parts
from corral.models.connected import Models
from corral.models.connected import using as using_models
from corral.tools.tool import tool


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def broken() -> str:
    """Never works."""
    raise RuntimeError("out of order")


def results_of(message):
    return [part["content"][0]["text"] for part in message.content]


# -- what is asked and answered ------------------------------------------------------------------------------------------


async def test_a_question_without_tools_is_one_question_to_the_model():
    model = ScriptedModel("Good day.")
    result = await Agent("greeter", "Be kind.", model=model, temperature=0.1, max_tokens=50).run("hello")
    assert (result.output, result.text, result.steps, result.tool_calls) == ("Good day.", "Good day.", 1, 0)
    call = model.last
    assert [message.role for message in call.messages] == ["system", "user"]
    assert (call.temperature, call.max_tokens, call.stream, call.tools) == (0.1, 50, False, [])
    assert [message.role for message in result.messages] == ["user", "assistant"]


async def test_tools_are_called_and_their_results_stand_in_the_order_of_the_calls():
    may_end = asyncio.Event()

    async def slow() -> str:
        await may_end.wait()
        return "slow"

    async def quick() -> str:
        return "quick"

    model = ScriptedModel(wants("slow", "quick", "broken", "nowhere"), "Done.")
    agent = Agent("worker", tools=[slow, quick, broken], model=model)
    finished = []
    async with aclosing(agent.stream("go")) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                finished.append(event)
                if len(finished) == 3:  # all but the first, which is called at the same time
                    may_end.set()
    assert finished[-1].name == "slow"
    said = model.last.messages[-1]
    assert [part["tool_use_id"] for part in said.content] == ["c0", "c1", "c2", "c3"]
    assert results_of(said)[:2] == ["slow", "quick"]
    assert [part.get("is_error", False) for part in said.content] == [False, False, True, True]
    errors = {one.name: one.error for one in finished}
    assert errors == {"slow": "", "quick": "", "broken": "failed", "nowhere": "not_found"}


async def test_events_come_in_one_vocabulary_and_end_with_what_it_took():
    model = ScriptedModel(wants(("add", {"a": 1, "b": 2}), text="Let me see."), "It is 3.")
    events = await heard(Agent("sums", tools=[add], model=model).stream("1 + 2?"))
    assert kinds(events) == ["Text", "UsageSeen", "ToolStarted", "ToolFinished", "Text", "UsageSeen", "Finished"]
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.output, end.reason, end.steps, end.tool_calls) == ("It is 3.", "done", 2, 1)
    assert end.usage == Usage(input=20, output=10)
    assert end.cost_usd == pytest.approx(0.002)
    assert {event.agent for event in events} == {"sums"}
    assert [event.step for event in events if isinstance(event, UsageSeen)] == [1, 2]
    started = next(event for event in events if isinstance(event, ToolStarted))
    assert (started.id, started.name, started.input) == ("c0", "add", {"a": 1, "b": 2})


async def test_what_the_model_thinks_is_an_event_of_its_own():
    async def thinking(call):
        yield Delta("reasoning", "hmm")
        yield Delta("text", "yes")
        yield Delta("tool_input", "{")
        yield says("yes")

    events = await heard(Agent("thinker", model=thinking).stream("well?"))
    assert [type(event) for event in events[:2]] == [Reasoning, Text]
    assert kinds(events) == ["Reasoning", "Text", "UsageSeen", "Finished"]


async def test_pieces_that_came_at_once_are_events_each():
    async def hasty(call):
        yield Delta("text", "yes, no", pieces=("yes", ", no"))
        yield says("yes, no")

    events = await heard(Agent("hasty", model=hasty).stream("well?"))
    assert [event.text for event in events if isinstance(event, Text)] == ["yes", ", no"]


async def test_a_price_that_is_not_known_makes_the_cost_unknown():
    model = ScriptedModel(ModelReply(content=as_parts("x"), usage=Usage(input=1)))
    assert (await Agent("a", model=model).run("?")).cost_usd is None
    kept = ScriptedModel(ModelReply(content=as_parts("x"), cached="exact", cost_usd=0.0))
    assert (await Agent("a", model=kept).run("?")).cost_usd == 0.0


async def test_a_conversation_may_be_asked_as_well():
    model = ScriptedModel("Yes.")
    said = [Message(role="user", content=as_parts("a")), Message(role="assistant", content=as_parts("b"))]
    await Agent("a", "I.", model=model).run([*said, Message(role="user", content=as_parts("c"))])
    assert [message.text for message in model.last.messages] == ["I.", "a", "b", "c"]
    await Agent("a", model=model).run(Message(role="user", content=as_parts("one")))
    assert [message.text for message in model.last.messages] == ["one"]


async def test_calls_without_an_id_or_with_the_same_get_ids_of_their_own():
    model = ScriptedModel(wants(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2}), ids=["", ""]), "Done.")
    result = await Agent("sums", tools=[add], model=model).run("go")
    assert [part["tool_use_id"] for part in result.messages[2].content] == ["call_1_0", "call_1_1"]
    same = ScriptedModel(wants(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2}), ids=["x", "x"]), "Done.")
    result = await Agent("sums", tools=[add], model=same).run("go")
    assert results_of(result.messages[2]) == ["2", "4"]


async def test_arguments_that_are_no_json_are_said_to_the_model():
    garbled = wants("add")
    garbled.content[0]["input_text"] = '{"a": 1'
    model = ScriptedModel(garbled, wants(("add", {"a": 1, "b": 2})), "3")
    events = await heard(Agent("sums", tools=[add], model=model).stream("go"))
    errors = [event.error for event in events if isinstance(event, ToolFinished)]
    assert errors == ["invalid_input", ""]
    assert "not a JSON object" in results_of(model.calls[1].messages[-1])[0]


async def test_a_model_that_pauses_is_asked_to_go_on():
    model = ScriptedModel(says("first ", stop_reason="pause"), says("second"))
    result = await Agent("a", model=model).run("go")
    assert (result.output, result.steps) == ("second", 2)
    assert [message.role for message in model.last.messages] == ["user", "assistant"]


async def test_how_an_answer_stopped_is_noted_where_it_is_not_the_usual_way():
    cut = await Agent("a", model=ScriptedModel(says("so f", stop_reason="length"))).run("go")
    assert cut.notes == {"stop_reason": "length"}


# -- what it is asked with -----------------------------------------------------------------------------------------------


async def test_who_asks_is_taken_from_the_request(monkeypatch):
    seen = []

    async def look(context: Context) -> str:
        return context.tenant

    model = ScriptedModel(wants("look"), "ok")
    agent = Agent("inner", tools=[look], model=model)
    original = agent.tools.call

    async def watched(call):
        seen.append(call)
        return await original(call)

    monkeypatch.setattr(agent.tools, "call", watched)
    context = Context("request-1", "outer")
    context.tenant, context.user_id, context.tier, context.session_id = "acme", "ann", "pro", "s-1"
    context.deadline = time.monotonic() + 5
    token = enter_context(context)
    try:
        result = await agent.run("go")
    finally:
        leave_context(token)
    caller = model.last.caller
    assert (caller.tenant, caller.user_id, caller.tier, caller.agent) == ("acme", "ann", "pro", "inner")
    assert (caller.session_id, caller.run_id) == ("s-1", "request-1")
    assert model.last.deadline == context.deadline
    assert seen[0].caller == caller
    assert not seen[0].idempotency_key  # nobody can go on with this run
    assert results_of(result.messages[2]) == ["acme"]


async def test_without_a_service_there_are_no_models_to_ask_by_name():
    with pytest.raises(ConfigError, match="No models are set up here"):
        await Agent("a", model="openai/gpt-x").run("?")


async def test_models_by_name_are_the_services(monkeypatch):
    model = ScriptedModel("from the service")
    with using_models(Models(model, default="house/model")):
        assert (await Agent("a").run("?")).output == "from the service"
        await Agent("a", model="auto:expert_task").run("?")
    assert [call.model for call in model.calls] == ["house/model", "auto:expert_task"]


async def test_a_thread_waits_for_the_result():
    model = ScriptedModel("hi")
    agent = Agent("a", model=model)
    with using_models(Models(model)):
        result = await asyncio.to_thread(agent.run_sync, "?")
        assert result.output == "hi"


def test_what_an_agent_does_not_have_is_said_when_it_is_made():
    with pytest.raises(TypeError, match="has no 'temprature'"):
        Agent("a", temprature=1)
    with pytest.raises(TypeError, match="has no 'deadline'"):
        Agent("a", deadline=1)
    with pytest.raises(ConfigError, match="has a name"):
        Agent("")
    with pytest.raises(ConfigError, match="two tools named 'add'"):
        Agent("a", tools=[add, add.marked(timeout_s=1)])
    with pytest.raises(ValueError, match="more than 0"):
        Limits(steps=0)
    with pytest.raises(ValueError, match="0 or more"):
        Limits(repeats=-1)


async def test_the_tools_of_a_run_share_a_working_memory_that_ends_with_it():
    papers = []

    async def write() -> str:
        working_memory().note("cause", "a full disk")
        return "noted"

    async def read() -> str:
        papers.append(working_memory())
        return str(working_memory().read("cause"))

    agent = Agent("a", tools=[write, read], model=ScriptedModel(wants("write"), wants("read"), "ok"))
    first = await agent.run("?")
    assert results_of(first.messages[4]) == ["a full disk"]
    alone = Agent("b", tools=[read], model=ScriptedModel(wants("read"), "ok"))
    assert results_of((await alone.run("?")).messages[2]) == ["None"]
    with pytest.raises(CorralError, match="is over"):
        papers[0].note("late", 1)
    with pytest.raises(LookupError):
        working_memory()


# -- failing and being left ----------------------------------------------------------------------------------------------


async def test_a_models_error_ends_the_run_and_is_raised_to_who_awaits_it():
    limited = ModelRateLimited("slow down")
    events = await heard(Agent("a", model=ScriptedModel(limited)).stream("?"))
    end = events[-1]
    assert isinstance(end, Failed)
    assert (end.code, end.message, end.retryable) == ("model_rate_limited", "slow down", True)
    with pytest.raises(ModelRateLimited):
        await Agent("a", model=ScriptedModel(limited)).run("?")


async def test_a_model_that_says_nothing_at_all_is_an_error():
    async def silent(call):
        return
        yield

    with pytest.raises(ModelStreamBroken):
        await Agent("a", model=silent).run("?")


async def test_an_error_of_somebody_elses_is_the_agents():
    class Window:
        async def fit(self, messages, **facts):
            raise ZeroDivisionError("oops")

    end = (await heard(Agent("a", model=ScriptedModel("x"), memory=Window()).stream("?")))[-1]
    assert (end.code, end.message) == ("agent_error", "ZeroDivisionError: oops")


async def test_what_a_failed_run_took_until_then_is_told():
    model = ScriptedModel(wants(("add", {"a": 1, "b": 1})), wants(("add", {"a": 2, "b": 1})))
    events = await heard(Agent("a", tools=[add], model=model, limits=Limits(steps=1)).stream("?"))
    end = events[-1]
    assert (end.code, end.steps, end.tool_calls, end.usage.total) == ("steps_exceeded", 1, 1, 15)


async def test_closing_the_stream_stops_the_model_and_frees_what_it_held():
    model = ScriptedModel("a long answer in many words")
    model.hold = asyncio.Event()
    async with aclosing(Agent("a", model=model).stream("?")) as events:
        async for event in events:
            assert isinstance(event, Text)
            break
    assert model.open == 0


async def test_closing_the_stream_stops_the_tools():
    began, ended = asyncio.Event(), asyncio.Event()

    async def quick() -> str:
        return "quick"

    async def endless() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    model = ScriptedModel(wants("quick", "endless"))
    before = asyncio.all_tasks()
    async with aclosing(Agent("a", tools=[quick, endless], model=model).stream("?")) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                break
    assert began.is_set()
    assert ended.is_set()
    assert asyncio.all_tasks() == before


async def test_cancelling_who_awaits_a_run_stops_it():
    model = ScriptedModel("x y")
    began = asyncio.Event()

    async def endless() -> str:
        began.set()
        await asyncio.Event().wait()
        return ""

    agent = Agent("a", tools=[endless], model=ScriptedModel(wants("endless")))
    task = asyncio.create_task(agent.run("?"))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.open == 0


async def test_one_agent_serves_many_runs_at_once_and_mixes_nothing_up():
    def answer(call):
        last = call.messages[-1]
        if last.role == "user":
            return wants(("add", {"a": int(last.text), "b": 1000}))
        return says(results_of(last)[0])

    agent = Agent("sums", tools=[add], model=ScriptedModel(answer))
    results = await asyncio.gather(*(agent.run(str(number)) for number in range(50)))
    assert [result.output for result in results] == [str(number + 1000) for number in range(50)]
    assert len({result.run_id for result in results}) == 50


async def test_plain_functions_run_in_threads():
    def where() -> str:
        return threading.current_thread().name

    model = ScriptedModel(wants("where"), "ok")
    result = await Agent("a", tools=[where], model=model).run("?")
    assert results_of(result.messages[2]) != [threading.current_thread().name]


async def test_a_run_that_went_too_far_raises_its_reason():
    model = ScriptedModel(wants("broken"))
    with pytest.raises(StepsExceeded, match="took 2 steps"):
        await Agent("a", tools=[broken], model=model, limits=Limits(steps=2, repeats=0)).run("?")
