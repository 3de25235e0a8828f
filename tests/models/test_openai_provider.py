from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import pack
from typing import Any

import openai
import pytest
from faulty_server import Answer, FaultyServer, faulty_server, sliced
from model_scene import TurnedClock, said_in
from openai_calls import asking, by

from corral.errors import (
    ConfigError,
    ContextTooLong,
    ModelAuthFailed,
    ModelFailed,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelTimeout,
    ModelUnavailable,
)
from corral.messages import Delta, EmbedCall, ModelCall, ModelReply, Usage, closing
from corral.models.openai import OpenAIProvider, build_openai
from corral.models.openai_account import account
from corral.models.provider import LimitsSeen, ModelInfo
from corral.models.stack import reply_of
from corral.settings.model_sections import ProviderSettings

GUESS = Usage(input=100, output=50)
ESTIMATED = Usage(input=100, output=50, estimated=True)
HELLO = [{"type": "text", "text": "Hello"}]
HEL = [{"type": "text", "text": "Hel"}]
EVENT_STREAM = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CHAT: dict[str, Any] = {
    "id": "r",
    "object": "chat.completion",
    "model": "m-1",
    "created": 5,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
RESPONSE: dict[str, Any] = {
    "id": "r",
    "object": "response",
    "model": "m-1",
    "created_at": 5,
    "status": "completed",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [
        {
            "type": "message",
            "id": "msg",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 3,
        "output_tokens": 2,
        "total_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}
EXPECTED = ModelReply(
    id="r", model="m-1", provider="there", content=HELLO, usage=Usage(input=3, output=2), created_at=5
)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "r", "object": "chat.completion.chunk", "model": "m-1", "created": 5, "choices": choices, **more}


CHUNKS = [
    chunk({"role": "assistant", "content": "Hel"}),
    chunk({"content": "lo"}),
    chunk({}, "stop"),
    chunk(usage=USAGE),
    "[DONE]",
]
AT: dict[str, Any] = {"item_id": "msg", "output_index": 0, "content_index": 0, "logprobs": []}
BEGUN = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
EVENTS = [
    {"type": "response.created", "response": BEGUN},
    {"type": "response.output_item.added", "output_index": 0, "item": {**RESPONSE["output"][0], "content": []}},
    {
        "type": "response.content_part.added",
        **AT,
        "part": {"type": "output_text", "text": "", "annotations": []},
    },
    {"type": "response.output_text.delta", **AT, "delta": "Hel"},
    {"type": "response.output_text.delta", **AT, "delta": "lo"},
    {"type": "response.output_item.done", "output_index": 0, "item": RESPONSE["output"][0]},
    {"type": "response.completed", "response": RESPONSE},
]
APIS = ("chat", "responses")
STREAMED: dict[str, list[Any]] = {"chat": CHUNKS, "responses": EVENTS}
WHOLE = {"chat": CHAT, "responses": RESPONSE}
BEGINNING = {"chat": CHUNKS[:1], "responses": EVENTS[:4]}
"""What had come when it breaks."""


def sse(*events: dict[str, Any] | str) -> list[bytes]:
    return [f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n".encode() for each in events]


def call(stream: bool, **more: Any) -> ModelCall:
    return asking(by("user", "Hi"), model="m", stream=stream, **more)


@asynccontextmanager
async def scene(api: str = "chat", **more: Any) -> AsyncIterator[tuple[FaultyServer, OpenAIProvider]]:
    async with faulty_server() as server:
        told: dict[str, Any] = {"base_url": f"{server.url}/v1", "api_key": "sk-secret-1", "options": {"api": api}}
        provider = build_openai("there", ProviderSettings(**told | more), {}, lambda *_: GUESS, TurnedClock())
        assert isinstance(provider, OpenAIProvider)
        await provider.start()
        try:
            yield server, provider
        finally:
            assert provider.transport.open == 0
            await provider.stop()
            await provider.stop()


async def into(events: list[Any], provider: OpenAIProvider, one: ModelCall) -> None:
    async with closing(provider.call(one)) as coming:
        async for event in coming:
            events.append(event)  # noqa: PERF401 - what came before an error counts


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
async def test_a_call_is_answered(api: str, stream: bool) -> None:
    async with scene(api, headers={"X-Team": "a"}, query={"k": "v"}) as (server, provider):
        pieces = sliced(b"".join(sse(*STREAMED[api])), 7) if stream else [json.dumps(WHOLE[api]).encode()]
        server.answer = Answer(headers={"x-ratelimit-remaining-requests": "9"}, pieces=pieces)
        one = call(stream)
        for _ in range(3):
            events: list[Any] = []
            await into(events, provider, one)
            *deltas, reply = events
            assert said_in(deltas) == (["Hel", "lo"] if stream else [])
            assert reply == EXPECTED
        assert one.notes["limits"] == LimitsSeen(requests_left=9)
        assert server.connections == 1
        asked = server.asked[0]
        path = {"chat": "/v1/chat/completions?k=v", "responses": "/v1/responses?k=v"}[api]
        assert (asked.method, asked.path) == ("POST", path)
        assert (asked.headers["authorization"], asked.headers["x-team"]) == ("Bearer sk-secret-1", "a")
        assert asked.headers["content-type"] == "application/json"
        assert asked.json.get("stream", False) is stream


QUOTA = b'{"error": {"message": "You exceeded sk-secret-1", "code": "insufficient_quota"}}'
REFUSALS: list[tuple[Answer, type[ModelFailed]]] = [
    (Answer(status=429, headers={"retry-after-ms": "1500"}, pieces=[b'{"error": {"message": "m"}}']), ModelRateLimited),
    (Answer(status=429, pieces=[QUOTA]), ModelAuthFailed),
    (Answer(status=500, pieces=[b'{"error": {"message": "m", "type": "server_error"}}']), ModelFailed),
    (Answer(status=503, pieces=[b"<html>oh</html>"]), ModelUnavailable),
    (Answer(status=401, pieces=[b'{"error": {"message": "Bad key sk-secret-1"}}']), ModelAuthFailed),
    (
        Answer(status=400, headers=JSON, pieces=[b'{"error": {"message": "m", "code": "context_length_exceeded"}}']),
        ContextTooLong,
    ),
    (Answer(status=400, pieces=[]), ModelRequestInvalid),
    (Answer(status=429, pieces=[b'{"error"'], fault="cut"), ModelStreamBroken),
    (Answer(status=429, pieces=[b'{"error"'], fault="hang"), ModelTimeout),
    (Answer(fault="hang"), ModelTimeout),
    (Answer(fault="close"), ModelUnavailable),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("answer", "error"), REFUSALS)
async def test_refusals_are_told_apart(answer: Answer, error: type[ModelFailed], stream: bool) -> None:
    async with scene(idle_s=0.2) as (server, provider):
        server.answer = answer
        one = call(stream)
        with pytest.raises(ModelFailed) as failed:
            await reply_of(provider.call(one))
        assert type(failed.value) is error
        assert (failed.value.provider, failed.value.model, failed.value.partial) == ("there", "m", None)
        assert "sk-secret" not in str(failed.value)
        assert failed.value.retry_after_s == (1.5 if error is ModelRateLimited else None)
        assert ("limits" in one.notes) is (error is ModelRateLimited)


ERROR = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
BREAKS: list[tuple[list[bytes], str, type[ModelFailed]]] = [
    ([], "cut", ModelStreamBroken),
    ([], "", ModelStreamBroken),
    ([], "hang", ModelTimeout),
    ([b"data: {oops\n\n"], "", ModelStreamBroken),
    ([b'data: {"choices": 7, "item": 7}\n\n'], "", ModelStreamBroken),
    ([b'data: "\xff"\n\n'], "", ModelStreamBroken),
    (sse(ERROR), "", ModelRateLimited),
    (sse({"error": {"message": "gone"}}), "hang", ModelStreamBroken),
]


@pytest.mark.parametrize("api", APIS)
async def test_what_comes_at_once_goes_on_at_once(api: str) -> None:
    async with scene(api) as (server, provider):
        server.answer = Answer(headers=EVENT_STREAM, pieces=[b"".join(sse(*STREAMED[api]))])
        events: list[Any] = []
        await into(events, provider, call(True))
        assert events == [Delta("text", "Hello", pieces=("Hel", "lo")), EXPECTED]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(("pieces", "fault", "error"), BREAKS)
async def test_a_stream_that_breaks_says_what_had_come(
    pieces: list[bytes], fault: str, error: type[ModelFailed], at_once: bool, api: str
) -> None:
    async with scene(api, idle_s=0.2) as (server, provider):
        parts = [*sse(*BEGINNING[api]), *pieces]
        server.answer = Answer(pieces=[b"".join(parts)] if at_once else parts, fault=fault)
        deltas: list[Any] = []
        with pytest.raises(ModelFailed) as failed:
            await into(deltas, provider, call(True))
        assert type(failed.value) is error
        assert deltas == [Delta("text", "Hel")]
        partial = failed.value.partial
        assert isinstance(partial, ModelReply)
        assert (partial.id, partial.provider, partial.content) == ("r", "there", HEL)
        assert partial.usage == ESTIMATED
        assert (failed.value.provider, failed.value.model) == ("there", "m")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("pieces", [[], [b"{}"], [b"[7]"], [b"\xff"], [b"<html>"]])
async def test_an_answer_that_is_none(pieces: list[bytes], api: str) -> None:
    async with scene(api) as (server, provider):
        server.answer = Answer(headers=JSON, pieces=pieces)
        for stream in (False, True):
            with pytest.raises(ModelFailed, match="there: The answer is no"):
                await reply_of(provider.call(call(stream)))
        server.answer = Answer(headers=EVENT_STREAM, pieces=pieces)
        with pytest.raises(ModelStreamBroken, match="ended before"):
            await reply_of(provider.call(call(True)))


async def test_a_whole_answer_that_is_cut_or_slow() -> None:
    async with scene() as (server, provider):
        body = json.dumps(CHAT).encode()
        server.answer = Answer(pieces=[body[:9]], fault="cut")
        with pytest.raises(ModelStreamBroken):
            await reply_of(provider.call(call(False)))
        server.answer = Answer(pieces=sliced(body, 100), pause_s=0.001)
        assert await reply_of(provider.call(call(False))) == EXPECTED
        server.answer = Answer(pieces=sse(*CHUNKS), pause_s=0.001)
        assert await reply_of(provider.call(call(True))) == EXPECTED


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
async def test_usage_that_was_not_told_is_estimated(api: str, stream: bool) -> None:
    async with scene(api, options={"api": api, "stream_usage": False}) as (server, provider):
        without = {**WHOLE[api], "usage": None, "created": None, "created_at": None, "model": ""}
        last = {"type": "response.completed", "response": without}
        streamed = [*CHUNKS[:3], "[DONE]"] if api == "chat" else [*EVENTS[1:-1], last]
        server.answer = Answer(pieces=sse(*streamed) if stream else [json.dumps(without).encode()])
        reply = await reply_of(provider.call(call(stream)))
        assert (reply.content, reply.usage) == (HELLO, ESTIMATED)
        assert "stream_options" not in server.asked[0].json
        if not (api == "chat" and stream):
            assert (reply.model, reply.created_at) == ("m", 1000.0)


@pytest.mark.parametrize("fault", ["cut", "hang", ""])
async def test_an_answer_that_is_whole_but_for_its_usage_counts(fault: str) -> None:
    async with scene(idle_s=0.2) as (server, provider):
        server.answer = Answer(pieces=sse(*CHUNKS[:3]), fault=fault)
        reply = await reply_of(provider.call(call(True)))
        assert (reply.content, reply.stop_reason, reply.usage) == (HELLO, "end", ESTIMATED)


@pytest.mark.parametrize("api", APIS)
async def test_a_server_that_does_not_end_its_stream_is_not_waited_for(api: str) -> None:
    async with scene(api, idle_s=30) as (server, provider):
        server.answer = Answer(pieces=sse(*STREAMED[api]), fault="hang")
        assert await reply_of(provider.call(call(True))) == EXPECTED
        await server.left.wait()


@pytest.mark.parametrize("api", APIS)
async def test_a_server_that_does_not_stream_is_read_all_the_same(api: str) -> None:
    async with scene(api) as (server, provider):
        server.answer = Answer(headers=JSON, pieces=[json.dumps(WHOLE[api]).encode()])
        events: list[Any] = []
        await into(events, provider, call(True))
        assert events == [Delta("text", "Hello"), EXPECTED]


async def test_who_stops_early_closes_the_connection() -> None:
    async with scene() as (server, provider):
        server.answer = Answer(pieces=sse(*CHUNKS[:1]), fault="hang")
        async with closing(provider.call(call(True))) as events:
            assert await anext(events) == Delta("text", "Hel", 0)
            assert provider.transport.open == 1
        assert provider.transport.open == 0
        await server.left.wait()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_deadline_is_kept(stream: bool) -> None:
    async with scene() as (server, provider):
        server.answer = Answer(fault="hang")
        with pytest.raises(ModelTimeout):
            await reply_of(provider.call(call(stream, deadline=1000.1)))
        with pytest.raises(ModelTimeout):
            await reply_of(provider.call(call(stream, deadline=999.0)))
        assert len(server.asked) == 1


async def test_calls_that_cannot_be_written_are_not_sent() -> None:
    async with scene() as (server, provider):
        for wrong in (
            asking(by("user", {"type": "tool_result", "content": "x"})),
            asking(by("user", {"type": "image"})),
            asking(by("user", "Hi"), extra={"x": object()}),
        ):
            with pytest.raises(ModelRequestInvalid, match="there: "):
                await reply_of(provider.call(wrong))
        assert not server.asked


# -- embeddings and models


def base64(*numbers: float) -> str:
    return b64encode(pack(f"<{len(numbers)}f", *numbers)).decode()


async def test_embeddings_come_in_the_order_of_their_texts() -> None:
    async with scene() as (server, provider):
        data = [{"index": 1, "embedding": [0.25, 1.0]}, {"index": 0, "embedding": base64(0.5, -2.0)}]
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        server.answer = Answer(pieces=[json.dumps({"data": data, "model": "e-1", "usage": usage}).encode()])
        one = EmbedCall(model="e", texts=["a", "b"], dimensions=2, extra={"user": "u"})
        reply = await provider.embed(one)
        assert reply.vectors == [[0.5, -2.0], [0.25, 1.0]]
        assert (reply.model, reply.provider, reply.usage) == ("e-1", "there", Usage(input=4))
        assert server.asked[0].path == "/v1/embeddings"
        assert server.asked[0].json == {
            "model": "e",
            "input": ["a", "b"],
            "encoding_format": "float",
            "dimensions": 2,
            "user": "u",
        }


async def test_embeddings_without_usage_or_numbers() -> None:
    async with scene(options={"embedding_encoding": "base64"}) as (server, provider):
        server.answer = Answer(pieces=[b'{"data": [{"embedding": [1]}]}'])
        reply = await provider.embed(EmbedCall(model="e", texts=["a"]))
        assert (reply.vectors, reply.model, reply.usage) == ([[1.0]], "e", Usage(input=100, estimated=True))
        assert server.asked[0].json["encoding_format"] == "base64"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "no embeddings"),
        (b'{"data": []}', "one for each"),
        (b'{"data": [{"index": 3, "embedding": [1]}]}', "one for each"),
        (b'{"data": [{"embedding": "%%%"}]}', "no base64"),
        (b'{"data": [{"embedding": "aGk="}]}', "32-bit"),
        (b'{"error": {"message": "oh", "code": 500}}', "oh"),
    ],
)
async def test_embeddings_that_are_none(body: bytes, says: str) -> None:
    async with scene() as (server, provider):
        server.answer = Answer(pieces=[body])
        with pytest.raises(ModelFailed, match=says) as failed:
            await provider.embed(EmbedCall(model="e", texts=["a"]))
        assert (failed.value.provider, failed.value.model) == ("there", "e")


async def test_models_are_listed() -> None:
    async with scene() as (server, provider):
        listed = [
            {"id": "a", "created": 7, "max_model_len": 99},
            {"id": "text-embedding-3"},
            {"id": "o/r", "context_length": 5},
        ]
        server.answer = Answer(pieces=[json.dumps({"object": "list", "data": listed}).encode()])
        assert await provider.models() == [
            ModelInfo(id="there/a", provider="there", created=7, context_tokens=99),
            ModelInfo(id="there/text-embedding-3", provider="there", kind="embedding"),
            ModelInfo(id="there/o/r", provider="there", context_tokens=5),
        ]
        assert (server.asked[0].method, server.asked[0].path) == ("GET", "/v1/models")
        server.answer = Answer(pieces=[b"[]"])
        with pytest.raises(ModelFailed, match="no list of models"):
            await provider.models()
        server.answer = Answer(status=404, pieces=[b"nothing"])
        with pytest.raises(ModelFailed, match="there: nothing"):
            await provider.models()
    async with scene(models=["a", "b-embed"]) as (server, provider):
        assert [(model.id, model.kind) for model in await provider.models()] == [
            ("there/a", "chat"),
            ("there/b-embed", "embedding"),
        ]
        assert not server.asked


# -- OpenAI's own client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
async def test_the_official_client_reads_the_same_out_of_the_same_answer(api: str, stream: bool) -> None:
    async with scene(api) as (server, provider):
        pieces = sse(*STREAMED[api]) if stream else [json.dumps(WHOLE[api]).encode()]
        server.answer = Answer(headers=EVENT_STREAM if stream else JSON, pieces=pieces)
        ours = await reply_of(provider.call(call(stream)))
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
            body = server.asked[0].json
            if api == "chat":
                said, tokens = await their_chat(client, body, stream)
            else:
                said, tokens = await their_response(client, body, stream)
        assert server.asked[1].json == body
        assert (said, tokens) == (ours.text, ours.usage.output)


async def their_chat(client: openai.AsyncOpenAI, body: dict[str, Any], stream: bool) -> tuple[str, int]:
    if not stream:
        answer = await client.chat.completions.create(**body)
        return answer.choices[0].message.content, answer.usage.completion_tokens
    chunks = [each async for each in await client.chat.completions.create(**body)]
    said = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    return said, chunks[-1].usage.completion_tokens


async def their_response(client: openai.AsyncOpenAI, body: dict[str, Any], stream: bool) -> tuple[str, int]:
    answer = await client.responses.create(**body)
    if stream:
        answer = [event async for event in answer][-1].response
    return answer.output_text, answer.usage.output_tokens


# -- where it is, and with which key


def at(env: dict[str, str] | None = None, **more: Any) -> Any:
    return account("there", ProviderSettings(**more), env or {})


def test_openai_itself_needs_a_key() -> None:
    with pytest.raises(ConfigError, match=r"models\.providers\.there\.api_key.*OPENAI_API_KEY"):
        at()
    found = at({"OPENAI_API_KEY": "from-env-1"})
    assert found.url("chat/completions", "m") == "https://api.openai.com/v1/chat/completions"
    assert found.headers["authorization"] == "Bearer from-env-1"
    assert found.dialect.official
    assert at({"OPENAI_API_KEY": "from-env-1"}, api_key=" own-key ").headers["authorization"] == "Bearer own-key"
    assert at(headers={"Authorization": "Bearer x"}).headers["authorization"] == "Bearer x"
    assert set(found.secrets) == {"from-env-1"}


def test_a_key_of_openai_goes_to_no_other_server() -> None:
    found = at({"OPENAI_API_KEY": "from-env-1"}, base_url="http://localhost:11434/v1/")
    assert "authorization" not in found.headers
    assert found.url("models", "") == "http://localhost:11434/v1/models"
    assert not found.dialect.official
    proxy = at({"OPENAI_API_KEY": "from-env-1", "OPENAI_BASE_URL": "http://proxy/v1"})
    assert proxy.headers["authorization"] == "Bearer from-env-1"  # who set both means both
    assert proxy.url("models", "") == "http://proxy/v1/models"


def test_azure_has_two_kinds_of_addresses() -> None:
    with pytest.raises(ConfigError, match=r"base_url.*AZURE_OPENAI_ENDPOINT"):
        at(kind="azure", api_key="k")
    with pytest.raises(ConfigError, match=r"api-version.*OPENAI_API_VERSION"):
        at(kind="azure", api_key="k", base_url="https://x.openai.azure.com")
    with pytest.raises(ConfigError, match="AZURE_OPENAI_API_KEY"):
        at(kind="azure", base_url="https://x.openai.azure.com/openai/v1")
    env = {
        "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com/",
        "AZURE_OPENAI_API_KEY": "secret-key",
        "OPENAI_API_VERSION": "2024-10-21",
    }
    old = at(env, kind="azure")
    root, version = "https://x.openai.azure.com/openai", "?api-version=2024-10-21"
    assert old.url("chat/completions", "my gpt") == f"{root}/deployments/my%20gpt/chat/completions{version}"
    assert old.url("embeddings", "e") == f"{root}/deployments/e/embeddings{version}"
    assert old.url("responses", "m") == f"{root}/responses{version}"
    assert old.url("models", "") == f"{root}/models{version}"
    assert old.headers["api-key"] == "secret-key"
    assert "authorization" not in old.headers
    assert old.dialect.azure
    new = at(env, kind="azure", base_url=f"{root}/v1/")
    assert new.url("chat/completions", "m") == f"{root}/v1/chat/completions"
    one = at(env, kind="azure", base_url=f"{root}/deployments/d", query={"api-version": "v"})
    assert one.url("chat/completions", "m") == f"{root}/deployments/d/chat/completions?api-version=v"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"base_url": "ftp://there"}, r"there\.base_url"),
        ({"base_url": "https://there/v1?x=1"}, r"there\.base_url"),
        ({"api_key": "sk-…"}, r"there\.api_key"),
        ({"api_key": "sk-1\nsk-2"}, r"there\.api_key"),
        ({"api_key": "k", "headers": {"x": "a\nb"}}, r"there\.headers\.x"),
        ({"api_key": "k", "options": {"apo": "chat"}}, r"there\.options.*apo.*There are: api, "),
        ({"api_key": "k", "options": {"api": "chats"}}, r"there\.options.*chats"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        at(**wrong)


def test_what_may_be_a_secret_is_one() -> None:
    found = at(
        api_key="key-of-mine",
        headers={"Authorization": "Bearer another-one", "X-Title": "My application"},
        query={"sig": "signature", "api-version": "2024-10-21"},
    )
    assert set(found.secrets) == {"key-of-mine", "Bearer another-one", "another-one", "signature"}
