from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from faulty_server import Answer, FaultyServer, faulty_server, sliced
from model_scene import TurnedClock, said_in

from corral.errors import (
    ConfigError,
    ModelAuthFailed,
    ModelFailed,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelTimeout,
    ModelUnavailable,
)
from corral.messages import Delta, EmbedCall, Message, ModelCall, ModelReply, Usage, closing
from corral.models.anthropic import AnthropicProvider, build_anthropic
from corral.models.provider import LimitsSeen, Provider
from corral.models.stack import reply_of
from corral.settings.model_sections import ProviderSettings

USAGE = {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 5}
WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {**WHOLE, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 5},
    },
    {"type": "message_stop"},
]
HELLO = [{"type": "text", "text": "Hello"}]
HEL = [{"type": "text", "text": "Hel"}]
GUESS = Usage(input=100, output=50)


def sse(*events: dict[str, Any]) -> list[bytes]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def call(stream: bool, **more: Any) -> ModelCall:
    said = [Message(role="user", content=[{"type": "text", "text": "Hi"}])]
    return ModelCall(model="claude-sonnet-5", messages=said, stream=stream, **more)


@asynccontextmanager
async def scene(**more: Any) -> AsyncIterator[tuple[FaultyServer, AnthropicProvider]]:
    async with faulty_server() as server:
        settings = ProviderSettings(kind="anthropic", base_url=server.url, api_key="sk-secret", **more)
        provider = build_anthropic("there", settings, {}, lambda _call, _reply: GUESS, TurnedClock())
        await provider.start()
        try:
            yield server, provider
        finally:
            assert provider.transport.open == 0
            await provider.stop()
            await provider.stop()


async def collected(provider: Provider, one: ModelCall) -> tuple[list[Delta], ModelReply]:
    async with closing(provider.call(one)) as events:
        *deltas, reply = [event async for event in events]
    assert all(type(delta) is Delta for delta in deltas)
    assert type(reply) is ModelReply
    return deltas, reply


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_is_answered(stream: bool) -> None:
    async with scene(headers={"X-Team": "a"}, query={"k": "v"}, options={"beta": ["one", "two"]}) as (server, provider):
        pieces = sliced(b"".join(sse(*EVENTS)), 7) if stream else [json.dumps(WHOLE).encode()]
        server.answer = Answer(headers={"anthropic-ratelimit-requests-remaining": "9"}, pieces=pieces)
        one = call(stream)
        for _ in range(3):
            deltas, reply = await collected(provider, one)
            assert reply == ModelReply(
                id="msg_1",
                model="claude-x",
                provider="there",
                content=HELLO,
                usage=Usage(input=3, cache_read=2, output=5),
                created_at=1000.0,
            )
            assert said_in(deltas) == (["Hel", "lo"] if stream else [])
        assert one.notes["limits"] == LimitsSeen(requests_left=9)
        assert server.connections == 1
        asked = server.asked[0]
        assert (asked.method, asked.path) == ("POST", "/v1/messages?k=v")
        assert asked.headers["x-api-key"] == "sk-secret"
        assert asked.headers["anthropic-version"] == "2023-06-01"
        assert (asked.headers["anthropic-beta"], asked.headers["x-team"]) == ("one,two", "a")
        assert asked.json.get("stream", False) is stream


REFUSALS: list[tuple[Answer, type[ModelFailed]]] = [
    (
        Answer(
            status=429, headers={"retry-after": "4"}, pieces=[b'{"error":{"type":"rate_limit_error","message":"m"}}']
        ),
        ModelRateLimited,
    ),
    (Answer(status=529, pieces=[b'{"error":{"type":"overloaded_error","message":"m"}}']), ModelUnavailable),
    (Answer(status=500, pieces=[b"<html>oh</html>"]), ModelUnavailable),
    (Answer(status=401, pieces=[b'{"error":{"type":"authentication_error","message":"m"}}']), ModelAuthFailed),
    (Answer(status=400, pieces=[b'{"error":{"type":"invalid_request_error","message":"m"}}']), ModelRequestInvalid),
    (Answer(fault="close"), ModelUnavailable),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("answer", "error"), REFUSALS)
async def test_refusals_are_told_apart(answer: Answer, error: type[ModelFailed], stream: bool) -> None:
    async with scene() as (server, provider):
        server.answer = answer
        with pytest.raises(ModelFailed) as failed:
            await reply_of(provider.call(call(stream)))
        assert type(failed.value) is error
        assert failed.value.provider == "there"
        assert "sk-secret" not in str(failed.value)
        assert failed.value.retry_after_s == (4 if error is ModelRateLimited else None)


ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
BROKEN: list[tuple[list[bytes], str, type[ModelFailed]]] = [
    (sse(*EVENTS[:4]), "cut", ModelStreamBroken),
    (sse(*EVENTS[:4]), "", ModelStreamBroken),
    (sse(*EVENTS[:4]), "hang", ModelTimeout),
    ([*sse(*EVENTS[:4]), b"data: {oops\n\n"], "", ModelStreamBroken),
    ([*sse(*EVENTS[:4]), b'data: "\xff"\n\n'], "", ModelStreamBroken),
    (
        sse(*EVENTS[:4], {"type": "content_block_delta", "index": 5, "delta": {"type": "text_delta", "text": "x"}}),
        "",
        ModelStreamBroken,
    ),
    (sse(*EVENTS[:4], ERROR), "", ModelUnavailable),
]


async def into(events: list[Any], provider: Provider, one: ModelCall) -> None:
    async with closing(provider.call(one)) as coming:
        async for event in coming:
            events.append(event)  # noqa: PERF401 - what came before an error counts


@pytest.mark.parametrize(("pieces", "fault", "error"), BROKEN)
async def test_a_stream_that_breaks_says_what_had_come(
    pieces: list[bytes], fault: str, error: type[ModelFailed]
) -> None:
    async with scene(idle_s=0.2) as (server, provider):
        server.answer = Answer(pieces=pieces, fault=fault)
        deltas: list[Any] = []
        with pytest.raises(ModelFailed) as failed:
            await into(deltas, provider, call(True))
        assert type(failed.value) is error
        assert [delta.text for delta in deltas] == ["Hel"]
        partial = failed.value.partial
        assert isinstance(partial, ModelReply)
        assert (partial.id, partial.provider, partial.content) == ("msg_1", "there", HEL)
        assert partial.usage == Usage(input=3, cache_read=2, output=50, estimated=True)
        assert (failed.value.provider, failed.value.model) == ("there", "claude-sonnet-5")


@pytest.mark.parametrize("pieces", [[b""][:0], [b'{"content": 7}'], [b"\xff"], [b"<html>"]])
async def test_an_answer_that_is_none(pieces: list[bytes]) -> None:
    async with scene() as (server, provider):
        server.answer = Answer(pieces=pieces)
        with pytest.raises(ModelStreamBroken):
            await reply_of(provider.call(call(False)))


async def test_a_whole_answer_that_is_cut() -> None:
    async with scene() as (server, provider):
        server.answer = Answer(pieces=[b'{"id"'], fault="cut")
        with pytest.raises(ModelStreamBroken):
            await reply_of(provider.call(call(False)))


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_was_not_told_is_estimated(stream: bool) -> None:
    async with scene() as (server, provider):
        start = {"type": "message_start", "message": {"id": "msg_1", "model": "claude-x"}}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
        whole = {key: value for key, value in WHOLE.items() if key != "usage"}
        server.answer = Answer(pieces=sse(start, *EVENTS[1:6], end) if stream else [json.dumps(whole).encode()])
        reply = await reply_of(provider.call(call(stream)))
        assert (reply.content, reply.usage) == (HELLO, Usage(input=100, output=50, estimated=True))


async def test_who_stops_early_closes_the_connection() -> None:
    async with scene() as (server, provider):
        server.answer = Answer(pieces=sse(*EVENTS[:4]), fault="hang")
        async with closing(provider.call(call(True))) as events:
            assert await anext(events) == Delta("text", "Hel", 0)
            assert provider.transport.open == 1
        assert provider.transport.open == 0
        await server.left.wait()


async def test_a_server_that_does_not_end_its_stream_is_not_waited_for() -> None:
    async with scene(idle_s=30) as (server, provider):
        server.answer = Answer(pieces=sse(*EVENTS), fault="hang")
        assert (await reply_of(provider.call(call(True)))).content == HELLO
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


async def test_models_are_listed_and_embeddings_refused() -> None:
    async with scene(query={"k": "v"}) as (server, provider):
        listed = {
            "data": [{"id": "claude-x", "created_at": "2025-02-19T00:00:00Z", "max_input_tokens": 9}, {"id": "y"}]
        }
        server.answer = Answer(pieces=[json.dumps(listed).encode()])
        first, second = await provider.models()
        assert (first.id, first.provider, first.created, first.context_tokens) == (
            "there/claude-x",
            "there",
            1739923200,
            9,
        )
        assert second.id == "there/y"
        assert server.asked[0].path == "/v1/models?k=v&limit=1000"
        server.answer = Answer(status=401, pieces=[b"{}"])
        with pytest.raises(ModelAuthFailed):
            await provider.models()
        server.answer = Answer(pieces=[b"[]"])
        with pytest.raises(ModelFailed, match="no list of models"):
            await provider.models()
        with pytest.raises(ModelRequestInvalid, match="another provider"):
            await provider.embed(EmbedCall(model="m", texts=["a"]))


@pytest.mark.parametrize("stream", [False, True])
async def test_the_official_client_reads_the_same_out_of_the_same_answer(stream: bool) -> None:
    async with scene() as (server, provider):
        pieces = sse(*EVENTS) if stream else [json.dumps(WHOLE).encode()]
        kind = "text/event-stream" if stream else "application/json"
        server.answer = Answer(headers={"content-type": kind}, pieces=pieces)
        ours = await reply_of(provider.call(call(stream)))
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="k") as client:
            body = {k: v for k, v in server.asked[0].json.items() if k != "stream"}
            if stream:
                async with client.messages.stream(**body) as events:
                    theirs = await events.get_final_message()
            else:
                theirs = await client.messages.create(**body)
        assert {k: v for k, v in server.asked[1].json.items() if k != "stream"} == body
        assert (theirs.id, theirs.content[0].text, theirs.usage.output_tokens) == (
            ours.id,
            ours.text,
            ours.usage.output,
        )


def built(env: dict[str, str], **more: Any) -> AnthropicProvider:
    return build_anthropic("there", ProviderSettings(kind="anthropic", **more), env, lambda _call, _reply: GUESS)


def test_a_key_of_the_environment_goes_to_no_other_server_that_settings_name() -> None:
    env = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"}
    elsewhere = built(env, base_url="http://proxy.example")
    assert not {"x-api-key", "authorization"} & elsewhere._headers.keys()
    assert built(env, base_url="http://proxy.example", api_key="mine")._headers["x-api-key"] == "mine"
    assert built(env, base_url="https://api.anthropic.com/v1")._headers["x-api-key"] == "k"
    assert built({**env, "ANTHROPIC_BASE_URL": "http://proxy.example"})._headers["x-api-key"] == "k"


def test_a_missing_key_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
        built({})
    assert built({"ANTHROPIC_API_KEY": "k"})._headers["x-api-key"] == "k"
    assert built({"ANTHROPIC_AUTH_TOKEN": "t"})._headers["authorization"] == "Bearer t"
    elsewhere = built({"ANTHROPIC_BASE_URL": "http://here/v1/"})
    assert elsewhere._root == "http://here/v1"
    assert "x-api-key" not in elsewhere._headers


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_token": 5}, "has no 'max_token'"),
        ({"max_tokens": 0}, "whole number"),
        ({"cache_ttl": "2h"}, "`5m` or `1h`"),
        ({"thinking_display": "all"}, "summarized"),
    ],
)
def test_wrong_options_are_found_at_start(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        built({"ANTHROPIC_API_KEY": "k"}, options=options)
