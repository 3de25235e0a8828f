from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import completion_create_params
from openai_calls import asking, by, calls, consumed, text

from corral.errors import ModelFailed, ModelRateLimited, ModelRequestInvalid, ModelStreamBroken
from corral.messages import Delta, Message, ModelCall, ModelReply, OutputFormat, ToolSpec, Usage
from corral.models.wire.openai_chat import chat_body
from corral.models.wire.openai_chat_reply import ChatAnswer
from corral.models.wire.openai_dialect import Dialect, OpenAIOptions, effort, thinks
from corral.models.wire.sse import SseReader

OPENAI = Dialect(official=True)
AZURE = Dialect(official=True, azure=True)
ELSEWHERE = Dialect()


def options(**more: Any) -> Dialect:
    return Dialect(options=OpenAIOptions(**more))


def said(*messages: Message, dialect: Dialect = ELSEWHERE) -> list[dict[str, Any]]:
    return chat_body(asking(*messages), dialect)["messages"]


# -- what is sent


@functools.cache
def params() -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(completion_create_params.CompletionCreateParams)


@settings(max_examples=80, deadline=None)
@given(calls)
def test_the_official_types_take_what_is_sent(call: ModelCall) -> None:
    body = chat_body(call, OPENAI)
    consumed(params().validate_python(json.loads(json.dumps(body))))
    assert body.get("stream", False) is call.stream


def test_a_plain_call_says_no_more_than_it_has_to() -> None:
    assert chat_body(asking(by("system", "Be brief."), by("user", "Hi")), OPENAI) == {
        "model": "gpt-4.1-mini",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }


def test_a_conversation_with_tools_and_pictures() -> None:
    use = {"type": "tool_use", "id": "c1", "name": "look_up", "input": {"x": 1}}
    broken = {"type": "tool_use", "id": "c2", "name": "look_up", "input": {}, "input_text": '{"x": '}
    picture = {"type": "image", "data": "aGk=", "media_type": "image/png"}
    sent = said(
        by("user", "See", {"type": "image", "url": "https://there/a.png", "detail": "low"}),
        by("assistant", "I look.", use, broken),
        by(
            "tool",
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "content": [text("one"), {"type": "json", "json": [2]}, picture],
            },
            {"type": "tool_result", "tool_use_id": "c2", "content": "wrong", "is_error": True},
            text("And now?"),
        ),
        by("assistant", use),
        by("user", {"type": "tool_result", "tool_use_id": "c1"}),
        by("user", {"type": "tool_result", "tool_use_id": "c1", "content": {"a": 1}}),
    )
    assert sent == [
        {
            "role": "user",
            "content": [
                text("See"),
                {"type": "image_url", "image_url": {"url": "https://there/a.png", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"x":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "look_up", "arguments": '{"x": '}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [text("one"), text("[2]")]},
        {"role": "tool", "tool_call_id": "c2", "content": "wrong"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}, text("And now?")],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"x":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "tool", "tool_call_id": "c1", "content": '{"a":1}'},
    ]


def test_files_go_with_their_data_or_by_their_id() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
    [sent] = said(
        by("user", {"type": "file", "data": "aGk=", "name": "a.pdf"}, {"type": "file", "file_id": "f1"}, sound)
    )
    assert sent["content"] == [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "file", "file": {"file_id": "f1"}},
        sound,
    ]
    with pytest.raises(ModelRequestInvalid, match="responses"):
        said(by("user", {"type": "file", "url": "https://there/a.pdf"}))
    with pytest.raises(ModelRequestInvalid, match="`data`"):
        said(by("user", {"type": "image"}))
    with pytest.raises(ModelRequestInvalid, match="text alone"):
        said(by("system", {"type": "image", "url": "https://there/a.png"}))


def test_texts_in_one_string_for_servers_that_know_no_lists() -> None:
    message = by("user", "one", "two")
    assert said(message)[0]["content"] == [text("one"), text("two")]
    assert said(message, dialect=options(plain_text=True))[0]["content"] == "one\n\ntwo"


def test_markers_of_a_kept_prefix_are_sent_where_they_are_understood() -> None:
    message = by("system", {"type": "text", "text": "long", "cache": True})
    assert said(message)[0]["content"] == "long"
    marked = said(message, dialect=options(cache_markers=True))[0]["content"]
    assert marked == [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]


def test_reasoning_goes_back_where_it_came_from_and_is_wanted() -> None:
    thought = {"type": "reasoning", "text": "Hm", "field": "reasoning_content"}
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    plain, tools = by("assistant", thought, "Yes"), by("assistant", thought, use)
    foreign = by("assistant", {"type": "reasoning", "text": "Hm", "signature": "s"}, use)

    def back(message: Message, dialect: Dialect) -> Any:
        return said(message, dialect=dialect)[0].get("reasoning_content")

    assert back(tools, ELSEWHERE) == "Hm"
    assert back(plain, ELSEWHERE) is None
    assert back(foreign, ELSEWHERE) is None
    assert back(plain, options(reasoning_back="always")) == "Hm"
    assert back(tools, options(reasoning_back="never")) is None
    assert back(tools, OPENAI) is None


def test_tools_and_choices() -> None:
    tools = [ToolSpec(name="f"), ToolSpec(name="g", description="d", parameters={"type": "object"}, strict=True)]
    body = chat_body(asking(by("user", "Hi"), tools=tools, tool_choice="tool:f", parallel_tools=False), OPENAI)
    assert body["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}},
        {
            "type": "function",
            "function": {"name": "g", "description": "d", "parameters": {"type": "object"}, "strict": True},
        },
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert body["parallel_tool_calls"] is False
    without = chat_body(asking(by("user", "Hi"), tool_choice="required", parallel_tools=True), OPENAI)
    assert set(without) == {"model", "messages"}  # said without tools, they are refused


def test_answers_in_json() -> None:
    assert chat_body(asking(output=OutputFormat()), OPENAI)["response_format"] == {"type": "json_object"}
    wanted = OutputFormat(schema={"type": "object"}, name="n", strict=False)
    assert chat_body(asking(output=wanted), OPENAI)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": False},
    }


def test_what_a_model_refuses_is_left_out_and_said() -> None:
    wants: dict[str, Any] = {"temperature": 0.0, "top_k": 3, "stop": ["x"], "seed": 1}
    call = asking(model="o3", **wants)
    body = chat_body(call, OPENAI)
    assert not {"temperature", "top_k", "stop"} & set(body)
    assert body["seed"] == 1
    assert call.notes["left_out"] == ["top_k", "temperature", "stop"]
    everywhere = chat_body(asking(model="o3", **wants), ELSEWHERE)
    assert {key: everywhere[key] for key in wants} == wants
    assert chat_body(asking(model="gpt-5.1", temperature=0.5), OPENAI)["temperature"] == 0.5
    assert "temperature" not in chat_body(asking(model="gpt-5.1", temperature=0.5, reasoning="low"), OPENAI)


@pytest.mark.parametrize(
    ("dialect", "model", "field"),
    [
        (OPENAI, "gpt-4.1", "max_completion_tokens"),
        (OPENAI, "gpt-5-mini", "max_completion_tokens"),
        (AZURE, "o4-mini", "max_completion_tokens"),
        (AZURE, "my-deployment", "max_tokens"),
        (ELSEWHERE, "gpt-5", "max_tokens"),
        (options(max_tokens_field="max_completion_tokens"), "x", "max_completion_tokens"),
    ],
)
def test_the_longest_answer_has_the_name_that_the_server_knows(dialect: Dialect, model: str, field: str) -> None:
    body = chat_body(asking(model=model, max_tokens=7), dialect)
    assert body[field] == 7
    assert len({"max_tokens", "max_completion_tokens"} & set(body)) == 1


def test_models_that_think_and_how_hard() -> None:
    assert [thinks(model) for model in ("o1", "o4-mini", "gpt-5", "gpt-5.2")] == [True] * 4
    assert [thinks(model) for model in ("gpt-4o", "omni", "gpt-5-chat-latest", "")] == [False] * 4
    assert [effort(each) for each in ("0", "1024", "8192", "9000", "high")] == ["none", "low", "medium", "high", "high"]
    assert chat_body(asking(reasoning="4000"), OPENAI)["reasoning_effort"] == "medium"


def test_streams_ask_for_their_usage_unless_the_server_refuses_that() -> None:
    call = asking(by("user", "Hi"), stream=True)
    assert chat_body(call, OPENAI)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in chat_body(call, options(stream_usage=False))
    own = asking(by("user", "Hi"), stream=True, extra={"stream": False, "stream_options": {"x": 1}, "user": "u"})
    body = chat_body(own, OPENAI)
    assert (body["stream"], body["stream_options"], body["user"]) == (True, {"x": 1}, "u")
    assert "stream" not in chat_body(asking(extra={"stream": True}), OPENAI)


# -- what is answered


def whole(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> ModelReply:
    answer = ChatAnswer()
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    choice |= {key: more.pop(key) for key in ("logprobs", "stop_reason") if key in more}
    answer.whole(json.dumps({"id": "r", "model": "m", "created": 5, "choices": [choice], **more}).encode())
    return answer.reply()


def test_a_whole_answer() -> None:
    reply = whole(
        {
            "content": "Grüße",
            "reasoning_content": "Hm",
            "refusal": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": [1]}'}}],
        },
        "tool_calls",
        usage={
            "prompt_tokens": 10,
            "completion_tokens": 9,
            "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
        system_fingerprint="fp",
    )
    assert reply == ModelReply(
        id="r",
        model="m",
        content=[
            {"type": "reasoning", "text": "Hm", "field": "reasoning_content"},
            text("Grüße"),
            {"type": "tool_use", "id": "c", "name": "f", "input": {"x": [1]}},
        ],
        stop_reason="tool_use",
        usage=Usage(input=6, cache_read=4, output=6, reasoning=3),
        created_at=5,
    )


@pytest.mark.parametrize(
    ("message", "finish", "more", "stop"),
    [
        ({"content": "x"}, "stop", {}, "end"),
        ({"content": "x"}, "stop", {"stop_reason": "END"}, "stop_sequence"),
        ({"content": "x"}, "stop", {"stop_reason": 12}, "end"),
        ({"content": "x"}, "length", {}, "length"),
        ({"content": None}, "content_filter", {}, "content_filter"),
        ({"content": None, "refusal": "No."}, "stop", {}, "refusal"),
        ({"tool_calls": [{"function": {"name": "f", "arguments": {}}}]}, "stop", {}, "tool_use"),
        ({"content": "x"}, "insufficient_system_resource", {}, "other"),
        ({"content": "x"}, None, {}, "other"),
    ],
)
def test_why_it_stopped(message: dict[str, Any], finish: str | None, more: dict[str, Any], stop: str) -> None:
    assert whole(message, finish, **more).stop_reason == stop


def test_ways_of_others() -> None:
    assert whole({"content": "x", "reasoning": "Hm"}).content[0] == {
        "type": "reasoning",
        "text": "Hm",
        "field": "reasoning",
    }
    thinking = [{"type": "thinking", "thinking": [text("H"), text("m")]}, text("Yes"), {"type": "reference"}]
    assert whole({"content": thinking}).content == [{"type": "reasoning", "text": "Hm"}, text("Yes")]
    named = whole(
        {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}, {"id": "", "function": {"name": "g"}}]}
    )
    assert named.tool_uses == [
        {"type": "tool_use", "id": "r-0", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "r-1", "name": "g", "input": {}},
    ]
    assert whole({"content": "x"}, logprobs={"content": [1]}).logprobs == {"content": [1]}


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": None, "prompt_tokens_details": None}, Usage(input=5)),
        ({"prompt_tokens": 5, "completion_tokens": 1, "prompt_cache_hit_tokens": 2}, Usage(input=3, cache_read=2, output=1)),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3}},
            Usage(input=4, cache_read=2, cache_write=3, output=1),
        ),
        (  # thinking comes on top of what was written
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 17,
                "completion_tokens_details": {"reasoning_tokens": 10},
            },
            Usage(input=5, output=2, reasoning=10),
        ),
        ({"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 9}}, Usage(input=1, reasoning=2)),
        ({"input_tokens": 3, "output_tokens": 4}, Usage(input=3, output=4)),
        ({}, Usage()),
    ],
)  # fmt: skip
def test_tokens_in_kinds_that_never_overlap(said: dict[str, Any], usage: Usage) -> None:
    assert whole({"content": "x"}, usage=said).usage == usage


counts = st.none() | st.integers(0, 50)
details = st.none() | st.fixed_dictionaries(
    {"cached_tokens": counts, "cache_write_tokens": counts, "reasoning_tokens": counts}
)


@given(st.integers(0, 50), counts, details, details, counts)
def test_the_kinds_sum_up_to_what_was_said(
    read: int, written: int | None, before: Any, after: Any, hit: int | None
) -> None:
    usage = whole(
        {"content": "x"},
        usage={
            "prompt_tokens": read,
            "completion_tokens": written,
            "prompt_tokens_details": before,
            "completion_tokens_details": after,
            "prompt_cache_hit_tokens": hit,
        },
    ).usage
    assert min(usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning) >= 0
    assert (usage.input_tokens, usage.output_tokens) == (read, written or 0)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": 5}}]}', b"\xff"]
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ModelFailed, match="no chat completion"):
        ChatAnswer().whole(body)


def test_an_error_whose_status_was_a_success() -> None:
    with pytest.raises(ModelRateLimited, match="slow down"):
        ChatAnswer().whole(b'{"error": {"message": "slow down", "code": 429}}')
    with pytest.raises(ModelFailed, match="oh"):
        ChatAnswer().whole(b'{"choices": [{"error": "oh"}]}')


# -- streams


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return {"id": "r", "model": "m", "created": 5, "choices": choices, **more}


def calling(
    index: int | None, call_id: str | None = None, name: str | None = None, arguments: str | None = None
) -> Any:
    return chunk({"tool_calls": [{"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}]})


def fed(*chunks: dict[str, Any] | bytes) -> tuple[list[Delta], ChatAnswer]:
    answer = ChatAnswer()
    deltas = []
    for each in chunks:
        answer.feed([("", each if isinstance(each, bytes) else json.dumps(each).encode())])
        deltas += answer.collected.came()
    return deltas, answer


USED = chunk(usage={"prompt_tokens": 3, "completion_tokens": 2})


def test_a_stream_of_everything() -> None:
    deltas, answer = fed(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "H"}),
        chunk({"reasoning_content": "m", "content": None}),
        chunk({"content": "Ye"}),
        chunk({"content": "s"}),
        calling(0, "a", "f", ""),
        calling(1, "b", "g", '{"y"'),
        calling(0, None, None, '{"x": 1'),
        calling(1, None, None, ": 2}"),
        calling(0, "a", None, "}"),
        {**chunk(), "choices": [{"index": 1, "delta": {"content": "another choice"}}]},
        chunk({}, "tool_calls"),
        USED,
        b"[DONE]",
    )
    assert deltas == [
        Delta("reasoning", "H", 0),
        Delta("reasoning", "m", 0),
        Delta("text", "Ye", 1),
        Delta("text", "s", 1),
        Delta("tool_use", index=2, id="a", name="f"),
        Delta("tool_use", index=3, id="b", name="g"),
        Delta("tool_input", '{"y"', 3),
        Delta("tool_input", '{"x": 1', 2),
        Delta("tool_input", ": 2}", 3),
        Delta("tool_input", "}", 2),
    ]
    assert answer.finished
    assert answer.done
    assert answer.reply() == ModelReply(
        id="r",
        model="m",
        content=[
            {"type": "reasoning", "text": "Hm", "field": "reasoning_content"},
            text("Yes"),
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {"y": 2}},
        ],
        stop_reason="tool_use",
        usage=Usage(input=3, output=2),
        created_at=5,
    )


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([calling(None, "a", "f", "{}"), calling(None, "b", "g", '{"y"'), calling(None, None, None, ":2}")], id="no index"),
        pytest.param([calling(0, "a", "f", "{}"), calling(0, "b", "g", '{"y"'), calling(0, "b", None, ":2}")], id="one index"),
        pytest.param([calling(1, "a", "f", "{}"), calling(2, "b", None, '{"y"'), calling(2, None, "g", ":2}")], id="late name"),
    ],
)  # fmt: skip
def test_tool_calls_that_are_numbered_badly(chunks: list[dict[str, Any]]) -> None:
    deltas, answer = fed(*chunks, chunk({}, "tool_calls"))
    assert [(use["id"], use["name"], use["input"]) for use in answer.reply().tool_uses] == [
        ("a", "f", {}),
        ("b", "g", {"y": 2}),
    ]
    assert [delta.id for delta in deltas if delta.kind == "tool_use"] == ["a", "b"]


def test_what_breaks_a_stream() -> None:
    for broken in (b'{"choices": [{"del', b"oh no", b'{"choices": 5}', b"\xff\xfe"):
        with pytest.raises(ModelStreamBroken, match="cannot be read"):
            fed(chunk({"content": "Ye"}), broken)
    with pytest.raises(ModelRateLimited):
        fed(chunk({"content": "Ye"}), {"error": {"message": "slow", "type": "rate_limit_exceeded"}})
    with pytest.raises(ModelStreamBroken, match="gone"):
        fed({"error": {"message": "gone"}})
    _, answer = fed(chunk({"content": "Ye"}), calling(0, "a", "f", '{"x"'))
    assert not answer.finished
    assert answer.reply().stop_reason == "other"
    assert answer.reply().content[1] == {"type": "tool_use", "id": "a", "name": "f", "input": {}, "input_text": '{"x"'}


def test_refusals_and_log_probabilities_come_in_pieces() -> None:
    first, second = chunk({"refusal": "N"}), chunk({"refusal": "o."}, "stop")
    first["choices"][0]["logprobs"] = {"refusal": [1], "content": None}
    second["choices"][0]["logprobs"] = {"refusal": [2], "content": None}
    _, answer = fed(first, second)
    reply = answer.reply()
    assert (reply.text, reply.stop_reason, reply.logprobs) == ("No.", "refusal", {"refusal": [1, 2], "content": None})
    _, odd = fed({**chunk({"content": "x"}), "usage": {"prompt_tokens": 1, "cost": 0.5}})
    assert odd.reply().cost_usd == 0.5


def told(pieces: Iterable[bytes]) -> ModelReply:
    reader, answer = SseReader(), ChatAnswer()
    for piece in pieces:
        answer.feed(reader.feed(piece))
    assert answer.done
    return answer.reply()


LINES = [
    chunk({"content": "Grüße"}),
    calling(0, "a", "f", '{"ü"'),
    calling(0, None, None, ': "\\n"}'),
    chunk({}, "stop"),
    USED,
]
STREAM = b": hello\n\n" + b"".join(
    f"data:{' ' if n % 2 else ''}{json.dumps(each, ensure_ascii=False)}{end}{end}".encode()
    for n, (each, end) in enumerate(zip(LINES, itertools.cycle(["\n", "\r\n"]), strict=False))
) + b": ping\n\ndata: [DONE]\n\n"  # fmt: skip


@settings(deadline=None)
@given(st.sets(st.integers(0, len(STREAM)), max_size=30))
def test_a_stream_cut_anywhere_says_the_same(cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), len(STREAM)]
    reply = told(STREAM[start:end] for start, end in itertools.pairwise(bounds))
    assert reply.content == [text("Grüße"), {"type": "tool_use", "id": "a", "name": "f", "input": {"ü": "\n"}}]
    assert (reply.stop_reason, reply.usage) == ("tool_use", Usage(input=3, output=2))


pieces = st.lists(st.text(max_size=4), max_size=3)


@settings(deadline=None)
@given(pieces, pieces, st.lists(pieces, max_size=3), st.randoms())
def test_streamed_or_whole_it_is_the_same_reply(
    thought: list[str], spoken: list[str], uses: list[list[str]], chance: Any
) -> None:
    calls = [(number, piece) for number, use in enumerate(uses) for piece in use]
    chance.shuffle(calls)
    announced = [calling(number, f"c{number}", "f") for number in range(len(uses))]
    streamed = [
        *(chunk({"reasoning_content": piece}) for piece in thought),
        *(chunk({"content": piece}) for piece in spoken),
        *announced,
        *(calling(number, None, None, piece) for number, piece in calls),
    ]
    deltas, answer = fed(*streamed, chunk({}, "stop"), USED)
    written = ["".join(piece for n, piece in calls if n == number) for number in range(len(uses))]
    functions = [{"id": f"c{n}", "function": {"name": "f", "arguments": each}} for n, each in enumerate(written)]
    message = {"content": "".join(spoken), "reasoning_content": "".join(thought), "tool_calls": functions}
    assert answer.reply() == whole(message, usage=USED["usage"])
    for index, part in enumerate(answer.reply().content):
        heard = "".join(delta.text for delta in deltas if delta.index == index)
        assert heard == (written[int(part["id"][1:])] if part["type"] == "tool_use" else part["text"])
