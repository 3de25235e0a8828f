from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.sessions.record import RECORD_MAX_BYTES, Transcript, drafts_of_turn


@dataclasses.dataclass
class Question:
    prompt: str


class Answered(msgspec.Struct):
    result: str
    cost: int


class Model:
    """Has the shape of a pydantic model."""

    def model_dump(self, mode="python"):
        assert mode == "json"
        return {"response": "from a model"}


class Unspeakable:
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


def user(payload):
    (draft,) = drafts_of_turn(payload, None, "ada")
    assert (draft.role, draft.actor) == ("user", "ada")
    return draft.content[0].get("text", draft.content)


def assistant(reply):
    (draft,) = drafts_of_turn(None, reply)
    assert draft.role == "assistant"
    return draft.content[0].get("text", draft.content), draft.metadata


def streamed(*pieces):
    transcript = Transcript(None)
    for piece in pieces:
        transcript.add(piece)
    drafts = transcript.drafts()
    assert len(drafts) == 1
    return drafts[0].content[0].get("text", drafts[0].content), drafts[0].metadata


def as_json(value):
    return [{"type": "json", "json": value}]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("hi", "hi"),
        ({"prompt": "hi", "input": "no"}, "hi"),
        ({"message": "hi"}, "hi"),
        ({"input": "hi", "prompt": 5}, "hi"),
        ({"text": "hi"}, "hi"),
        (Question("hi"), "hi"),
        ({"messages": [{"role": "user", "content": "old"}, {"role": "user", "content": "hi"}]}, "hi"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x"}, "odd"]}, "hi"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}, "hi"),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            as_json({"messages": [{"role": "assistant", "content": "x"}]}),
        ),
        ({"messages": "x"}, as_json({"messages": "x"})),
        ({"topic": 1}, as_json({"topic": 1})),
        ({}, as_json({})),
        (7, as_json(7)),
        ([1, 2], as_json([1, 2])),
    ],
)
def test_the_prompt_is_found_in_the_payload(payload, said):
    assert user(payload) == said


@pytest.mark.parametrize(
    ("reply", "said", "metadata"),
    [
        ("hello", "hello", {}),
        ({"result": "hello"}, "hello", {}),
        ({"response": "hello", "cost": 3}, "hello", {"reply": {"cost": 3}}),
        ({"output": "hello"}, "hello", {}),
        ({"message": "hello"}, "hello", {}),
        ({"text": "hello"}, "hello", {}),
        (Answered("hello", 3), "hello", {"reply": {"cost": 3}}),
        (Model(), "from a model", {}),
        ({"score": 1}, as_json({"score": 1}), {}),
        ({"result": {"a": 1}}, as_json({"result": {"a": 1}}), {}),
        (True, as_json(True), {}),
        ([1], as_json([1]), {}),
        ([{"type": "text", "text": "hello"}], "hello", {}),
    ],
)
def test_the_reply_is_kept_as_text_where_it_is_one(reply, said, metadata):
    assert assistant(reply) == (said, metadata)


@pytest.mark.parametrize(
    ("pieces", "said", "metadata"),
    [
        (["good", "bye"], "goodbye", {}),
        ([{"text": "good"}, {"delta": "bye"}], "goodbye", {}),
        (["good", {"data": "bye", "n": 1}], "goodbye", {}),
        ([{"text": "good"}, {"done": True}], as_json([{"text": "good"}, {"done": True}]), {}),
        ([{"result": "hello", "n": 1}], "hello", {"reply": {"n": 1}}),
        ([1, None], as_json([1, None]), {}),
        ([{"a": 1}], as_json({"a": 1}), {}),
        ([Answered("x", 1), 2], as_json([{"result": "x", "cost": 1}, 2]), {}),
        (["\ud83d", "\ude00 smiles"], "\N{GRINNING FACE} smiles", {}),
    ],
)
def test_a_stream_is_put_together(pieces, said, metadata):
    assert streamed(*pieces) == (said, metadata)


def test_a_piece_is_kept_as_it_was_when_it_came():
    transcript = Transcript(None)
    piece = {"n": 1}
    transcript.add(piece)
    piece["n"] = 2
    transcript.add(piece)
    assert transcript.drafts()[0].content == as_json([{"n": 1}, {"n": 2}])


def test_a_turn_without_words_leaves_nothing():
    assert drafts_of_turn(None, None) == []
    assert [draft.role for draft in drafts_of_turn("hi", "hello")] == ["user", "assistant"]


def test_a_streamed_answer_goes_before_a_value():
    transcript = Transcript("hi", actor="ada")
    transcript.add("streamed")
    transcript.reply("value")
    assert transcript.drafts()[1].content[0]["text"] == "streamed"


@pytest.mark.parametrize("size", [RECORD_MAX_BYTES, RECORD_MAX_BYTES + 1])
def test_a_long_text_is_cut_and_says_so(size):
    for text, metadata in (assistant("x" * size), streamed(*["x" * 1000] * 1000, "x" * (size - RECORD_MAX_BYTES))):
        assert len(text) == RECORD_MAX_BYTES
        assert metadata == ({"truncated": True} if size > RECORD_MAX_BYTES else {})


def test_a_long_text_is_measured_as_it_is_kept():
    text, metadata = assistant("é" * RECORD_MAX_BYTES)
    assert text == "é" * (RECORD_MAX_BYTES // 2)
    assert metadata == {"truncated": True}


def test_what_comes_after_the_cut_is_not_collected():
    transcript = Transcript(None)
    for _ in range(3):
        transcript.add("x" * RECORD_MAX_BYTES)
    assert len(transcript._pieces) == 2
    assert len(transcript.drafts()[0].content[0]["text"]) == RECORD_MAX_BYTES


def test_a_long_stream_of_objects_is_cut_between_two_of_them():
    said, metadata = streamed({"n": 1}, {"x": "x" * RECORD_MAX_BYTES}, {"n": 2})
    assert said == as_json({"n": 1})
    assert metadata == {"truncated": True}
    said, metadata = streamed({"x": "x" * RECORD_MAX_BYTES})
    assert said == ""
    assert metadata == {"truncated": True}


def test_a_large_object_is_kept_as_the_beginning_of_its_json():
    text, metadata = assistant({"x": "x" * RECORD_MAX_BYTES})
    assert text.startswith('{"x":"xxx')
    assert len(text) == RECORD_MAX_BYTES
    assert metadata == {"truncated": True}
    text, metadata = assistant({"result": "short", "x": "x" * RECORD_MAX_BYTES})
    assert (text, metadata) == ("short", {"truncated": True})


@pytest.mark.parametrize(
    ("value", "said"),
    [({1, 2}, [1, 2]), (object, "<class 'object'>"), (Unspeakable(), "<Unspeakable>"), ("\ud800", "�")],
)
def test_whatever_an_agent_says_can_be_kept(value, said):
    text, _ = assistant(value)
    assert text in (said, as_json(said))


def test_text_that_no_encoding_carries_is_mended_inside_objects_too():
    said, _ = assistant({"a": "\ud800"})
    assert msgspec.json.encode(said) == b"\"{'a': '\\\\ud800'}\""


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=10,
)


@given(anything, st.lists(anything, max_size=4))
def test_every_turn_can_be_recorded(payload, pieces):
    transcript = Transcript(payload)
    for piece in pieces:
        transcript.add(piece)
    if not pieces:
        transcript.reply(payload)
    for draft in transcript.drafts():
        assert msgspec.json.decode(msgspec.json.encode(draft.content)) == draft.content
