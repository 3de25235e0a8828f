from __future__ import annotations

import base64
import functools
import itertools
import json
from typing import Any

import msgspec
import pydantic
import pytest
from anthropic.types import Message as SdkMessage
from anthropic.types import message_create_params
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelTimeout,
    ModelUnavailable,
)
from corral.messages import Message, ModelCall, ModelReply, OutputFormat, ToolSpec, Usage
from corral.models.wire import anthropic_reply as answers
from corral.models.wire.anthropic_errors import failure, limits_seen
from corral.models.wire.anthropic_request import request
from corral.models.wire.claude import claude, closed
from corral.models.wire.retry_after import retry_after_s, until_s
from corral.models.wire.sse import SseReader

OLD, BUDGET, BOTH, NEW, ALWAYS = (
    "claude-3-5-haiku-20241022",
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-6",
    "claude-opus-5",
    "claude-opus-5-5",
)
PIXEL = base64.b64encode(b"\x89PNG").decode()


def said(role: str, *parts: dict[str, Any] | str) -> Message:
    return Message(role=role, content=[{"type": "text", "text": p} if isinstance(p, str) else p for p in parts])


def body(call: ModelCall, **options: Any) -> dict[str, Any]:
    return json.loads(request(call, options).encoded())


def asked(model: str = BUDGET, *messages: Message, **more: Any) -> dict[str, Any]:
    return body(ModelCall(model=model, messages=list(messages) or [said("user", "Hi")], **more))


# -- messages


def test_turns_alternate_and_what_instructs_stands_at_the_top() -> None:
    sent = asked(
        BUDGET,
        said("system", "Be brief."),
        said("user", "a"),
        said("other", "b"),
        said("system", "Be kind."),
        said("assistant", "c", ""),
        said("assistant", {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}),
        said("tool", {"type": "tool_result", "tool_use_id": "t", "content": "42", "is_error": True}),
        said("user", "d"),
    )
    assert sent["system"] == [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "c"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "text", "text": "42"}],
                    "is_error": True,
                },
                {"type": "text", "text": "d"},
            ],
        },
    ]


def test_newer_models_are_instructed_where_the_instruction_stands() -> None:
    sent = asked(
        NEW,
        said("system", "one"),
        said("user", "a"),
        said("system", "two"),
        said("user", "b"),
        said("assistant", "c"),
        said("system", "three"),
        said("assistant", "d"),
        said("user", "e"),
        said("system", "four"),
    )
    assert [(m["role"], "".join(b["text"] for b in m["content"])) for m in sent["messages"]] == [
        ("user", "ab"),
        ("system", "two"),
        ("assistant", "cd"),
        ("user", "e"),
        ("system", "four"),
    ]
    assert [block["text"] for block in sent["system"]] == ["one", "three"]


def test_images_and_documents() -> None:
    text = base64.b64encode("Grüße".encode()).decode()
    sent = asked(
        BUDGET,
        said(
            "user",
            {"type": "image", "data": PIXEL, "media_type": "image/png"},
            {"type": "image", "url": "https://example.com/a.png"},
            {"type": "image", "url": f"data:image/png;base64,{PIXEL}"},
            {"type": "file", "data": "JVBERg==", "media_type": "application/pdf", "name": "a.pdf"},
            {"type": "file", "url": "https://example.com/a.pdf"},
            {"type": "file", "data": text, "media_type": "text/markdown"},
            {"type": "json", "json": {"a": 1}},
        ),
    )
    here = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert sent["messages"][0]["content"] == [
        {"type": "image", "source": here},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": here},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}},
        {"type": "text", "text": '{"a":1}'},
    ]


@pytest.mark.parametrize("part", [{"type": "image"}, {"type": "file", "data": "//8=", "media_type": "text/plain"}])
def test_parts_that_cannot_be_sent_say_why(part: dict[str, Any]) -> None:
    with pytest.raises(ModelRequestInvalid, match=r"needs `data`|is not base64 of UTF-8"):
        asked(BUDGET, said("user", part))


def test_marks_for_the_prefix_cache() -> None:
    cached = {"type": "text", "text": "long", "cache": True}
    call = ModelCall(
        model=BUDGET,
        messages=[
            said("system", cached),
            said("user", cached, {"type": "image", "url": "https://a/b", "cache": True}),
            said("assistant", {"type": "reasoning", "text": "", "signature": "s", "cache": True}),
        ],
    )
    sent = body(call)
    assert sent["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert [block.get("cache_control") for block in sent["messages"][0]["content"]] == [{"type": "ephemeral"}] * 2
    assert "cache_control" not in sent["messages"][1]["content"][0]
    assert body(call, cache_ttl="1h")["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_thoughts_go_back_signed_and_those_of_others_stay() -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    sent = asked(
        BUDGET,
        said("user", "a"),
        said(
            "assistant",
            {"type": "reasoning", "text": "mine", "signature": "s"},
            {"type": "reasoning", "text": "", "data": "secret"},
            {"type": "reasoning", "text": "of another"},
            block,
        ),
    )
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "mine", "signature": "s"},
        {"type": "redacted_thinking", "data": "secret"},
        block,
    ]


# -- tools, sampling, thinking, JSON


def test_tools_and_how_they_are_chosen() -> None:
    tools = [
        ToolSpec(name="f", description="F.", parameters={"type": "object", "properties": {"a": {}}}, strict=True),
        ToolSpec(name="g"),
    ]
    sent = asked(tools=tools, tool_choice="required", parallel_tools=False)
    assert sent["tools"] == [
        {
            "name": "f",
            "description": "F.",
            "strict": True,
            "input_schema": {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
        },
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert sent["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert asked(tools=tools, tool_choice="tool:g")["tool_choice"] == {"type": "tool", "name": "g"}
    assert asked(tools=tools, tool_choice="none")["tool_choice"] == {"type": "none"}
    assert "tool_choice" not in asked(tools=tools)
    assert asked(ALWAYS, tools=tools, tool_choice="required")["tool_choice"] == {"type": "auto"}
    assert "strict" not in asked(OLD, tools=tools)["tools"][0]
    assert "tool_choice" not in asked(tool_choice="required")


def test_sampling_is_sent_where_it_is_taken() -> None:
    hot = {"temperature": 1.7, "top_p": 0.5, "top_k": 3, "stop": ["END"], "max_tokens": 9}
    sent = asked(OLD, **hot)
    assert (sent["temperature"], sent["top_p"], sent["top_k"], sent["stop_sequences"]) == (1.0, 0.5, 3, ["END"])
    assert "top_p" not in asked(BUDGET, **hot)
    assert asked(BUDGET, top_p=0.5)["top_p"] == 0.5
    assert not {"temperature", "top_p", "top_k"} & set(asked(NEW, **hot))
    assert asked(extra={"temperature": 0.1}, stream=True) == {**asked(), "temperature": 0.1, "stream": True}


@pytest.mark.parametrize(
    ("model", "default"), [("claude-3-opus-20240229", 4096), (OLD, 8192), (BUDGET, 16_000), ("whatever", 16_000)]
)
def test_a_number_of_tokens_is_always_sent(model: str, default: int) -> None:
    assert asked(model)["max_tokens"] == default
    assert body(ModelCall(model=model, messages=[said("user", "a")]), max_tokens=7)["max_tokens"] == 7
    assert asked(model, max_tokens=5)["max_tokens"] == 5


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "effort"),
    [
        (OLD, "high", None, None),
        (BUDGET, "", None, None),
        (BUDGET, "none", None, None),
        (BUDGET, "minimal", {"type": "enabled", "budget_tokens": 1024}, None),
        (BUDGET, "medium", {"type": "enabled", "budget_tokens": 8192}, None),
        (BUDGET, "2000", {"type": "enabled", "budget_tokens": 2000}, None),
        (BUDGET, "20", {"type": "enabled", "budget_tokens": 1024}, None),
        (BOTH, "5000", {"type": "enabled", "budget_tokens": 5000}, None),
        (BOTH, "high", {"type": "adaptive", "display": "summarized"}, "high"),
        (NEW, "minimal", {"type": "adaptive", "display": "summarized"}, "low"),
        (NEW, "5000", {"type": "adaptive", "display": "summarized"}, "medium"),
        (NEW, "99999", {"type": "adaptive", "display": "summarized"}, "xhigh"),
        (NEW, "none", {"type": "disabled"}, None),
        ("claude-sonnet-5-5", "none", {"type": "between_tools"}, None),
        (ALWAYS, "none", None, "low"),
        ("claude-opus-4-8", "none", None, None),
    ],
)
def test_thinking(model: str, reasoning: str, thinking: dict[str, Any] | None, effort: str | None) -> None:
    sent = asked(model, reasoning=reasoning)
    assert sent.get("thinking") == thinking
    assert sent.get("output_config", {}).get("effort") == effort


def test_thinking_leaves_room_for_the_answer() -> None:
    assert asked(BUDGET, reasoning="32000")["max_tokens"] == 48_000
    assert asked(BUDGET, reasoning="high", max_tokens=4000)["thinking"]["budget_tokens"] == 2000
    assert "thinking" not in asked(BUDGET, reasoning="high", max_tokens=1500)
    assert "temperature" not in asked(BUDGET, reasoning="high", temperature=0.5)
    forced = {"tools": [ToolSpec(name="f")], "tool_choice": "required", "reasoning": "high"}
    assert "thinking" not in asked(BUDGET, **forced)
    assert "thinking" not in asked(NEW, **forced)


def test_json_by_schema_by_tool_and_by_asking() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}
    by_schema = request(ModelCall(model=BUDGET, messages=[said("user", "a")], output=OutputFormat(schema=schema)), {})
    assert by_schema.answer_tool == ""
    assert by_schema.body["output_config"]["format"] == {"type": "json_schema", "schema": closed(schema)}
    by_tool = request(ModelCall(model=OLD, messages=[said("user", "a")], output=OutputFormat(schema=schema)), {})
    assert by_tool.answer_tool == "answer"
    assert by_tool.body["tools"][0]["input_schema"] == schema
    assert by_tool.body["tool_choice"] == {"type": "tool", "name": "answer", "disable_parallel_tool_use": True}
    beside = request(
        ModelCall(model=BUDGET, messages=[said("user", "a")], tools=[ToolSpec(name="f")], output=OutputFormat()), {}
    )
    assert beside.body["tool_choice"]["type"] == "any"
    by_asking = request(ModelCall(model=ALWAYS, messages=[said("user", "a")], output=OutputFormat()), {})
    assert by_asking.answer_tool == ""
    assert "JSON" in by_asking.body["system"][0]["text"]


def test_closing_a_schema_leaves_values_and_names_alone() -> None:
    schema = {
        "type": "object",
        "properties": {
            "properties": {"type": "string", "default": {"type": "object"}},
            "b": {"enum": [{"type": "object"}]},
        },
        "$defs": {"x": {"anyOf": [{"type": "object"}, {"type": "null"}]}},
    }
    assert closed(schema) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "properties": {"type": "string", "default": {"type": "object"}},
            "b": {"enum": [{"type": "object"}]},
        },
        "$defs": {"x": {"anyOf": [{"type": "object", "additionalProperties": False}, {"type": "null"}]}},
    }


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", BUDGET),
        ("anthropic/claude-sonnet-4.5", BUDGET),
        ("claude-mythos-preview", "claude-fable-5"),
        ("claude-opus-4-20250514", "claude-opus-4-0"),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", OLD),
        ("anthropic.claude-v2:1", "claude-2.1"),
        ("claude-3-7-sonnet-20250219", "claude-3-7-sonnet-latest"),
    ],
)
def test_a_model_is_known_by_its_version_wherever_it_is(name: str, like: str) -> None:
    assert claude(name) == claude(like)


# -- the official SDK's own types take what we send

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
objects = st.dictionaries(names, st.none() | st.booleans() | st.integers(-99, 99) | words, max_size=3)
simple_parts = st.one_of(
    st.builds(lambda t, c: {"type": "text", "text": t} | ({"cache": True} if c else {}), words, st.booleans()),
    st.builds(
        lambda d: {"type": "image", "data": base64.b64encode(d).decode(), "media_type": "image/png"},
        st.binary(max_size=9),
    ),
    st.just({"type": "image", "url": "https://example.com/a.png"}),
    st.builds(
        lambda t: {"type": "file", "data": base64.b64encode(t.encode()).decode(), "media_type": "text/plain"}, words
    ),
    st.builds(lambda o: {"type": "json", "json": o}, objects),
)
parts = st.one_of(
    simple_parts,
    st.builds(lambda t, s: {"type": "reasoning", "text": t, "signature": s}, words, words),
    st.builds(lambda d: {"type": "reasoning", "text": "", "data": d}, words),
    st.builds(lambda i, n, o: {"type": "tool_use", "id": i, "name": n, "input": o}, names, names, objects),
    st.builds(
        lambda i, c, e: {"type": "tool_result", "tool_use_id": i, "content": c, "is_error": e},
        names,
        st.lists(simple_parts, max_size=2),
        st.booleans(),
    ),
)
messages = st.builds(
    lambda role, content: Message(role=role, content=content),
    st.sampled_from(["user", "assistant", "tool", "other"]),
    st.lists(parts, max_size=3),
) | st.builds(lambda text: said("system", text), words)
schemas = st.builds(
    lambda p: {"type": "object", "properties": {name: {"type": "string"} for name in p}}, st.lists(names, max_size=3)
)
calls = st.builds(
    ModelCall,
    model=st.sampled_from([OLD, BUDGET, BOTH, NEW, ALWAYS, "claude-sonnet-5-5"]),
    messages=st.lists(messages, min_size=1, max_size=6),
    tools=st.lists(
        st.builds(ToolSpec, name=names, description=words, parameters=schemas, strict=st.booleans()), max_size=2
    ),
    tool_choice=st.sampled_from(["", "auto", "none", "required", "tool:f"]),
    parallel_tools=st.none() | st.booleans(),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 99),
    max_tokens=st.none() | st.integers(1, 9999),
    stop=st.lists(words, max_size=2),
    output=st.none() | st.builds(OutputFormat, schema=st.none() | schemas),
    reasoning=st.sampled_from(["", "none", "minimal", "low", "medium", "high", "9000"]),
    stream=st.booleans(),
)


@functools.cache
def params() -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(message_create_params.MessageCreateParamsNonStreaming)


def consumed(value: Any) -> None:
    """The official types look at items of a list only when somebody takes them."""
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(value, str | bytes | int | float | bool | None):
        return
    for item in value:
        consumed(item)


OURS = {"temperature", "top_p", "top_k", "stream"}


@settings(max_examples=60, deadline=None)
@given(calls)
def test_the_official_types_take_what_is_sent(call: ModelCall) -> None:
    sent = body(call)
    sampling = {key: sent.pop(key) for key in OURS & set(sent)}
    assert not (set(sampling) - {"stream"}) or claude(call.model).samples
    consumed(params().validate_python(sent))
    roles = [message["role"] for message in sent["messages"]]
    assert all(one != two for one, two in itertools.pairwise(roles))
    assert all(message["content"] for message in sent["messages"])
    if sent.get("thinking", {}).get("type") == "enabled":
        assert 1024 <= sent["thinking"]["budget_tokens"] < sent["max_tokens"]
        assert sent.get("tool_choice", {}).get("type") not in {"any", "tool"}


def test_what_another_provider_left_in_a_conversation_stays_behind() -> None:
    left = [
        {"type": "reasoning", "text": "x", "data": "sealed", "id": "rs_1"},
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "text", "text": "kept"},
    ]
    sent = asked(BUDGET, said("user", "a"), said("assistant", *left))
    assert [block["text"] for block in sent["messages"][1]["content"]] == ["kept"]


# -- answers

WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": BUDGET,
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Grüße, Wörld", "citations": None},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": [1, "ü"]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 7,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 8},
    },
}
EXPECTED = ModelReply(
    id="msg_1",
    model=BUDGET,
    content=[
        {"type": "reasoning", "text": "Hm.", "signature": "sig"},
        {"type": "reasoning", "text": "", "data": "xyz"},
        {"type": "text", "text": "Grüße, Wörld"},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": [1, "ü"]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    stop_reason="tool_use",
    usage=Usage(input=10, cache_write=5, cache_read=7, output=12, reasoning=8),
)


def events_of(message: dict[str, Any], size: int = 3) -> bytes:
    """The stream that says what the whole answer says."""
    usage = message["usage"]
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {
                **message,
                "content": [],
                "stop_reason": None,
                "usage": {**usage, "output_tokens": 1, "output_tokens_details": None},
            },
        },
        {"type": "ping"},
    ]
    for index, block in enumerate(message["content"]):
        kind, pieces = block["type"], []
        start = block
        if kind == "text":
            start = {"type": "text", "text": ""}
            pieces = [
                {"type": "text_delta", "text": block["text"][at : at + size]}
                for at in range(0, len(block["text"]), size)
            ]
        elif kind == "thinking":
            start = {"type": "thinking", "thinking": "", "signature": ""}
            pieces = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif "input" in block:
            start = {**block, "input": {}}
            text = json.dumps(block["input"], ensure_ascii=False)
            pieces = [
                {"type": "input_json_delta", "partial_json": text[at : at + size]} for at in range(0, len(text), size)
            ]
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces]
        events.append({"type": "content_block_stop", "index": index})
    events.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": {key: usage[key] for key in ("output_tokens", "output_tokens_details")},
        }
    )
    events.append({"type": "message_stop"})
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode() for event in events
    )


def streamed(raw: list[bytes], answer_tool: str = "") -> tuple[list[Any], answers.AnthropicStream]:
    reader, stream, deltas = SseReader(), answers.AnthropicStream(answer_tool), []
    for chunk in raw:
        for _, data in reader.feed(chunk):
            stream.take(answers.decode_event(data))
            deltas += stream.came()
    return deltas, stream


def test_a_whole_answer() -> None:
    SdkMessage.model_validate(WHOLE)
    assert answers.reply(json.dumps(WHOLE).encode()) == (EXPECTED, True)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_stream_says_what_the_whole_answer_says_wherever_its_bytes_are_cut(data: st.DataObject) -> None:
    raw = events_of(WHOLE, data.draw(st.integers(1, 20)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=12)) | {0, len(raw)})
    deltas, stream = streamed([raw[a:b] for a, b in itertools.pairwise(cuts)])
    assert stream.reply() == EXPECTED
    assert stream.whole
    assert stream.counted
    assert "".join(delta.text for delta in deltas if delta.kind == "text") == "Grüße, Wörld"
    assert [(d.index, d.id, d.name) for d in deltas if d.kind == "tool_use"] == [(4, "t1", "f"), (5, "t2", "g")]
    assert "".join(d.text for d in deltas if d.kind == "tool_input" and d.index == 4) == '{"x": [1, "ü"]}'


def test_what_comes_back_can_be_sent_back() -> None:
    reply, _ = answers.reply(json.dumps(WHOLE).encode())
    sent = asked(BUDGET, said("user", "a"), reply.as_message())
    content = [{k: v for k, v in block.items() if k != "citations"} for block in WHOLE["content"]]
    assert sent["messages"][1]["content"] == content


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop_sequence"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
        ("news", "other"),
    ],
)
def test_why_it_stopped(theirs: str, ours: str) -> None:
    message = {**WHOLE, "stop_reason": theirs}
    assert answers.reply(json.dumps(message).encode())[0].stop_reason == ours
    assert streamed([events_of(message)])[1].reply().stop_reason == ours


def test_the_tool_that_stands_for_the_answer_is_the_answer() -> None:
    block = {"type": "tool_use", "id": "t", "name": "answer", "input": {"a": 1}}
    message = {**WHOLE, "content": [block]}
    reply, _ = answers.reply(json.dumps(message).encode(), "answer")
    assert (reply.text, reply.stop_reason, reply.tool_uses) == ('{"a":1}', "end", [])
    deltas, stream = streamed([events_of(message)], "answer")
    assert {delta.kind for delta in deltas} == {"text"}
    assert (json.loads(stream.reply().text), stream.reply().stop_reason) == ({"a": 1}, "end")


def test_lookalikes_may_say_things_at_once_or_not_at_all() -> None:
    start = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
    }
    stream = answers.AnthropicStream()
    stream.take(answers.decode_event(json.dumps(start).encode()))
    deltas = stream.came()
    assert [delta.kind for delta in deltas] == ["tool_use", "tool_input"]
    assert stream.reply().content == [{"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}]
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}
    stream.take(answers.decode_event(json.dumps(end).encode()))
    assert not stream.came()
    assert (stream.whole, stream.counted) == (True, False)
    assert answers.reply(b'{"content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}')[1] is False
    with pytest.raises(KeyError):
        stream.take(answers.EventJson(type="content_block_delta", index=7, delta=answers.DeltaJson(type="text_delta")))


def test_citations_and_a_servers_own_blocks_are_kept() -> None:
    stream = answers.AnthropicStream()
    for event in (
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"n": 1}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"q'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "news"}},
    ):
        stream.take(answers.decode_event(json.dumps(event).encode()))
    assert stream.reply().content == [
        {"type": "text", "text": "x", "citations": [{"n": 1}]},
        {"type": "server_tool_use", "id": "s", "name": "w", "input": {}, "input_text": '{"q'},
    ]


@given(st.builds(answers.UsageJson, *[st.none() | st.integers(0, 10**6)] * 4), st.integers(0, 10**6))
def test_kinds_of_usage_sum_up_to_what_was_said(said: answers.UsageJson, thought: int) -> None:
    said = msgspec.structs.replace(said, output_tokens_details=answers.OutputDetails(thought))
    usage = said.over(Usage())
    assert usage.output_tokens == (said.output_tokens or 0)
    assert usage.input_tokens == sum(
        n or 0 for n in (said.input_tokens, said.cache_read_input_tokens, said.cache_creation_input_tokens)
    )


# -- refusals


@pytest.mark.parametrize(
    ("status", "kind", "words", "error"),
    [
        (429, "rate_limit_error", "slow down", ModelRateLimited),
        (529, "overloaded_error", "Overloaded", ModelUnavailable),
        (500, "api_error", "Internal", ModelUnavailable),
        (504, "timeout_error", "slow", ModelTimeout),
        (401, "authentication_error", "invalid x-api-key", ModelAuthFailed),
        (403, "permission_error", "no", ModelAuthFailed),
        (402, "billing_error", "pay", ModelAuthFailed),
        (404, "not_found_error", "model: x", ModelNotFound),
        (413, "request_too_large", "Request exceeds the maximum size", ContextTooLong),
        (409, "conflict_error", "twice", ModelFailed),
        (400, "invalid_request_error", "max_tokens: required", ModelRequestInvalid),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", ContextTooLong),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 9", ContextTooLong),
        (400, "invalid_request_error", "Output blocked by content filtering policy", ContentFiltered),
        (400, "invalid_request_error", "Your credit balance is too low", ModelAuthFailed),
        (422, "news", "?", ModelRequestInvalid),
        (503, "news", "?", ModelUnavailable),
        (429, "", "", ModelRateLimited),
    ],
)
def test_refusals(status: int, kind: str, words: str, error: type[ModelFailed]) -> None:
    raw = json.dumps({"type": "error", "error": {"type": kind, "message": words}}).encode()
    failed = failure("there", "m", status, raw, {"retry-after": "7"}, 0.0)
    assert type(failed) is error
    assert (failed.provider, failed.model, failed.provider_status, failed.provider_code) == ("there", "m", status, kind)
    assert failed.retry_after_s == 7
    assert words in failed.message


def test_a_page_of_a_proxy_is_shown_shortened() -> None:
    failed = failure("there", "m", 502, b"<html>" + b"x" * 9000, {}, 0.0)
    assert type(failed) is ModelUnavailable
    assert len(failed.message) < 600


def test_limits() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:00Z",
        "anthropic-ratelimit-input-tokens-limit": "1000",
        "anthropic-ratelimit-input-tokens-remaining": "900",
        "retry-after": "3",
    }
    seen = limits_seen(headers, 50.0)
    assert seen is not None
    assert (seen.requests_limit, seen.requests_left, seen.requests_reset_s) == (50, 49, 10.0)
    assert (seen.tokens_limit, seen.tokens_left, seen.retry_after_s) == (1000, 900, 3.0)
    headers["anthropic-ratelimit-tokens-limit"] = "77"
    assert limits_seen(headers, 0.0).tokens_limit == 77
    assert limits_seen({"anthropic-ratelimit-requests-limit": "many"}, 0.0) is None


def test_waits() -> None:
    assert retry_after_s({"retry-after-ms": "1500", "retry-after": "9"}, 0.0) == 1.5
    assert retry_after_s({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 50.0) == 10.0
    assert [retry_after_s({"retry-after": w}, 0.0) for w in ("soon", "-1", "nan", "")] == [None] * 4
    assert (until_s("nonsense", 0.0), until_s(None, 0.0), until_s("1970-01-01T00:00:01Z", 5.0)) == (None, None, 0.0)


def test_the_official_types_refuse_what_is_wrong() -> None:
    wrong = {"type": "image", "source": {"type": "base64", "data": 1}}
    with pytest.raises(pydantic.ValidationError):
        consumed(params().validate_python({**asked(), "messages": [{"role": "user", "content": [wrong]}]}))
