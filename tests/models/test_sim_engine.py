"""The engine: the same again, load that slows, a script, kept beginnings."""

from __future__ import annotations

import asyncio
import json
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_scene import TurnedClock

from corral.errors import ConfigError, ModelRequestInvalid
from corral.messages import Delta, EmbedCall, Message, ModelCall, ModelReply, OutputFormat, ToolSpec, as_parts
from corral.models.sim import tokens
from corral.models.sim.catalog import MODELS
from corral.models.sim.engine import Engine
from corral.models.sim.options import ScriptedTool, ScriptLine, SimOptions, read_options, read_wish
from corral.models.sim.provider import build_sim
from corral.models.sim.refusal import Refused
from corral.settings.model_sections import ProviderSettings

PROMPTS = ["How do refunds work?", "What is 2 + 3?", "Hello", "Why is the database slow?", "Write a haiku about rain"]


def asks(text: str, model: str = "small", **more) -> ModelCall:
    return ModelCall(model=model, messages=[Message(role="user", content=as_parts(text))], **more)


def quiet(**options) -> Engine:
    return Engine(SimOptions(ttft_ms=0, itl_ms=0, **options))


def text_of(engine: Engine, call: ModelCall) -> str:
    turn = engine.begin(call)
    turn.close()
    return "".join(part.get("text", "") for part in turn.answer.parts)


@given(st.permutations(PROMPTS), st.integers(0, 5))
def test_the_same_seed_and_call_have_the_same_answer_in_whatever_order(order, seed):
    engine = quiet(seed=seed)
    said = {prompt: text_of(engine, asks(prompt)) for prompt in order}
    other = quiet(seed=seed)
    assert {prompt: text_of(other, asks(prompt)) for prompt in PROMPTS} == said


def tools_of(call: ModelCall) -> list[str]:
    turn = quiet().begin(call)
    turn.close()
    return [part["name"] for part in turn.answer.parts if part["type"] == "tool_use"]


def test_who_insists_on_tools_after_a_result_gets_a_call_of_another_one():
    weather, answer = ToolSpec(name="weather", description="The weather of a city."), ToolSpec(name="City")
    asked = asks("What is the weather in Oslo?", tools=[weather, answer], tool_choice="required")
    assert tools_of(asked) == ["weather"]
    used = Message(role="assistant", content=[{"type": "tool_use", "id": "1", "name": "weather", "input": {}}])
    found = [{"type": "tool_result", "tool_use_id": "1", "content": as_parts("Rain")}]
    asked.messages.extend([used, Message(role="tool", content=found)])
    assert tools_of(asked) == ["City"]
    asked.tools.remove(answer)
    assert tools_of(asked) == ["weather"]
    assert tools_of(msgspec.structs.replace(asked, tool_choice="auto")) == []


@pytest.mark.parametrize("around", ["Fit {not} this: %s", "%s"])
def test_a_schema_that_is_told_in_words_is_fitted(around):
    told = around % '{"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}'
    call = asks("I live in Oslo", output=OutputFormat())
    call.messages.insert(0, Message(role="system", content=as_parts(told)))
    assert list(json.loads(text_of(quiet(), call))) == ["town"]


def test_braces_that_are_no_schema_are_passed_over():
    call = asks('{"properties": 1} ' + "{" * 100, output=OutputFormat())
    assert "answer" in json.loads(text_of(quiet(), call))


def test_who_calls_wishes_for_no_longer_an_answer_than_the_model_writes():
    turn = quiet().begin(asks("Hello"), wish=read_wish({"output_tokens": 1_000_000_000}))
    assert turn.usage.output_tokens == MODELS["small"].output_tokens
    turn.close()


async def test_without_messages_there_is_nothing_to_answer():
    provider = build_sim("sim", ProviderSettings(kind="sim"))
    with pytest.raises(ModelRequestInvalid, match="no messages"):
        async for _ in provider.call(ModelCall(model="small", messages=[])):
            pass


@pytest.mark.parametrize("dimensions", [0, 1_000_000_000])
async def test_vectors_have_no_more_dimensions_than_any_model_gives(dimensions):
    provider = build_sim("sim", ProviderSettings(kind="sim"))
    with pytest.raises(ModelRequestInvalid, match="1 to 8192"):
        await provider.embed(EmbedCall(model="embed", texts=["Hi"], dimensions=dimensions))


def test_another_seed_varies_the_answers():
    answers = {text_of(quiet(seed=seed), asks(PROMPTS[0])) for seed in range(8)}
    assert len(answers) > 2


@given(st.text(max_size=300))
def test_pieces_are_the_text_again(text):
    assert "".join(tokens.pieces_of(text)) == text


@given(st.text(max_size=200), st.integers(1, 30))
def test_whatever_is_asked_is_answered_within_its_bound(text, most):
    turn = quiet().begin(asks(text or " ", max_tokens=most))
    turn.close()
    assert 0 < turn.usage.output_tokens <= most
    assert sum(delta.kind != "tool_use" for delta in turn.answer.deltas) == turn.usage.output_tokens


def test_faults_by_share_come_about_as_often_and_pass_when_asked_again():
    engine = quiet(faults={"503": 0.3}, seed=1)
    failed = []
    for n in range(500):
        try:
            engine.begin(asks(f"question {n}")).close()
        except Refused:
            failed.append(n)
    assert 100 < len(failed) < 200
    again = 0
    for n in failed:
        try:
            engine.begin(asks(f"question {n}")).close()
        except Refused:
            again += 1
    assert again < len(failed) / 2


def test_a_sequence_of_faults_is_kept_to():
    engine = quiet(sequence=["503", "ok", "429"])
    seen = []
    for _ in range(4):
        try:
            engine.begin(asks("Hello")).close()
            seen.append(200)
        except Refused as refused:
            seen.append(refused.status)
    assert seen == [503, 200, 429, 200]


def test_a_script_says_what_happens():
    engine = quiet(
        script=[
            ScriptLine(match="once", reply="only now", times=1),
            ScriptLine(match=r"/order (\d+)/", reply="So it is {1}."),
            ScriptLine(match="weather", tool=ScriptedTool(name="get_weather", input={"city": "Ulm"})),
            ScriptLine(match="number", json={"n": 1}),
            ScriptLine(match="broken", status=529),
            ScriptLine(match="long", output_tokens=300),
            ScriptLine(match="cut", fault="cut"),
            ScriptLine(match="", model="other", reply="the other one"),
        ]
    )
    assert text_of(engine, asks("Once more")) == "only now"
    assert text_of(engine, asks("Once more")) != "only now"
    assert text_of(engine, asks("my Order 4711")) == "So it is 4711."
    assert text_of(engine, asks("number please")) == '{"n":1}'
    assert engine.begin(asks("the weather?")).answer.parts[0]["input"] == {"city": "Ulm"}
    with pytest.raises(Refused) as refused:
        engine.begin(asks("it is broken"))
    assert refused.value.status == 529
    assert engine.begin(asks("a long one")).usage.output == 300
    assert engine.begin(asks("cut it")).fault == "cut"
    assert text_of(engine, asks("whatever", model="other")) == "the other one"


def test_answers_are_as_long_as_wished():
    turn = quiet().begin(asks("Hello"), wish=read_wish({"output_tokens": "120"}))
    assert (turn.usage.output, turn.answer.stop_reason) == (120, "end")
    assert quiet(output_tokens=7).begin(asks("Tell me about returns")).usage.output == 7
    assert (
        text_of(quiet(), asks("x")) != quiet().begin(asks("x"), wish=read_wish({"reply": "so"})).answer.parts[0]["text"]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"faults": {"boom": 0.1}}, "no fault `boom`"),
        ({"faults": {"5xx": 0.6, "429": 0.6}}, "more than 1"),
        ({"sped": 1}, "sped"),
        ({"script": [{"match": "/(/", "reply": "x"}]}, "no regular expression"),
        ({"rpm": 0}, "rpm"),
    ],
)
def test_options_that_are_none_are_named(options, words):
    with pytest.raises(ConfigError, match=r"(?s).*" + words.replace("(", r"\(")):
        read_options(options)


async def test_more_calls_at_once_are_slower_and_more_than_that_wait():
    clock = TurnedClock()
    engine = Engine(
        SimOptions(ttft_ms=100, itl_ms=10, prefill_ms=0, jitter=0, batch_max=4, batch_slowdown=3),
        clock=clock,
        sleep=clock.nap,
    )
    alone = engine.begin(asks("Hello"))
    started = clock.at
    await alone.first()
    assert clock.at - started == pytest.approx(0.1)
    await alone.rest()
    pieces = len(alone.answer.deltas)
    assert clock.at - started == pytest.approx(0.1 + (pieces - 1) * 0.01)
    others = [engine.begin(asks("Hello")) for _ in range(3)]
    for other in others:
        await other.first()
    started = clock.at
    assert [delta async for delta in others[0].deltas()] == alone.answer.deltas
    assert clock.at - started == pytest.approx((pieces - 1) * 0.04)
    fifth = engine.begin(asks("Hello"))
    waiting = asyncio.create_task(fifth.first())
    await asyncio.sleep(0)
    assert not waiting.done()
    alone.close()
    await waiting
    for turn in (*others, fifth):
        turn.close()
    assert (engine.stats.running, engine.stats.running_max) == (0, 5)


async def test_long_questions_take_longer_to_read_unless_they_are_kept():
    clock = TurnedClock()
    engine = Engine(SimOptions(ttft_ms=10, itl_ms=0, prefill_ms=1_000, jitter=0), clock=clock, sleep=clock.nap)
    took = []
    for _ in range(2):
        started = clock.at
        turn = engine.begin(asks("word " * 2_000))
        await turn.first()
        took.append(clock.at - started)
        turn.close()
    assert took[0] > 2
    assert took[1] < 0.3


def test_kept_beginnings_are_forgotten_after_a_while():
    clock = TurnedClock()
    engine = Engine(SimOptions(ttft_ms=0, itl_ms=0, cache_s=60), clock=clock, sleep=clock.nap)
    kept = []
    for pause in (0, 30, 61):
        clock.at += pause
        kept.append(engine.begin(asks("word " * 2_000)).usage.cache_read)
    assert kept[0] == kept[2] == 0
    assert kept[1] > 1_024


async def test_the_provider_in_process():
    provider = build_sim("mine", ProviderSettings(kind="sim", options={"ttft_ms": 0, "itl_ms": 0}))
    await provider.start()
    streamed = [event async for event in provider.call(asks("How do refunds work?", stream=True))]
    (whole,) = [event async for event in provider.call(asks("How do refunds work?"))]
    reply = streamed[-1]
    assert isinstance(reply, ModelReply)
    assert "".join(event.text for event in streamed if isinstance(event, Delta)) == reply.text == whole.text
    assert (whole.provider, whole.model, whole.usage) == ("mine", "small", reply.usage)
    first, same = (
        await provider.embed(EmbedCall(model="embed", texts=["a parcel", "a parcel"], dimensions=16))
    ).vectors
    assert first == same
    assert len(first) == 16
    assert {"mine/small", "mine/embed"} <= {model.id for model in await provider.models()}
    await provider.stop()


LABELS = "Classify the message. One of: billing, shipping, technical."


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        ("What is 12 * (3 + 4)?", {}, "84"),
        ("What is 2^10?", {}, "1024"),
        ("2 / 0 = ?", {}, ""),
        ("Say exactly: banana", {}, "banana"),
        ("Classify the sentiment as positive, negative or neutral: I love this shop", {}, "positive"),
        (f"{LABELS}\nMy parcel has not arrived, where is it?", {}, "shipping"),
        ("Thanks!", {}, "welcome"),
        (
            "Summarize: Cats sleep a lot. The sun is hot. Dogs chase cats. Many people love cats and dogs. It is late.",
            {},
            "Dogs chase cats.",
        ),
        ("Answer as JSON", {"output": OutputFormat()}, '{"answer"'),
    ],
)
def test_answers_have_to_do_with_the_question(text, more, words):
    assert words in text_of(quiet(), asks(text, **more))


def test_tools_that_do_not_fit_are_left_alone():
    tools = [
        ToolSpec(name="get_weather", description="Weather at a place"),
        ToolSpec(name="send_mail", description="Send a mail"),
    ]
    assert quiet().begin(asks("How do refunds work?", tools=tools)).answer.stop_reason == "end"
    forced = quiet().begin(asks("How do refunds work?", tools=tools, tool_choice="tool:send_mail"))
    assert forced.answer.parts[0]["name"] == "send_mail"
    required = quiet().begin(asks("How do refunds work?", tools=tools, tool_choice="required"))
    assert required.answer.stop_reason == "tool_use"
    assert quiet().begin(asks("What is the weather?", tools=tools, tool_choice="none")).answer.stop_reason == "end"


def test_embedding_models_do_not_chat_and_long_texts_do_not_fit():
    with pytest.raises(Refused):
        quiet().begin(asks("Hello", model="embed"))
    with pytest.raises(Refused) as refused:
        quiet().begin_embedding("embed", ["word " * 9_000])
    assert refused.value.kind == "too_long"


def test_chance_is_not_the_worlds():
    random.seed(1)
    one = text_of(quiet(), asks(PROMPTS[0]))
    random.seed(2)
    assert text_of(quiet(), asks(PROMPTS[0])) == one
