from __future__ import annotations

import base64
import functools
import itertools
import json
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.validate import ParamValidator
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
from corral.models.wire import bedrock_reply as answers
from corral.models.wire.bedrock_errors import failure, stream_failure
from corral.models.wire.bedrock_request import request

BUDGET, NEW, ALWAYS = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-opus-5",
    "anthropic.claude-opus-5-5",
)
OLD, NOVA, NOVA2, LLAMA, OSS, MISTRAL = (
    "anthropic.claude-3-haiku-20240307-v1:0",
    "amazon.nova-lite-v1:0",
    "amazon.nova-2-lite-v1:0",
    "meta.llama3-1-8b-instruct-v1:0",
    "openai.gpt-oss-20b-1:0",
    "mistral.mistral-large-2407-v1:0",
)
PIXEL = base64.b64encode(b"\x89PNG").decode()


def said(role: str, *parts: dict[str, Any] | str) -> Message:
    return Message(role=role, content=[{"type": "text", "text": p} if isinstance(p, str) else p for p in parts])


def body(call: ModelCall, **options: Any) -> dict[str, Any]:
    return json.loads(request(call, options).encoded())


def asked(model: str = NOVA, *messages: Message, **more: Any) -> dict[str, Any]:
    return body(ModelCall(model=model, messages=list(messages) or [said("user", "Hi")], **more))


@functools.cache
def service() -> Any:
    return botocore.session.Session().get_service_model("bedrock-runtime")


# -- requests


def test_turns_alternate_and_what_instructs_stands_apart() -> None:
    sent = asked(
        BUDGET,
        said("system", {"type": "text", "text": "Be brief.", "cache": True}),
        said("user", "a"),
        said("other", "b", ""),
        said("system", "Be kind."),
        said(
            "assistant",
            {"type": "reasoning", "text": "Hm", "signature": "s"},
            {"type": "reasoning", "text": "", "data": "c2VjcmV0"},
            {"type": "reasoning", "text": "of another"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
        ),
        said(
            "tool",
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "is_error": True,
                "cache": True,
                "content": [
                    {"type": "json", "json": {"a": 1}},
                    {"type": "json", "json": [1]},
                    {"type": "text", "text": "x"},
                ],
            },
            {"type": "tool_result", "tool_use_id": "u", "content": []},
        ),
    )
    assert sent["system"] == [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}, {"text": "Be kind."}]
    assert sent["messages"] == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}},
                {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
                {"toolUse": {"toolUseId": "t", "name": "f", "input": {"x": 1}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "toolResult": {
                        "toolUseId": "t",
                        "status": "error",
                        "content": [{"json": {"a": 1}}, {"text": "[1]"}, {"text": "x"}],
                    }
                },
                {"cachePoint": {"type": "default"}},
                {"toolResult": {"toolUseId": "u", "content": [{"text": "(nothing)"}]}},
            ],
        },
    ]
    assert [tool["toolSpec"]["name"] for tool in sent["toolConfig"]["tools"]] == ["f"]


def test_images_documents_and_videos() -> None:
    sent = asked(
        NOVA,
        said(
            "user",
            {"type": "image", "data": PIXEL, "media_type": "image/png"},
            {"type": "image", "url": f"data:image/jpeg;base64,{PIXEL}"},
            {"type": "file", "data": "JVBERg==", "media_type": "application/pdf", "name": "the_plan  v2.pdf"},
            {"type": "file", "url": "s3://bucket/report.csv"},
            {"type": "file", "data": "AA==", "media_type": "video/mp4"},
            {"type": "file", "data": PIXEL, "media_type": "image/webp"},
        ),
    )
    assert sent["messages"][0]["content"] == [
        {"image": {"format": "png", "source": {"bytes": PIXEL}}},
        {"image": {"format": "jpeg", "source": {"bytes": PIXEL}}},
        {"document": {"format": "pdf", "name": "the plan v2", "source": {"bytes": "JVBERg=="}}},
        {"document": {"format": "csv", "name": "report", "source": {"s3Location": {"uri": "s3://bucket/report.csv"}}}},
        {"video": {"format": "mp4", "source": {"bytes": "AA=="}}},
        {"image": {"format": "webp", "source": {"bytes": PIXEL}}},
    ]


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"type": "image", "url": "https://example.com/a.png"}, "not from the web"),
        ({"type": "image", "data": "AA==", "media_type": "image/tiff"}, "it takes image/gif"),
        ({"type": "server_tool_use"}, "no part of type 'server_tool_use'"),
        ({"type": "file"}, "not from the web"),
    ],
)
def test_parts_that_cannot_be_sent_say_why(part: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelRequestInvalid, match=says):
        asked(NOVA, said("user", part))


def test_tools_and_how_they_are_chosen() -> None:
    schema = {"type": "object", "properties": {"a": {}}}
    tools = [ToolSpec(name="f", description="F.", parameters=schema, strict=True), ToolSpec(name="g")]
    sent = asked(BUDGET, tools=tools, tool_choice="required")["toolConfig"]
    assert sent["tools"][0]["toolSpec"] == {
        "name": "f",
        "description": "F.",
        "strict": True,
        "inputSchema": {"json": {**schema, "additionalProperties": False}},
    }
    assert sent["toolChoice"] == {"any": {}}
    assert asked(NOVA, tools=tools, tool_choice="tool:g")["toolConfig"]["toolChoice"] == {"tool": {"name": "g"}}
    assert asked(NOVA, tools=tools, tool_choice="auto")["toolConfig"]["toolChoice"] == {"auto": {}}
    assert "strict" not in asked(NOVA, tools=tools)["toolConfig"]["tools"][0]["toolSpec"]
    assert "toolConfig" not in asked(NOVA, tools=tools, tool_choice="none")
    for model in (LLAMA, ALWAYS):
        assert "toolChoice" not in asked(model, tools=tools, tool_choice="required")["toolConfig"]


def test_sampling_is_sent_where_it_is_taken() -> None:
    hot = {"temperature": 1.7, "top_p": 0.5, "top_k": 3, "stop": ["END"], "max_tokens": 9}
    sent = asked(NOVA, **hot)
    assert sent["inferenceConfig"] == {"maxTokens": 9, "stopSequences": ["END"], "temperature": 1.0, "topP": 0.5}
    assert sent["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 3}}
    assert asked(MISTRAL, **hot)["additionalModelRequestFields"] == {"top_k": 3}
    assert asked(OLD, **hot)["additionalModelRequestFields"] == {"top_k": 3}
    assert "additionalModelRequestFields" not in asked(LLAMA, **hot)
    assert asked(NEW, **hot)["inferenceConfig"] == {"maxTokens": 9, "stopSequences": ["END"]}
    assert asked(NOVA) == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    call = ModelCall(model=NOVA, messages=[said("user", "a")], extra={"requestMetadata": {"a": "b"}})
    more = body(call, max_tokens=5, guardrail={"guardrailIdentifier": "g"}, body={"serviceTier": {"type": "flex"}})
    assert (more["inferenceConfig"], more["guardrailConfig"]) == ({"maxTokens": 5}, {"guardrailIdentifier": "g"})
    assert (more["serviceTier"], more["requestMetadata"]) == ({"type": "flex"}, {"a": "b"})


@pytest.mark.parametrize(
    ("model", "reasoning", "more", "effort"),
    [
        (BUDGET, "medium", {"thinking": {"type": "enabled", "budget_tokens": 8192}}, None),
        (NEW, "high", {"thinking": {"type": "adaptive", "display": "summarized"}}, "high"),
        (NEW, "none", {"thinking": {"type": "disabled"}}, None),
        (OLD, "high", None, None),
        (NOVA2, "minimal", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, None),
        (NOVA2, "none", {"reasoningConfig": {"type": "disabled"}}, None),
        (OSS, "high", {"reasoning_effort": "high"}, None),
        (LLAMA, "high", None, None),
    ],
)
def test_thinking(model: str, reasoning: str, more: dict[str, Any] | None, effort: str | None) -> None:
    sent = asked(model, reasoning=reasoning)
    assert sent.get("additionalModelRequestFields") == more
    assert sent.get("outputConfig", {}).get("effort") == effort


def test_json_by_schema_by_tool_and_by_asking() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    sent = asked(BUDGET, output=OutputFormat(schema=schema))["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (sent["name"], json.loads(sent["schema"])) == ("answer", {**schema, "additionalProperties": False})
    by_tool = request(ModelCall(model=NOVA, messages=[said("user", "a")], output=OutputFormat(schema=schema)), {})
    assert (by_tool.answer_tool, by_tool.body["toolConfig"]["toolChoice"]) == ("answer", {"tool": {"name": "answer"}})
    beside = asked(OLD, tools=[ToolSpec(name="f")], output=OutputFormat())
    assert beside["toolConfig"]["toolChoice"] == {"any": {}}
    by_asking = asked(LLAMA, output=OutputFormat(schema=schema))
    assert '"properties"' in by_asking["system"][0]["text"]
    assert "JSON" in asked(ALWAYS, output=OutputFormat())["system"][0]["text"]


# -- the official model of the service takes what we send

words = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
objects = st.dictionaries(names, st.none() | st.booleans() | st.integers(-99, 99) | words, max_size=3)
simple_parts = st.one_of(
    st.builds(lambda t, c: {"type": "text", "text": t} | ({"cache": True} if c else {}), words, st.booleans()),
    st.builds(
        lambda d: {"type": "image", "data": base64.b64encode(d).decode(), "media_type": "image/png"},
        st.binary(min_size=1, max_size=9),
    ),
    st.builds(lambda n: {"type": "file", "data": "AA==", "media_type": "text/plain", "name": n}, words),
    st.builds(lambda o: {"type": "json", "json": o}, objects),
)
parts = st.one_of(
    simple_parts,
    st.builds(lambda t, s: {"type": "reasoning", "text": t, "signature": s}, words, words),
    st.builds(lambda d: {"type": "reasoning", "text": "", "data": base64.b64encode(d).decode()}, st.binary(max_size=9)),
    st.builds(lambda i, n, o: {"type": "tool_use", "id": i, "name": n, "input": o}, names, names, objects),
    st.builds(
        lambda i, c, e: {"type": "tool_result", "tool_use_id": i, "content": c, "is_error": e},
        names,
        st.lists(simple_parts.filter(lambda part: not part.get("cache")), max_size=2),
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
    model=st.sampled_from([BUDGET, NEW, ALWAYS, OLD, NOVA, NOVA2, LLAMA, OSS, MISTRAL]),
    messages=st.lists(messages, min_size=1, max_size=6),
    tools=st.lists(
        st.builds(ToolSpec, name=names, description=words, parameters=schemas, strict=st.booleans()), max_size=2
    ),
    tool_choice=st.sampled_from(["", "auto", "none", "required", "tool:f"]),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 99),
    max_tokens=st.none() | st.integers(1, 9999),
    stop=st.lists(words.filter(bool), max_size=2),
    output=st.none() | st.builds(OutputFormat, schema=st.none() | schemas),
    reasoning=st.sampled_from(["", "none", "minimal", "low", "medium", "high", "9000"]),
)


def unpacked(value: Any) -> Any:
    """Bytes are base64 over the wire, and bytes in the official client."""
    if isinstance(value, dict):
        return {
            key: base64.b64decode(each)
            if key in {"bytes", "redactedContent"} and isinstance(each, str)
            else unpacked(each)
            for key, each in value.items()
        }
    return [unpacked(each) for each in value] if isinstance(value, list) else value


@settings(max_examples=100, deadline=None)
@given(calls)
def test_the_official_validator_takes_what_is_sent(call: ModelCall) -> None:
    sent = body(call)
    report = ParamValidator().validate(
        {"modelId": call.model, **unpacked(sent)}, service().operation_model("Converse").input_shape
    )
    assert not report.has_errors(), report.generate_report()
    roles = [message["role"] for message in sent["messages"]]
    assert all(one != two for one, two in itertools.pairwise(roles))
    if "toolConfig" in sent:
        assert sent["toolConfig"]["tools"]


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
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
                {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
                {"text": "Grüße, Wörld"},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": [1, "ü"]}}},
                {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {
        "inputTokens": 10,
        "outputTokens": 5,
        "totalTokens": 22,
        "cacheReadInputTokens": 4,
        "cacheWriteInputTokens": 3,
    },
    "metrics": {"latencyMs": 1},
}
EXPECTED = ModelReply(
    content=[
        {"type": "reasoning", "text": "Hm.", "signature": "sig"},
        {"type": "reasoning", "text": "", "data": "c2VjcmV0"},
        {"type": "text", "text": "Grüße, Wörld"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": [1, "ü"]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    stop_reason="tool_use",
    usage=Usage(input=10, cache_read=4, cache_write=3, output=5),
)


def events_of(answer: dict[str, Any], size: int = 3) -> list[tuple[str, dict[str, Any]]]:
    """The stream that says what the whole answer says."""
    events: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(answer["output"]["message"]["content"]):
        pieces: list[dict[str, Any]] = []
        if "text" in block:
            pieces = [{"text": block["text"][at : at + size]} for at in range(0, len(block["text"]), size)]
        elif "toolUse" in block:
            start = {key: block["toolUse"][key] for key in ("toolUseId", "name")}
            events.append(("contentBlockStart", {"start": {"toolUse": start}, "contentBlockIndex": index}))
            text = json.dumps(block["toolUse"]["input"], ensure_ascii=False)
            pieces = [{"toolUse": {"input": text[at : at + size]}} for at in range(0, len(text), size)]
        elif "reasoningText" in block["reasoningContent"]:
            thought = block["reasoningContent"]["reasoningText"]
            pieces = [{"reasoningContent": {key: thought[key]}} for key in ("text", "signature")]
        else:
            secret = base64.b64decode(block["reasoningContent"]["redactedContent"])
            halves = [secret[:2], secret[2:]]
            pieces = [{"reasoningContent": {"redactedContent": base64.b64encode(half).decode()}} for half in halves]
        events += [("contentBlockDelta", {"delta": piece, "contentBlockIndex": index}) for piece in pieces]
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    events.append(("messageStop", {"stopReason": answer["stopReason"]}))
    events.append(("metadata", {"usage": answer["usage"], "metrics": {"latencyMs": 1}}))
    return events


def streamed(answer: dict[str, Any], size: int = 3, answer_tool: str = "") -> tuple[list[Any], answers.BedrockStream]:
    stream, deltas = answers.BedrockStream(answer_tool), []
    for name, event in events_of(answer, size):
        stream.take(name, answers.decode_event(json.dumps(event).encode()))
        deltas += stream.came()
    return deltas, stream


def test_a_whole_answer_is_one_to_the_official_parser_too() -> None:
    assert answers.reply(json.dumps(WHOLE).encode()) == (EXPECTED, "tool_use", True)
    parsed = create_parser("rest-json").parse(
        {"status_code": 200, "headers": {}, "body": json.dumps(WHOLE).encode()},
        service().operation_model("Converse").output_shape,
    )
    assert parsed["output"]["message"]["content"] == unpacked(WHOLE["output"])["message"]["content"]
    assert parsed["usage"] == WHOLE["usage"]


@given(st.integers(1, 20))
def test_a_stream_says_what_the_whole_answer_says(size: int) -> None:
    deltas, stream = streamed(WHOLE, size)
    assert stream.reply() == EXPECTED
    assert (stream.stopped, stream.counted) == ("tool_use", True)
    assert "".join(delta.text for delta in deltas if delta.kind == "text") == "Grüße, Wörld"
    assert [(d.index, d.id, d.name) for d in deltas if d.kind == "tool_use"] == [(3, "t1", "f"), (4, "t2", "g")]


def test_what_comes_back_can_be_sent_back() -> None:
    own = {"citationsContent": {"content": [{"text": "x"}]}}
    content = [*WHOLE["output"]["message"]["content"], own]
    answer = {**WHOLE, "output": {"message": {"role": "assistant", "content": content}}}
    reply, _, _ = answers.reply(json.dumps(answer).encode())
    assert asked(BUDGET, said("user", "a"), reply.as_message())["messages"][1]["content"] == content


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop_sequence"),
        ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("malformed_tool_use", "other"),
    ],
)
def test_why_it_stopped(theirs: str, ours: str) -> None:
    answer = {**WHOLE, "stopReason": theirs}
    assert answers.reply(json.dumps(answer).encode())[0].stop_reason == ours
    assert streamed(answer)[1].reply().stop_reason == ours


def test_the_tool_that_stands_for_the_answer_is_the_answer() -> None:
    block = {"toolUse": {"toolUseId": "t", "name": "answer", "input": {"a": 1}}}
    answer = {**WHOLE, "output": {"message": {"content": [block]}}}
    reply, _, _ = answers.reply(json.dumps(answer).encode(), "answer")
    assert (reply.text, reply.stop_reason) == ('{"a":1}', "end")
    deltas, stream = streamed(answer, 3, "answer")
    assert {delta.kind for delta in deltas} == {"text"}
    assert (json.loads(stream.reply().text), stream.reply().stop_reason) == ({"a": 1}, "end")


def test_citations_are_kept_and_news_passed_over() -> None:
    stream = answers.BedrockStream()
    for name, event in (
        ("contentBlockStart", {"start": {"image": {"format": "png"}}, "contentBlockIndex": 1}),
        ("contentBlockDelta", {"delta": {"citation": {"title": "t"}}, "contentBlockIndex": 0}),
        ("contentBlockDelta", {"delta": {"text": "x"}, "contentBlockIndex": 0}),
        ("contentBlockDelta", {"delta": {"news": 1}, "contentBlockIndex": 0}),
        ("news", {}),
    ):
        stream.take(name, answers.decode_event(json.dumps(event).encode()))
    assert stream.reply().content == [{"type": "text", "text": "x", "citations": [{"title": "t"}]}]
    with pytest.raises(KeyError):
        stream.take(
            "contentBlockDelta", answers.decode_event(b'{"delta":{"toolUse":{"input":"x"}},"contentBlockIndex":7}')
        )


@given(*[st.integers(0, 10**6)] * 4, st.booleans())
def test_kinds_of_usage_never_overlap(read: int, written: int, hit: int, kept: int, overlap: bool) -> None:
    shown = read + (hit + kept if overlap else 0)
    total = shown + written + (0 if overlap else hit + kept)
    said = answers.UsageJson(
        input_tokens=shown,
        output_tokens=written,
        total_tokens=total,
        cache_read_input_tokens=hit,
        cache_write_input_tokens=kept,
    )
    usage = said.usage()
    assert usage == Usage(input=read, output=written, cache_read=hit, cache_write=kept)
    assert usage.total == total


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_pieces_of_base64_are_joined(one: bytes, two: bytes) -> None:
    joined = answers.joined(base64.b64encode(one).decode(), base64.b64encode(two).decode())
    assert base64.b64decode(joined) == one + two


# -- refusals


@pytest.mark.parametrize(
    ("status", "kind", "words", "error"),
    [
        (429, "ThrottlingException", "Too many tokens, please wait", ModelRateLimited),
        (400, "ServiceQuotaExceededException", "quota", ModelRateLimited),
        (429, "ModelNotReadyException", "warming", ModelUnavailable),
        (503, "ServiceUnavailableException", "busy", ModelUnavailable),
        (500, "InternalServerException", "oh", ModelUnavailable),
        (408, "ModelTimeoutException", "slow", ModelTimeout),
        (424, "ModelErrorException", "oh", ModelFailed),
        (403, "AccessDeniedException", "no", ModelAuthFailed),
        (403, "ExpiredTokenException", "old", ModelAuthFailed),
        (404, "ResourceNotFoundException", "where", ModelNotFound),
        (400, "ValidationException", "The provided model identifier is invalid.", ModelNotFound),
        (400, "ValidationException", "Input is too long for requested model.", ContextTooLong),
        (400, "ValidationException", "prompt is too long: 9 tokens > 8 maximum", ContextTooLong),
        (400, "ValidationException", "Output blocked by content filtering policy", ContentFiltered),
        (400, "ValidationException", "messages: wrong", ModelRequestInvalid),
        (418, "NewsException", "?", ModelRequestInvalid),
        (502, "", "", ModelUnavailable),
        (403, "", "", ModelAuthFailed),
    ],
)
def test_refusals(status: int, kind: str, words: str, error: type[ModelFailed]) -> None:
    headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/"} if kind else {}
    failed = failure("there", "m", status, json.dumps({"message": words}).encode(), headers | {"retry-after": "7"}, 0.0)
    assert type(failed) is error
    assert (failed.provider, failed.model, failed.provider_status, failed.provider_code) == ("there", "m", status, kind)
    assert (failed.retry_after_s, words in failed.message) == (7, True)
    named = json.dumps({"__type": f"com.amazon.coral.service#{kind}", "Message": words}).encode()
    assert type(failure("there", "m", status, named, {}, 0.0)) is error


def test_a_page_of_a_proxy_is_shown_shortened() -> None:
    failed = failure("there", "m", 502, b"<html>" + b"x" * 9000, {}, 0.0)
    assert (type(failed), len(failed.message) < 600) == (ModelUnavailable, True)
    failed = stream_failure("there", "m", "throttlingException", b"<slow down>")
    assert (type(failed), failed.message) == (ModelRateLimited, "there: <slow down>")
