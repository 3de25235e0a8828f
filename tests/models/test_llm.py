from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import Any

import msgspec
import pydantic
import pytest
from model_scene import Scripted, answer, settled, streamed

from corral.context import Context, enter_context, find_context, leave_context
from corral.errors import ConfigError, CorralError, ModelUnavailable
from corral.messages import Caller, Delta, EmbedReply, Message, ModelCall, OutputFormat, as_parts, closing
from corral.models.connected import Models
from corral.models.llm import LLM, use, using
from corral.models.structured import AnswerMisfit


@pytest.fixture
async def model():
    """The models of the service, as they are for the test's own loop."""
    scripted = Scripted()

    async def embed(call):
        return EmbedReply(vectors=[[float(len(text))] for text in call.texts], model=call.model)

    before = use(Models(scripted, embed, default="the/default"))
    yield scripted
    use(before)
    assert scripted.open == 0


@pytest.fixture
def context():
    made = Context("request-1", "support")
    made.tenant, made.tier, made.user_id, made.session_id = "acme", "pro", "ann", "s-1"
    token = enter_context(made)
    yield made
    leave_context(token)


class Job:
    """A job's journal, as the real one behaves: kept as JSON, by name and occurrence."""

    def __init__(self, journal: dict[str, Any] | None = None) -> None:
        self.id, self.attempt = "job-1", 1
        self.journal = {} if journal is None else journal
        self._seen: dict[str, int] = {}

    def _key(self, name):
        self._seen[name] = self._seen.get(name, 0) + 1
        return f"{name}#{self._seen[name]}"

    def step(self, name, fn, args, kwargs):
        return self._step(self._key(name), fn, args, kwargs)

    async def _step(self, key, fn, args, kwargs):
        if key not in self.journal:
            self.journal[key] = msgspec.json.encode(await fn(*args, **kwargs))
        return msgspec.json.decode(self.journal[key])

    def run_step(self, name, fn, args, kwargs):
        key = self._key(name)
        if key not in self.journal:
            self.journal[key] = msgspec.json.encode(fn(*args, **kwargs))
        return msgspec.json.decode(self.journal[key])


# -- asking ------------------------------------------------------------------------------------------------------------


async def test_a_question_gets_an_answer(model):
    reply = await LLM()("why?")
    assert reply.text == "from the/default"
    assert model.calls[0].messages == [Message(role="user", content=as_parts("why?"))]


async def test_defaults_and_what_is_said_for_one_call(model):
    llm = LLM("smart", system="Be brief.", temperature=0.2, max_tokens=5)
    await llm("why?", temperature=0.9, model="other")
    call = model.calls[0]
    assert (call.model, call.temperature, call.max_tokens) == ("other", 0.9, 5)
    assert call.messages[0] == Message(role="system", content=as_parts("Be brief."))
    await llm(
        [
            {"role": "system", "content": "Mine."},
            {"role": "user", "content": "hi"},
            Message(role="assistant", content=[]),
        ]
    )
    assert [message.role for message in model.calls[1].messages] == ["system", "user", "assistant"]
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        LLM(temprature=1)
    with pytest.raises(TypeError, match="has no 'tenant'"):
        await llm("why?", tenant="other")


async def test_who_asks_is_taken_from_the_request(model, context):
    context.deadline = 50.0
    await LLM()("why?")
    call = model.calls[0]
    assert call.caller == Caller(
        tenant="acme", tier="pro", user_id="ann", agent="support", session_id="s-1", run_id="request-1"
    )
    assert call.deadline == 50.0
    forged = ModelCall(model="", messages=[], caller=Caller(tenant="other", tags={"a": "b"}, priority=9), deadline=10.0)
    await LLM().complete(forged)
    call = model.calls[1]
    assert (call.caller.tenant, call.caller.tags, call.caller.priority) == ("acme", {"a": "b"}, 9)
    assert call.deadline == 10.0
    assert call.model == "the/default"


async def test_without_models_it_says_what_to_do():
    before = use(None)
    try:
        with pytest.raises(ConfigError, match="corral dev"):
            await LLM()("why?")
    finally:
        use(before)


async def test_models_for_a_block_alone(model):
    other = Scripted()
    with using(Models(other)):
        await LLM("a/b")("why?")
        with pytest.raises(ConfigError, match="embed"):
            await LLM().embed(["x"], model="e/m")
    await LLM()("why?")
    assert (other.asked, model.asked) == (["a/b"], ["the/default"])


async def test_streams_and_their_text(model):
    model.script = lambda call: streamed("Hel", "lo") if call.stream else [answer()]
    async with closing(LLM().stream("why?")) as events:
        assert [event async for event in events] == streamed("Hel", "lo")
    assert [text async for text in LLM().text("why?")] == ["Hel", "lo"]
    async with closing(LLM().stream("why?")) as events:
        await anext(events)
        assert model.open == 1
    assert model.open == 0


async def test_batches_keep_their_order_and_survive_failures(model):
    seen = []
    model.script = lambda call: [
        ModelUnavailable("down") if "bad" in call.messages[0].text else answer(call.messages[0].text)
    ]
    answers = await LLM().batch(["a", "bad", "c"], at_once=2, progress=lambda done, of: seen.append((done, of)))
    assert [getattr(one, "text", None) for one in answers] == ["a", None, "c"]
    assert isinstance(answers[1], ModelUnavailable)
    assert seen == [(1, 3), (2, 3), (3, 3)]


async def test_embeddings(model):
    assert await LLM().embed(["a", "bcd"], model="e/m") == [[1.0], [3.0]]
    assert await LLM().embed([], model="e/m") == []


async def test_a_router_of_ones_own(model):
    classes = {"simple_query": "s/small", "complex_reasoning": "s/medium", "expert_task": "s/large"}
    llm = LLM(
        model_router=classes, complexity_classifier=lambda text: "expert_task" if "prove" in text else "simple_query"
    )
    await llm("hi")
    await llm("prove it")
    await llm("prove it", model="a/b")
    assert model.asked == ["s/small", "s/large", "a/b"]
    with pytest.raises(TypeError, match="model_router"):
        LLM(complexity_classifier=len)


# -- answers as objects ------------------------------------------------------------------------------------------------


class Struct(msgspec.Struct):
    name: str
    price: float


@dataclasses.dataclass
class Data:
    name: str
    price: float
    more: Struct | None = None


class Pydantic(pydantic.BaseModel):
    name: str
    price: float


@pytest.mark.parametrize("kind", [Struct, Data, Pydantic])
async def test_an_answer_becomes_an_instance(model, kind):
    model.script = lambda call: [answer('```json\n{"name": "tea", "price": 2.5}\n```')]
    found = await LLM()("what?", output=kind)
    assert isinstance(found, kind)
    assert (found.name, found.price) == ("tea", 2.5)
    asked = model.calls[0].output
    assert asked.schema["properties"].keys() >= {"name", "price"}
    assert asked.schema["additionalProperties"] is False
    assert asked.strict == (kind is not Data), "a property may be left out, which strict providers refuse"


@pytest.mark.parametrize("kind", [Struct, Pydantic])
async def test_what_does_not_fit_is_sent_back_once(model, kind):
    said = [answer('{"name": "tea", "price": 1}'), answer('{"name": "tea"}')]
    model.script = lambda call: [said.pop()]
    assert (await LLM()("what?", output=kind)).price == 1
    mended = model.calls[1].messages
    assert [message.role for message in mended] == ["user", "assistant", "user"]
    assert "price" in mended[2].text
    model.script = lambda call: [answer("no")]
    with pytest.raises(AnswerMisfit):
        await LLM()("what?", output=kind)
    assert len(model.calls) == 4


async def test_a_schema_of_ones_own_is_passed_on(model):
    await LLM()("what?", output={"type": "object"})
    await LLM()("what?", output=OutputFormat())
    assert [call.output for call in model.calls] == [OutputFormat(schema={"type": "object"}), OutputFormat()]


# -- jobs --------------------------------------------------------------------------------------------------------------


async def test_a_finished_answer_is_never_paid_twice(model, context):
    first = Job()
    context.attach_job(first)
    llm = LLM(system="It is 12:00.")
    one, two = await asyncio.gather(llm("one?"), llm("two?"))
    assert model.calls[0].caller.run_id == "job-1"
    model.script = lambda call: [answer("anew")]
    context.attach_job(Job(first.journal))
    again = LLM(system="It is 12:05.")
    assert await asyncio.gather(again("two?"), again("one?")) == [two, one]
    assert len(model.calls) == 2
    assert (await again("one?")).text == "anew", "the second time it is asked in an attempt is another step"


async def test_unless_one_wants_to(model, context):
    job = Job()
    context.attach_job(job)
    await LLM(durable=False)("why?")
    await LLM()("why?", durable=False)
    assert job.journal == {}
    await LLM(durable=False)("why?", durable="reason")
    assert list(job.journal) == ["reason#1"]


async def test_streams_are_written_down_as_well(model, context):
    first = Job()
    context.attach_job(first)
    model.script = lambda call: streamed("Hel", "lo")
    async with closing(LLM().stream("why?")) as events:
        assert [event async for event in events] == streamed("Hel", "lo")
    context.attach_job(Job(first.journal))
    async with closing(LLM().stream("why?")) as events:
        assert [event async for event in events] == streamed("Hello")
    assert len(model.calls) == 1


async def test_a_stream_in_a_job_passes_pieces_on_as_they_come_and_stops_with_its_reader(model, context):
    context.attach_job(job := Job())
    model.script = lambda call: [Delta("text", "Hel"), asyncio.Event(), answer()]
    async with closing(LLM().stream("why?")) as events:
        assert await anext(events) == Delta("text", "Hel")
        assert model.open == 1
    assert model.open == 0
    assert job.journal == {}


async def test_a_stream_that_fails_in_a_job(model, context):
    context.attach_job(job := Job())
    model.script = lambda call: [Delta("text", "Hel"), ModelUnavailable("down")]
    async with closing(LLM().stream("why?")) as events:
        assert await anext(events) == Delta("text", "Hel")
        with pytest.raises(ModelUnavailable):
            await anext(events)
    assert job.journal == {}


async def test_tools_come_again_as_they_were_streamed(model, context):
    first = Job()
    context.attach_job(first)
    part = {"type": "tool_use", "id": "1", "name": "t", "input": {"a": 1}}
    model.script = lambda call: [Delta("tool_use", "", 0, "1", "t"), Delta("tool_input", '{"a":1}', 0), answer([part])]
    seen = []
    for job in (first, Job(first.journal)):
        context.attach_job(job)
        async with closing(LLM().stream("why?")) as events:
            seen.append([event async for event in events])
    assert seen[0] == seen[1]


# -- threads and other loops -------------------------------------------------------------------------------------------


async def test_synchronous_agents(model, context):
    model.script = lambda call: streamed("Hel", "lo") if call.stream else [answer('{"name": "tea", "price": 1}')]
    seen = []

    def look(call):
        seen.append(find_context())

    def agent():
        llm = LLM()
        assert llm.run("why?").text.startswith("{")
        assert llm.run("what?", output=Struct) == Struct("tea", 1)
        assert list(llm.run_stream("why?")) == streamed("Hel", "lo")
        events = llm.run_stream("why?")
        next(events)
        events.close()
        assert [reply.stop_reason for reply in llm.run_batch(["a", "b"])] == ["end", "end"]
        assert llm.run_embed(["abc"], model="e/m") == [[3.0]]
        return threading.current_thread()

    assert await asyncio.to_thread(agent) is not threading.current_thread()
    model.script = lambda call: [look, answer()]
    await asyncio.to_thread(LLM().run, "why?")
    assert seen == [context], "below the call, its request is known"
    with pytest.raises(CorralError, match="await llm"):
        LLM().run("why?")


async def test_synchronous_agents_in_jobs(model, context):
    first = Job()
    context.attach_job(first)
    reply = await asyncio.to_thread(LLM().run, "why?")
    context.attach_job(Job(first.journal))
    assert await asyncio.to_thread(LLM().run, "why?") == reply
    assert len(model.calls) == 1


async def test_a_thread_gets_a_broken_answer_to_mend_and_errors(model):
    said = [ModelUnavailable("down"), answer('{"name": "tea", "price": 1}'), answer("no")]
    model.script = lambda call: [said.pop()]
    assert (await asyncio.to_thread(LLM().run, "what?", output=Struct)).price == 1
    with pytest.raises(ModelUnavailable):
        await asyncio.to_thread(LLM().run, "what?")


async def test_agents_on_a_loop_of_their_own(model):
    model.script = lambda call: streamed("Hel", "lo") if call.stream else [answer()]

    async def agent():
        llm = LLM()
        assert (await llm("why?")).text == "yes"
        async with closing(llm.stream("why?")) as events:
            assert [event async for event in events] == streamed("Hel", "lo")
        model.script = lambda call: [Delta("text", "a"), asyncio.Event(), answer()]
        async with closing(llm.stream("why?")) as events:
            await anext(events)
        async with closing(llm.stream("why?")) as events:
            await anext(events)
            waiting = asyncio.ensure_future(anext(events))
            await settled()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        model.script = lambda call: [Delta("text", "a"), ModelUnavailable("down")]
        async with closing(llm.stream("why?")) as events:
            await anext(events)
            with pytest.raises(ModelUnavailable):
                await anext(events)

    await asyncio.to_thread(asyncio.run, agent())
    assert model.open == 0
