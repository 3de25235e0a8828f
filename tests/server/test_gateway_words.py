"""What the gateway reads and writes, held against the types of OpenAI's own client."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.messages import Delta, ModelCall, ModelReply, Usage
from corral.server.gateway.chat_reading import read_chat
from corral.server.gateway.chat_writing import DONE, ChunkWriter, completion
from corral.server.gateway.embeddings import embedding_list, read_embeddings
from corral.server.gateway.reading import RequestInvalid
from corral.server.gateway.responses_reading import read_response
from corral.server.gateway.responses_writing import EventWriter, response

TEXT = st.text(max_size=20)
PARTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXT),
    st.builds(lambda text: {"type": "reasoning", "text": text}, TEXT),
    st.builds(
        lambda name, given: {"type": "tool_use", "id": "call_1", "name": name or "f", "input": given},
        TEXT,
        st.dictionaries(TEXT, st.integers() | TEXT, max_size=3),
    ),
)
COUNT = st.integers(0, 10_000)
REPLIES = st.builds(
    ModelReply,
    id=st.just("r-1"),
    model=st.just("small"),
    content=st.lists(PARTS, max_size=4),
    stop_reason=st.sampled_from(["end", "length", "stop_sequence", "tool_use", "content_filter", "refusal", "other"]),
    usage=st.builds(Usage, input=COUNT, cache_read=COUNT, cache_write=COUNT, output=COUNT, reasoning=COUNT),
)
CALL = ModelCall(model="sim/small", messages=[])


def deltas_of(reply: ModelReply) -> list[Delta]:
    found = []
    for at, part in enumerate(reply.content):
        if part["type"] == "tool_use":
            found.append(Delta("tool_use", index=at, id=part["id"], name=part["name"]))
            text, kind = json.dumps(part["input"]), "tool_input"
        else:
            text, kind = part["text"], part["type"]
        middle = len(text) // 2
        found += [Delta(kind, piece, index=at) for piece in (text[:middle], text[middle:])]
    return found


@settings(deadline=None, max_examples=25)
@given(REPLIES)
def test_a_completion_is_one(reply):
    from openai.types.chat import ChatCompletion

    found = ChatCompletion.model_validate(completion(reply, 5.0), strict=True)
    message = found.choices[0].message
    said = reply.text
    assert (message.refusal if reply.stop_reason == "refusal" else message.content or "") == said
    assert [json.loads(call.function.arguments) for call in message.tool_calls or ()] == [
        part["input"] for part in reply.tool_uses
    ]
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens == reply.usage.total


@settings(deadline=None, max_examples=25)
@given(REPLIES, st.booleans())
def test_chunks_add_up_to_the_completion(reply, wants_usage):
    from openai.types.chat import ChatCompletionChunk

    writer = ChunkWriter(reply_id="r-1", model="small", created=5.0, wants_usage=wants_usage)
    raw = writer.first() + b"".join(writer.piece(delta) for delta in deltas_of(reply)) + writer.end(reply)
    assert raw.endswith(DONE)
    chunks = [
        ChatCompletionChunk.model_validate(json.loads(event.removeprefix(b"data: ")))
        for event in raw.removesuffix(DONE).split(b"\n\n")[:-1]
    ]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == reply.text
    arguments: dict[int, str] = {}
    for chunk in chunks:
        for call in (chunk.choices[0].delta.tool_calls if chunk.choices else None) or ():
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    assert [json.loads(arguments[at]) for at in sorted(arguments)] == [part["input"] for part in reply.tool_uses]
    whole = completion(reply, 5.0)
    last = [chunk for chunk in chunks if chunk.choices][-1]
    assert last.choices[0].finish_reason == whole["choices"][0]["finish_reason"]
    assert (chunks[-1].usage is not None) == wants_usage


@pytest.mark.parametrize("events", [False, True])
def test_pieces_that_came_at_once_are_written_as_if_they_had_come_one_by_one(events):
    def writer():
        if events:
            return EventWriter(CALL, reply_id="r", model="small", created=5.0)
        return ChunkWriter(reply_id="r", model="small", created=5.0, wants_usage=True)

    def written(*deltas):
        out = writer()
        raw = b"".join(out.piece(delta) for delta in deltas)
        return re.sub(rb"(msg|rs)_[0-9a-f]+", b"id", raw)

    thought, second = Delta("reasoning", "Hm", 0), Delta("text", "!", 1)
    pieces = ('He"', "llö", " you")
    together = Delta("text", "".join(pieces), 1, pieces=pieces)
    one_by_one = [Delta("text", piece, 1) for piece in pieces]
    assert written(thought, together, second) == written(thought, *one_by_one, second)


@settings(deadline=None, max_examples=25)
@given(REPLIES)
def test_a_response_is_one(reply):
    from openai.types.responses import Response

    found = Response.model_validate(response(CALL, reply, 5.0))
    assert found.output_text == reply.text
    assert (found.status == "incomplete") == (reply.stop_reason in {"length", "content_filter"})


@settings(deadline=None, max_examples=25)
@given(REPLIES)
def test_events_build_the_response(reply):
    from openai.types.responses import ResponseStreamEvent
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    writer = EventWriter(CALL, reply_id="", model="small", created=5.0)
    raw = writer.first() + b"".join(writer.piece(delta) for delta in deltas_of(reply)) + writer.end(reply)
    events = [adapter.validate_json(block.partition(b"data: ")[2]) for block in raw.split(b"\n\n")[:-1]]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type in {"response.completed", "response.incomplete"}
    assert events[-1].response.id == events[0].response.id
    added = [event for event in events if event.type == "response.output_item.added"]
    done = [event for event in events if event.type == "response.output_item.done"]
    assert [event.item.id for event in added] == [event.item.id for event in done]
    assert events[-1].response.output_text == reply.text


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_conversation_with_tools_is_read():
    asked = read_chat(
        {
            "model": "gpt-4.1-mini",
            "messages": [
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "name": "ann", "content": [
                    {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ]},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}},
                    {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{broken"}},
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
            ],
            "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "look"}},
            "max_completion_tokens": 5, "temperature": 0, "stop": "x", "stream": True,
            "stream_options": {"include_usage": True}, "user": "ann", "metadata": {"team": "a"},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "logit_bias": {"5": 1}, "n": 1, "store": False,
        },
        "auto",
    )  # fmt: skip
    call = asked.call
    assert (call.model, call.max_tokens, call.temperature, call.stop, call.stream) == (
        "gpt-4.1-mini",
        5,
        0.0,
        ["x"],
        True,
    )
    assert (call.tool_choice, asked.user, asked.tags, asked.wants_usage) == ("tool:look", "ann", {"team": "a"}, True)
    assert call.extra == {"logit_bias": {"5": 1}}
    assert [message.role for message in call.messages] == ["system", "user", "assistant", "tool"]
    text, inline, linked = call.messages[1].content
    assert text["cache"] is True
    assert (inline["media_type"], inline["data"], linked["url"]) == ("image/png", "aGk=", "https://example.com/a.png")
    good, bad = call.messages[2].content
    assert (good["input"], bad["input"], bad["input_text"]) == ({"at": 1}, {}, "{broken")
    assert call.messages[3].content[0]["content"] == [{"type": "text", "text": "a cat"}]


def test_whose_request_it_is_goes_to_the_provider_only_beside_another_name():
    said = {"messages": [{"role": "user", "content": "Hi"}], "safety_identifier": "s-1"}
    one, two = read_chat(said, "auto"), read_chat(said | {"user": "ann"}, "auto")
    assert (one.user, one.call.extra) == ("s-1", {})
    assert (two.user, two.call.extra) == ("ann", {"safety_identifier": "s-1"})


def test_a_call_that_names_no_model_asks_the_default():
    assert read_chat({"messages": [{"role": "user", "content": "Hi"}]}, "auto").call.model == "auto"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "cat", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "a"}], "n": 2}, "n"),
        ({"messages": [{"role": "user", "content": "a"}], "temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "user", "content": "a"}], "temperature": 10**400}, "temperature"),
        ({"messages": [{"role": "user", "content": "a"}], "metadata": ["a"]}, "metadata"),
        ({"messages": [{"role": "user", "content": "a"}], "max_tokens": 0}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "a"}], "stop": [1]}, "stop"),
        ({"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "web"}]}, "tools[0].type"),
        ({"messages": [{"role": "user", "content": "a"}], "tool_choice": "maybe"}, "tool_choice"),
        ({"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_what_is_wrong_is_named(body, param):
    with pytest.raises(RequestInvalid) as caught:
        read_chat(body, "auto")
    assert caught.value.param == param
    assert caught.value.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "type", "text", "input", "tools", "model", "function", "name", "user"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=25)
@given(JSON, st.sampled_from([read_chat, read_response]))
def test_whatever_is_sent_is_a_call_or_refused(body, read):
    with suppress(RequestInvalid):
        assert read(body, "auto").call.messages


def test_the_newer_api_is_read():
    asked = read_response(
        {
            "model": "gpt-5",
            "instructions": "Be kind.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
            ],
            "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}],
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_object"}},
            "max_output_tokens": 9,
        },
        "auto",
    )
    call = asked.call
    assert [message.role for message in call.messages] == ["system", "user", "assistant", "tool"]
    assert [part["type"] for part in call.messages[2].content] == ["reasoning", "tool_use"]
    assert (call.reasoning, call.max_tokens, call.tools[0].strict) == ("low", 9, True)


@pytest.mark.parametrize("given", ["", []])
def test_an_input_of_nothing_is_said_to_be_empty(given):
    with pytest.raises(RequestInvalid, match="`input` is empty") as raised:
        read_response({"input": given, "instructions": "Be brief."}, "auto")
    assert raised.value.param == "input"


def test_messages_may_be_empty_as_openai_lets_them_be():
    for content in ("", []):
        said = {"role": "user", "content": content}
        assert len(read_chat({"messages": [said]}, "auto").call.messages) == 1
        assert len(read_response({"input": [said]}, "auto").call.messages) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"input": "Hi", "previous_response_id": "r"},
        {"input": []},
        {"input": [{"type": "web_search_call"}]},
        {"input": "Hi", "max_output_tokens": 0},
        {"input": "Hi", "temperature": 10**400},
        {"input": "Hi", "max_output_tokens": -1_000_000},
    ],
)
def test_what_the_newer_api_cannot_ask_here(body):
    with pytest.raises(RequestInvalid):
        read_response(body, "auto")


def test_embeddings_are_read_and_written():
    import base64
    import struct

    from corral.messages import EmbedReply

    asked = read_embeddings({"model": "m", "input": "a", "encoding_format": "base64", "dimensions": 2})
    assert (asked.call.texts, asked.call.dimensions, asked.as_base64) == (["a"], 2, True)
    reply = EmbedReply(vectors=[[0.5, -1.0]], model="m")
    packed = embedding_list(reply, as_base64=True)["data"][0]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(packed)) == (0.5, -1.0)
    assert embedding_list(reply, as_base64=False)["data"][0]["embedding"] == [0.5, -1.0]


@pytest.mark.parametrize(
    "body",
    [{}, {"model": "m", "input": []}, {"model": "m", "input": [1, 2]}, {"input": "a"}, {"model": "m", "input": "a", "dimensions": 0},
     {"model": "m", "input": "a", "dimensions": 10**9},
     {"model": "m", "input": "a", "encoding_format": "hex"}, {"model": "m", "input": ["a"] * 2049}],
)  # fmt: skip
def test_what_cannot_be_embedded(body):
    with pytest.raises(RequestInvalid):
        read_embeddings(body)
