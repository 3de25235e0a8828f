from __future__ import annotations

import functools
import json
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent, response_create_params
from openai_calls import asking, by, calls, consumed, text

from corral.errors import ModelFailed, ModelRateLimited, ModelRequestInvalid, ModelStreamBroken
from corral.messages import Delta, Message, ModelCall, ModelReply, OutputFormat, ToolSpec, Usage
from corral.models.wire.openai_dialect import Dialect, OpenAIOptions
from corral.models.wire.openai_responses import responses_body
from corral.models.wire.openai_responses_reply import ResponsesAnswer

OPENAI = Dialect(official=True)
SUMMARY = Dialect(official=True, options=OpenAIOptions(api="responses", reasoning_summary="auto"))


def items(*messages: Message) -> list[dict[str, Any]]:
    return responses_body(asking(*messages), OPENAI)["input"]


# -- what is sent


@functools.cache
def params() -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(response_create_params.ResponseCreateParams)


@settings(max_examples=80, deadline=None)
@given(calls)
def test_the_official_types_take_what_is_sent(call: ModelCall) -> None:
    body = responses_body(call, OPENAI)
    consumed(params().validate_python(json.loads(json.dumps(body))))
    assert body.get("stream", False) is call.stream
    assert body["store"] is False


def test_a_conversation() -> None:
    assert items(
        by("system", "Be brief."),
        by(
            "user",
            "See",
            {"type": "image", "url": "https://there/a.png"},
            {"type": "file", "url": "https://there/a.pdf"},
            {"type": "file", "file_id": "f"},
            {"type": "file", "data": "aGk=", "name": "a.pdf"},
        ),
        by(
            "assistant",
            {"type": "reasoning", "text": "Hm", "id": "rs_1", "data": "sealed"},
            {"type": "reasoning", "text": "another's", "signature": "s"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "server_tool_use", "id": "another's"},
            "I look.",
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
        ),
        by(
            "user",
            "And?",
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "content": [text("one"), {"type": "image", "data": "aGk=", "media_type": "image/png"}],
            },
        ),
        by("tool", {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "json", "json": [1]}]}),
    ) == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "https://there/a.png", "detail": "auto"},
                {"type": "input_file", "file_url": "https://there/a.pdf"},
                {"type": "input_file", "file_id": "f"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm"}],
            "encrypted_content": "sealed",
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":1}'},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [
                {"type": "input_text", "text": "one"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
            ],
        },
        {"role": "user", "content": "And?"},
        {"type": "function_call_output", "call_id": "c2", "output": "[1]"},
    ]


def test_tools_formats_and_limits() -> None:
    call = asking(
        by("user", "Hi"),
        tools=[ToolSpec(name="f")],
        tool_choice="tool:f",
        parallel_tools=True,
        output=OutputFormat(schema={"type": "object"}),
        max_tokens=9,
        temperature=0.5,
        stop=["x"],
        seed=1,
        extra={"truncation": "auto"},
    )
    assert responses_body(call, OPENAI) == {
        "model": "gpt-4.1-mini",
        "input": [{"role": "user", "content": "Hi"}],
        "store": False,
        "tools": [
            {
                "type": "function",
                "name": "f",
                "description": "",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            }
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": True,
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True}},
        "max_output_tokens": 9,
        "temperature": 0.5,
        "truncation": "auto",
    }
    assert call.notes["left_out"] == ["stop", "seed"]
    assert responses_body(asking(output=OutputFormat()), OPENAI)["text"] == {"format": {"type": "json_object"}}


def test_thinking_comes_back_sealed() -> None:
    assert "include" not in responses_body(asking(), OPENAI)
    thinking = asking(model="o3", reasoning="high", temperature=1.0)
    body = responses_body(thinking, SUMMARY)
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert body["include"] == ["reasoning.encrypted_content"]
    assert "temperature" not in body
    assert thinking.notes["left_out"] == ["temperature"]


# -- what is answered

REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm"}, {"type": "summary_text", "text": "Aha"}],
    "encrypted_content": "sealed",
}
LOGPROB = {"token": "x", "bytes": [], "logprob": 0.0, "top_logprobs": []}
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Grüße", "annotations": [], "logprobs": [LOGPROB]}],
}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c1",
    "name": "f",
    "arguments": '{"x": 1}',
    "status": "completed",
}
SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "x", "queries": ["x"], "sources": []},
}
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 19,
}


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "created_at": 5,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "output": list(output),
        "usage": USAGE,
        **more,
    }


def whole(*output: dict[str, Any], **more: Any) -> ModelReply:
    answer = ResponsesAnswer()
    answer.whole(json.dumps(response(*output, **more)).encode())
    return answer.reply()


EXPECTED = ModelReply(
    id="resp_1",
    model="m",
    content=[
        {"type": "reasoning", "text": "Hm\n\nAha", "id": "rs_1", "data": "sealed"},
        SEARCH,
        text("Grüße"),
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
    ],
    stop_reason="tool_use",
    usage=Usage(input=6, cache_read=4, output=6, reasoning=3),
    created_at=5,
    logprobs=[LOGPROB],
)


def test_a_whole_answer() -> None:
    assert whole(REASONING, SEARCH, MESSAGE, CALL) == EXPECTED


def test_why_it_stopped() -> None:
    assert whole(MESSAGE).stop_reason == "end"
    refusal = {**MESSAGE, "content": [{"type": "refusal", "refusal": "No."}]}
    assert (whole(refusal).stop_reason, whole(refusal).text) == ("refusal", "No.")
    for reason, stop in (("max_output_tokens", "length"), ("content_filter", "content_filter"), ("tired", "other")):
        found = whole(MESSAGE, status="incomplete", incomplete_details={"reason": reason})
        assert found.stop_reason == stop


def test_citations_stay_with_their_text() -> None:
    cited = {"type": "output_text", "text": "x", "annotations": [{"type": "url_citation"}]}
    assert whole({**MESSAGE, "content": [cited]}).content[0]["annotations"] == [{"type": "url_citation"}]


def test_what_is_no_answer_or_failed() -> None:
    for body in (b"", b"[]", b"{}", b'{"output": 5}', b'{"output": [{"type": "message", "content": 5}]}', b"\xff"):
        with pytest.raises(ModelFailed, match="no response"):
            ResponsesAnswer().whole(body)
    with pytest.raises(ModelRateLimited):
        whole(status="failed", error={"code": "rate_limit_exceeded", "message": "slow"})
    with pytest.raises(ModelFailed, match="cancelled"):
        whole(status="cancelled")


# -- streams


def events_of(*output: dict[str, Any], size: int = 2) -> list[dict[str, Any]]:
    """The stream that says what the whole answer says."""
    said: list[dict[str, Any]] = [{"type": "response.created", "response": response(status="in_progress", usage=None)}]
    for number, item in enumerate(output):
        at = {"output_index": number, "item_id": item["id"]}
        begun = {**item, **{key: [] for key in ("content", "summary") if key in item}}
        said.append(
            {
                "type": "response.output_item.added",
                **at,
                "item": begun | ({"arguments": ""} if "arguments" in item else {}),
            }
        )
        if item["type"] == "function_call":
            said += _pieces("response.function_call_arguments", item["arguments"], size, **at)
        for index, part in enumerate(item.get("summary", ())):
            said += _pieces("response.reasoning_summary_text", part["text"], size, **at, summary_index=index)
        for index, part in enumerate(item.get("content", ())):
            kind = "response.refusal" if part["type"] == "refusal" else "response.output_text"
            said += _pieces(kind, part.get("text") or part.get("refusal"), size, **at, content_index=index, logprobs=[])
        said.append({"type": "response.output_item.done", **at, "item": item})
    said.append({"type": "response.completed", "response": response(*output)})
    return [{**event, "sequence_number": number} for number, event in enumerate(said)]


def _pieces(kind: str, said: str, size: int, **at: Any) -> list[dict[str, Any]]:
    return [{"type": f"{kind}.delta", **at, "delta": said[n : n + size]} for n in range(0, len(said), size)]


def fed(*events: dict[str, Any] | bytes) -> tuple[list[Delta], ResponsesAnswer]:
    answer = ResponsesAnswer()
    deltas = []
    for each in events:
        answer.feed([("", each if isinstance(each, bytes) else json.dumps(each).encode())])
        deltas += answer.collected.came()
    return deltas, answer


def test_a_stream_of_everything() -> None:
    events = events_of(REASONING, SEARCH, MESSAGE, CALL, size=3)
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)
    for event in events[1:-1]:
        adapter.validate_python(event)
    deltas, answer = fed(*events, b"[DONE]")
    assert deltas == [
        Delta("reasoning", "Hm", 0),
        Delta("reasoning", "\n\nAha", 0),
        Delta("text", "Grü", 2),
        Delta("text", "ße", 2),
        Delta("tool_use", index=3, id="c1", name="f"),
        Delta("tool_input", '{"x', 3),
        Delta("tool_input", '": ', 3),
        Delta("tool_input", "1}", 3),
    ]
    assert answer.done
    assert answer.reply() == EXPECTED


pieces = st.text(min_size=1, max_size=6)
outputs = st.lists(
    st.builds(lambda said: {**MESSAGE, "content": [{"type": "output_text", "text": t} for t in said]}, st.lists(pieces, max_size=2))
    | st.builds(lambda said: {**REASONING, "summary": [{"type": "summary_text", "text": t} for t in said]}, st.lists(pieces, max_size=3))
    | st.builds(lambda said: {**CALL, "arguments": json.dumps({"a": said})}, pieces)
    | st.just(SEARCH)
    | st.just({**MESSAGE, "content": [{"type": "refusal", "refusal": "No."}]}),
    max_size=4,
)  # fmt: skip


@settings(deadline=None)
@given(
    outputs, st.integers(1, 4), st.sampled_from(["all", "no items", "no pieces", "no output", "nothing but the end"])
)
def test_streamed_or_whole_it_is_the_same_reply(output: list[dict[str, Any]], size: int, lazy: str) -> None:
    events = events_of(*output, size=size)
    if lazy == "no items":
        events = [event for event in events if event["type"] != "response.output_item.done"]
    elif lazy == "no pieces":
        events = [event for event in events if "delta" not in event]
    elif lazy == "no output":
        events[-1]["response"]["output"] = []
    elif lazy == "nothing but the end":
        events = events[-1:]
    deltas, answer = fed(*events)
    reply = answer.reply()
    assert reply == whole(*output)
    for index, part in enumerate(reply.content):
        heard = "".join(delta.text for delta in deltas if delta.index == index)
        if part["type"] in {"text", "reasoning"}:
            assert heard == part["text"]
        elif part["type"] == "tool_use":
            assert json.loads(heard) == part["input"]


def test_a_stream_that_fails() -> None:
    begun = events_of(MESSAGE, CALL)[:-3]
    failed = {
        "type": "response.failed",
        "response": response(status="failed", error={"code": "server_error", "message": "oh"}),
    }
    with pytest.raises(ModelFailed, match="oh"):
        fed(*begun, failed)
    with pytest.raises(ModelRateLimited):
        fed({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None})
    with pytest.raises(ModelRequestInvalid):
        fed({"error": {"message": "m", "code": 400}})
    for broken in (
        b"{",
        b'{"type": 5}',
        b"\xff",
        b'{"type": "response.output_item.done", "item": {"type": "message", "content": 5}}',
    ):
        with pytest.raises(ModelStreamBroken, match="cannot be read"):
            fed(*begun, broken)
    _, answer = fed(*begun)
    assert not answer.finished
    partial = answer.reply()
    assert partial.text == "Grüße"
    assert partial.tool_uses[0]["input_text"] == '{"x": '
    assert partial.stop_reason == "other"


def test_events_of_other_kinds_are_passed_over() -> None:
    deltas, answer = fed(
        {"type": "response.audio.delta", "delta": "aGk="},
        {"type": "response.function_call_arguments.delta", "delta": "{}", "output_index": 7},
        {"type": "response.output_item.added", "item": SEARCH, "output_index": 0},
        {"type": "keepalive"},
    )
    assert deltas == []
    assert answer.reply().content == [SEARCH]
    incomplete = response(MESSAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    deltas, answer = fed({"type": "response.incomplete", "response": incomplete})
    assert (answer.reply().stop_reason, [delta.text for delta in deltas]) == ("length", ["Grüße"])
