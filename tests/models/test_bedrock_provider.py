from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from faulty_server import Answer, Asked, FaultyServer, faulty_server, sliced
from model_scene import TurnedClock, said_in

from corral.errors import (
    ConfigError,
    ContentFiltered,
    ContextTooLong,
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelTimeout,
    ModelUnavailable,
)
from corral.messages import Delta, EmbedCall, Message, ModelCall, ModelReply, Usage, closing
from corral.models.bedrock import BedrockProvider, build_bedrock
from corral.models.provider import LimitsSeen, Provider
from corral.models.stack import reply_of
from corral.models.wire.eventstream import frame_bytes
from corral.settings.model_sections import ProviderSettings

MODEL = "eu.amazon.nova-lite-v1:0"
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 10, "cacheReadInputTokens": 2}
WHOLE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 1},
}
HELLO, HEL = [{"type": "text", "text": "Hello"}], [{"type": "text", "text": "Hel"}]
GUESS = Usage(input=100, output=50)
KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "topsecret", "AWS_REGION": "eu-west-1"}


def event(name: str, payload: Any) -> bytes:
    headers = {":message-type": "event", ":event-type": name, ":content-type": "application/json"}
    return frame_bytes(headers, json.dumps(payload).encode())


def exception(name: str, words: str) -> bytes:
    headers = {":message-type": "exception", ":exception-type": name, ":content-type": "application/json"}
    return frame_bytes(headers, json.dumps({"message": words}).encode())


def text(piece: str) -> bytes:
    return event("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0})


START = event("messageStart", {"role": "assistant"})
STOP = event("messageStop", {"stopReason": "end_turn"})
META = event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})
EVENTS = [START, text("Hel"), text("lo"), event("contentBlockStop", {"contentBlockIndex": 0}), STOP, META]


def call(stream: bool, **more: Any) -> ModelCall:
    said = [Message(role="user", content=[{"type": "text", "text": "Hi"}])]
    return ModelCall(**{"model": MODEL, "messages": said, "stream": stream} | more)


@asynccontextmanager
async def scene(env: dict[str, str] | None = None, **more: Any) -> AsyncIterator[tuple[FaultyServer, BedrockProvider]]:
    async with faulty_server() as server:
        settings = ProviderSettings(kind="bedrock", base_url=server.url, **more)
        provider = build_bedrock("there", settings, env or KEYS, lambda _call, _reply: GUESS, TurnedClock())
        await provider.start()
        try:
            yield server, provider
        finally:
            assert provider.transport.open == 0
            await provider.stop()
            await provider.stop()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_is_answered(stream: bool) -> None:
    async with scene(headers={"X-Team": "a"}, query={"k": "v"}) as (server, provider):
        pieces = sliced(b"".join(EVENTS), 7) if stream else [json.dumps(WHOLE).encode()]
        server.answer = Answer(headers={"x-amzn-RequestId": "r1"}, pieces=pieces)
        for _ in range(3):
            async with closing(provider.call(call(stream))) as events:
                *deltas, reply = [one async for one in events]
            assert reply == ModelReply(
                id="r1",
                model=MODEL,
                provider="there",
                content=HELLO,
                usage=Usage(input=3, cache_read=2, output=5),
                created_at=1000.0,
            )
            assert said_in(deltas) == (["Hel", "lo"] if stream else [])
        assert server.connections == 1
        asked = server.asked[0]
        verb = "converse-stream" if stream else "converse"
        assert (asked.method, asked.path) == ("POST", f"/model/eu.amazon.nova-lite-v1%3A0/{verb}?k=v")
        assert asked.headers["authorization"].startswith(
            "AWS4-HMAC-SHA256 Credential=AKIA/19700101/eu-west-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-team,"
        )
        assert asked.json == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


REFUSALS: list[tuple[Answer, type[ModelFailed]]] = [
    (
        Answer(
            status=429,
            headers={"x-amzn-errortype": "ThrottlingException", "retry-after": "4"},
            pieces=[b'{"message":"m"}'],
        ),
        ModelRateLimited,
    ),
    (Answer(status=429, headers={"x-amzn-errortype": "ModelNotReadyException"}, pieces=[b"{}"]), ModelUnavailable),
    (Answer(status=500, pieces=[b"<html>oh</html>"]), ModelUnavailable),
    (
        Answer(status=403, headers={"x-amzn-errortype": "AccessDeniedException"}, pieces=[b'{"message":"m"}']),
        ModelAuthFailed,
    ),
    (
        Answer(
            status=400, headers={"x-amzn-errortype": "ValidationException"}, pieces=[b'{"message":"Input is too long"}']
        ),
        ContextTooLong,
    ),
    (Answer(fault="close"), ModelUnavailable),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("answer", "error"), REFUSALS)
async def test_refusals_are_told_apart(answer: Answer, error: type[ModelFailed], stream: bool) -> None:
    async with scene() as (server, provider):
        server.answer = answer
        one = call(stream)
        with pytest.raises(ModelFailed) as failed:
            await reply_of(provider.call(one))
        assert type(failed.value) is error
        assert failed.value.provider == "there"
        assert "topsecret" not in str(failed.value)
        waits = error is ModelRateLimited
        assert one.notes.get("limits") == (LimitsSeen(retry_after_s=4) if waits else None)


BROKEN: list[tuple[list[bytes], str, type[ModelFailed]]] = [
    (EVENTS[:2], "cut", ModelStreamBroken),
    (EVENTS[:2], "", ModelStreamBroken),
    ([*EVENTS[:2], EVENTS[2][:-3]], "", ModelStreamBroken),
    (EVENTS[:2], "hang", ModelTimeout),
    ([*EVENTS[:2], b"x" * 20], "", ModelStreamBroken),
    ([*EVENTS[:2], event("contentBlockDelta", [])], "", ModelStreamBroken),
    (
        [*EVENTS[:2], event("contentBlockDelta", {"delta": {"toolUse": {"input": "x"}}, "contentBlockIndex": 4})],
        "",
        ModelStreamBroken,
    ),
    ([*EVENTS[:2], exception("throttlingException", "slow down")], "", ModelRateLimited),
    ([*EVENTS[:2], exception("modelStreamErrorException", "oh")], "", ModelStreamBroken),
    ([*EVENTS[:2], exception("validationException", "Input is too long")], "", ContextTooLong),
    (
        [
            *EVENTS[:2],
            frame_bytes({":message-type": "error", ":error-code": "InternalFailure", ":error-message": "oh"}, b""),
        ],
        "",
        ModelUnavailable,
    ),
    ([*EVENTS[:2], event("messageStop", {"stopReason": "guardrail_intervened"})], "", ContentFiltered),
]


async def into(events: list[Any], provider: Provider, one: ModelCall) -> None:
    async with closing(provider.call(one)) as coming:
        async for each in coming:
            events.append(each)  # noqa: PERF401 - what came before an error counts


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
        assert (partial.provider, partial.content) == ("there", HEL)
        assert partial.usage == Usage(input=100, output=50, estimated=True)
        assert (failed.value.provider, failed.value.model) == ("there", MODEL)


@pytest.mark.parametrize("pieces", [[b""][:0], [b'{"output": 7}'], [b"\xff"], [b"<html>"]])
async def test_an_answer_that_is_none(pieces: list[bytes]) -> None:
    async with scene() as (server, provider):
        server.answer = Answer(pieces=pieces)
        with pytest.raises(ModelStreamBroken):
            await reply_of(provider.call(call(False)))
        server.answer = Answer(pieces=[b'{"out'], fault="cut")
        with pytest.raises(ModelStreamBroken):
            await reply_of(provider.call(call(False)))


async def test_what_a_guardrail_stops_is_filtered() -> None:
    async with scene() as (server, provider):
        server.answer = Answer(pieces=[json.dumps({**WHOLE, "stopReason": "guardrail_intervened"}).encode()])
        with pytest.raises(ContentFiltered) as failed:
            await reply_of(provider.call(call(False)))
        assert failed.value.partial.usage == Usage(input=3, cache_read=2, output=5)


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_was_not_told_is_estimated(stream: bool) -> None:
    async with scene() as (server, provider):
        whole = {key: value for key, value in WHOLE.items() if key != "usage"}
        server.answer = Answer(pieces=EVENTS[:5] if stream else [json.dumps(whole).encode()])
        reply = await reply_of(provider.call(call(stream)))
        assert (reply.content, reply.usage) == (HELLO, Usage(input=100, output=50, estimated=True))


async def test_who_stops_early_closes_the_connection() -> None:
    async with scene() as (server, provider):
        server.answer = Answer(pieces=EVENTS[:2], fault="hang")
        async with closing(provider.call(call(True))) as events:
            assert await anext(events) == Delta("text", "Hel", 0)
            assert provider.transport.open == 1
        assert provider.transport.open == 0
        await server.left.wait()


async def test_a_server_that_does_not_end_its_stream_is_not_waited_for() -> None:
    async with scene(idle_s=30) as (server, provider):
        server.answer = Answer(pieces=EVENTS, fault="hang")
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


@pytest.mark.parametrize("model", ["", ".", ".."])
async def test_a_model_is_no_step_to_another_address(model: str) -> None:
    async with scene() as (server, provider):
        with pytest.raises(ModelNotFound):
            await reply_of(provider.call(call(False, model=model)))
        assert not server.asked


async def test_models_are_listed() -> None:
    async with scene() as (server, provider):
        listed = {
            "modelSummaries": [
                {"modelId": "a.b:0", "outputModalities": ["TEXT"]},
                {"modelId": "c", "outputModalities": ["EMBEDDING"]},
            ]
        }
        server.answer = Answer(pieces=[json.dumps(listed).encode()])
        assert [(model.id, model.kind) for model in await provider.models()] == [
            ("there/a.b:0", "chat"),
            ("there/c", "embedding"),
        ]
        assert (server.asked[0].method, server.asked[0].path) == ("GET", "/foundation-models")
        server.answer = Answer(status=403, pieces=[b"{}"])
        with pytest.raises(ModelAuthFailed):
            await provider.models()
        server.answer = Answer(pieces=[b"[]"])
        with pytest.raises(ModelFailed, match="no list of models"):
            await provider.models()


# -- embeddings


async def test_titan_embeds_one_text_at_a_time_and_keeps_the_order() -> None:
    async with scene() as (server, provider):

        def answer(asked: Asked) -> Answer:
            said = asked.json["inputText"]
            return Answer(pieces=[json.dumps({"embedding": [float(said)], "inputTextTokenCount": 2}).encode()])

        server.answers = answer
        texts = [str(n) for n in range(20)]
        one = EmbedCall(model="amazon.titan-embed-text-v2:0", texts=texts, dimensions=256, extra={"normalize": True})
        reply = await provider.embed(one)
        assert reply.vectors == [[float(n)] for n in range(20)]
        assert (reply.usage, reply.provider) == (Usage(input=40), "there")
        assert server.connections <= 8
        assert {"dimensions": 256, "normalize": True}.items() <= server.asked[0].json.items()
        assert server.asked[0].path == "/model/amazon.titan-embed-text-v2%3A0/invoke"


@pytest.mark.parametrize("shaped", [lambda vectors: vectors, lambda vectors: {"float": vectors}])
async def test_cohere_embeds_many_at_a_time(shaped: Any) -> None:
    async with scene() as (server, provider):

        def answer(asked: Asked) -> Answer:
            vectors = [[float(text)] for text in asked.json["texts"]]
            headers = {"x-amzn-bedrock-input-token-count": "7"}
            return Answer(headers=headers, pieces=[json.dumps({"embeddings": shaped(vectors)}).encode()])

        server.answers = answer
        texts = [str(n) for n in range(100)]
        reply = await provider.embed(EmbedCall(model="cohere.embed-v4:0", texts=texts, dimensions=512))
        assert reply.vectors == [[float(n)] for n in range(100)]
        assert reply.usage == Usage(input=14)
        assert (len(server.asked), server.asked[0].json["output_dimension"]) == (2, 512)


@pytest.mark.parametrize("model", ["amazon.titan-embed-text-v1", "cohere.embed-english-v3"])
async def test_embedding_fails_in_our_words(model: str) -> None:
    async with scene() as (server, provider):
        one = EmbedCall(model=model, texts=["a", "b"])
        server.answer = Answer(status=429, headers={"x-amzn-errortype": "ThrottlingException"}, pieces=[b"{}"])
        with pytest.raises(ModelRateLimited):
            await provider.embed(one)
        server.answer = Answer(pieces=[b"{}"])
        with pytest.raises(ModelStreamBroken, match="no vectors"):
            await provider.embed(one)
        server.answer = Answer(pieces=[b'{"embeddings": [[1.0]], "embedding": [1.0]}'])
        if "cohere" in model:
            with pytest.raises(ModelStreamBroken, match="1 vectors for 2"):
                await provider.embed(one)
        with pytest.raises(ModelRequestInvalid, match="Titan"):
            await provider.embed(EmbedCall(model=MODEL, texts=["a"]))


# -- the official client


@pytest.mark.parametrize("stream", [False, True])
async def test_the_official_client_reads_the_same_out_of_the_same_answer(stream: bool) -> None:
    async with scene() as (server, provider):
        kind = "application/vnd.amazon.eventstream" if stream else "application/json"
        server.answer = Answer(
            headers={"content-type": kind}, pieces=EVENTS if stream else [json.dumps(WHOLE).encode()]
        )
        ours = await reply_of(provider.call(call(stream)))
        theirs = await asyncio.to_thread(by_boto3, server.url, server.asked[0].json, stream)
        assert (server.asked[1].path, server.asked[1].json) == (server.asked[0].path, server.asked[0].json)
        assert theirs == (ours.text, "end_turn", USAGE)


def by_boto3(url: str, body: dict[str, Any], stream: bool) -> tuple[str, str, dict[str, int]]:
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="AKIA",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 0}),
    )
    if not stream:
        answer = client.converse(modelId=MODEL, **body)
        client.close()
        return answer["output"]["message"]["content"][0]["text"], answer["stopReason"], answer["usage"]
    with contextlib.closing(client.converse_stream(modelId=MODEL, **body)["stream"]) as coming:
        events = list(coming)
    client.close()
    said = "".join(one["contentBlockDelta"]["delta"]["text"] for one in events if "contentBlockDelta" in one)
    return said, events[-2]["messageStop"]["stopReason"], events[-1]["metadata"]["usage"]


# -- settings


def built(env: dict[str, str], **more: Any) -> BedrockProvider:
    return build_bedrock("there", ProviderSettings(kind="bedrock", **more), env, lambda _call, _reply: GUESS)


def test_where_it_asks() -> None:
    assert built(KEYS)._place.url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert built(KEYS, region="cn-north-1")._place.control_url == "https://bedrock.cn-north-1.amazonaws.com.cn"
    assert built({**KEYS, "AWS_ENDPOINT_URL": "http://here/"})._place.url == "http://here"


async def test_a_key_of_bedrocks_own_needs_no_signature() -> None:
    async with scene({"AWS_REGION": "eu-west-1", "AWS_BEARER_TOKEN_BEDROCK": "b"}) as (server, provider):
        server.answer = Answer(pieces=[json.dumps(WHOLE).encode()])
        assert (await reply_of(provider.call(call(False)))).content == HELLO
        assert server.asked[0].headers["authorization"] == "Bearer b"
        assert "x-amz-date" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"guard": {}}, "has no 'guard'"),
        ({"guardrail": "g"}, "must be a table"),
        ({"max_tokens": "9"}, "a whole number"),
    ],
)
def test_wrong_options_are_found_at_start(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        built(KEYS, options=options)
