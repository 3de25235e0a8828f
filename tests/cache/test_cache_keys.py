"""When two questions are the same."""

from __future__ import annotations

import base64
import time

import msgspec
import pytest
from cache_scene import question
from hypothesis import given
from hypothesis import strategies as st

from corral.cache.keys import call_key, text_keys, value_key
from corral.messages import Caller, CallPolicy, EmbedCall, Message, ModelCall, OutputFormat, ToolSpec, as_parts

REPLACE = msgspec.structs.replace
texts = st.sampled_from(["", "a", "b", " a", "a\n", "é", "x" * 203, "˘", "data:"])
numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, -3.0, 1e300]))
json = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=4,
)
objects = st.dictionaries(texts, json, max_size=2)


parts = st.one_of(texts.map(lambda text: {"type": "text", "text": text}), objects)
messages = st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=st.lists(parts, max_size=2))
calls = st.builds(
    ModelCall,
    model=texts,
    messages=st.lists(messages, max_size=2),
    tools=st.lists(st.builds(ToolSpec, name=texts, parameters=objects), max_size=1),
    temperature=st.none() | numbers,
    max_tokens=st.sampled_from([None, 1, 2]),
    output=st.none() | st.builds(OutputFormat, schema=st.none() | objects),
    extra=objects,
)


def spelled_otherwise(value):
    """The same JSON: keys the other way round, numbers the other way."""
    if isinstance(value, dict):
        return {name: spelled_otherwise(value[name]) for name in reversed(value)}
    if isinstance(value, list):
        return [spelled_otherwise(one) for one in value]
    if type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def plain(value):
    """JSON with numbers as numbers: what two questions are compared by."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if type(value) is bool or value is None:
        return ("word", value)
    return value


@given(calls)
def test_spelling_makes_no_difference(call):
    other = REPLACE(
        call,
        messages=[REPLACE(one, content=spelled_otherwise(one.content), metadata={"a": 1}) for one in call.messages],
        tools=[REPLACE(one, parameters=spelled_otherwise(one.parameters)) for one in call.tools],
        temperature=spelled_otherwise(call.temperature),
        output=call.output and REPLACE(call.output, schema=spelled_otherwise(call.output.schema)),
        extra=spelled_otherwise(call.extra),
        stream=True,
        caller=Caller(user_id="u", session_id="s", run_id="r", tags={"a": "b"}),
        deadline=5.0,
        notes={"x": 1},
    )
    assert call_key(other) == call_key(call)


@given(calls, calls)
def test_different_questions_have_different_keys(one, other):
    def said(call):
        fields = {name: getattr(call, name) for name in ("messages", "tools", "output", "extra", "model")}
        return plain(msgspec.to_builtins({**fields, "sampling": [call.temperature, call.max_tokens]}))

    assert (call_key(one) == call_key(other)) == (said(one) == said(other))


@given(calls, texts)
def test_every_character_counts(call, text):
    def ask(said):
        return call_key(REPLACE(call, messages=[*call.messages, Message(role="user", content=as_parts(said))]))

    assert ask(text) != ask(text + " ")
    assert ask(text) != ask(text + "\n")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"messages": []},
        {"messages": [Message(role="system", content=as_parts("What is a corral?"))]},
        {"tools": [ToolSpec(name="x")]},
        {"tool_choice": "none"},
        {"parallel_tools": False},
        {"temperature": 0.1},
        {"top_p": 0.1},
        {"top_k": 1},
        {"max_tokens": 1},
        {"stop": ["x"]},
        {"seed": 1},
        {"frequency_penalty": 0.1},
        {"presence_penalty": 0.1},
        {"output": OutputFormat()},
        {"reasoning": "high"},
        {"extra": {"x": 1}},
        {"caller": Caller(tenant="evil")},
        {"policy": CallPolicy(cache_scope="s")},
        {"policy": CallPolicy(route="expert_task")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_a_difference(change):
    assert call_key(REPLACE(question(), **change)) != call_key(question())


def test_every_field_of_a_call_was_thought_of():
    known = {"stream", "deadline", "notes"} | {
        *("model", "messages", "tools", "tool_choice", "parallel_tools", "temperature", "top_p", "top_k", "max_tokens"),
        *("stop", "seed", "frequency_penalty", "presence_penalty", "output", "reasoning", "extra", "caller", "policy"),
    }
    assert set(ModelCall.__struct_fields__) == known


def test_an_image_in_a_url_is_the_one_in_place():
    content = bytes(range(256))
    text = base64.b64encode(content).decode()

    def ask(**part):
        return call_key(REPLACE(question(), messages=[Message(role="user", content=[{"type": "image", **part}])]))

    same = ask(data=text, media_type="image/png")
    assert ask(url=f"data:image/png;base64,{text}") == same
    assert ask(url=f"DATA:image/png;base64,{text}") != ask(url=f"data:image/jpeg;base64,{text}") != same
    assert ask(url="data:text/plain,a%20b") == ask(data=base64.b64encode(b"a b").decode(), media_type="text/plain")
    assert ask(url="data:image/png;base64,?") != ask(url="data:image/png;base64,!")
    assert ask(url="data:nonsense") != same
    assert ask(url="https://example.com/data:x") != same


def test_a_key_of_ones_own_replaces_the_question_and_not_the_tenant():
    def one(call):
        return "one"

    keys = {
        call_key(question(**more), one)
        for more in ({}, {"text": "other"}, {"tenant": "evil"}, {"cache_scope": "s"}, {"temperature": 1})
    }
    assert len(keys) == 3
    with pytest.raises(TypeError, match="text"):
        call_key(question(), lambda call: 5)
    with pytest.raises(TypeError):
        call_key(REPLACE(question(), extra={"x": object()}))


def test_texts_have_keys_of_their_own():
    def keys(*given, **more):
        return text_keys(EmbedCall(model="m", texts=list(given), **more))

    assert keys("a", "b", "a") == [*keys("a", "b"), *keys("a")]
    different = [
        keys("a"),
        keys("b"),
        keys("a", dimensions=5),
        keys("a", extra={"x": 1.5}),
        keys("a", caller=Caller(tenant="evil")),
        keys("a", policy=CallPolicy(cache_scope="s")),
    ]
    assert len({tuple(one) for one in different}) == 6
    assert keys("a", extra={"x": 1, "y": 2}) == keys("a", extra={"y": 2.0, "x": 1.0})
    large = [keys("a", extra={"x": number}) for number in (2**64, 2**64 + 1, -(2**64), 2**64 - 1, -(2**63))]
    assert len({tuple(one) for one in large}) == 5


def test_values_have_keys_as_well():
    assert value_key("t", "s", 1, {"a": 1.0}) == value_key("t", "s", 1.0, {"a": 1})
    assert len({value_key("t", "s"), value_key("t", "s", None), value_key("s", "t"), value_key("t", "", "s")}) == 4


def test_a_key_tells_nothing_and_is_quick():
    call = question("secret " * 150)
    key = call_key(call)
    assert len(key) == 16
    assert b"secret" not in key
    begun = time.process_time()
    for _ in range(1000):
        call_key(call)
    assert (time.process_time() - begun) / 1000 < 500e-6  # about 5 where nobody else works
