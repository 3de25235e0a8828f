"""Embeddings in the words of the makers whose models Bedrock invokes: Amazon's Titan, and Cohere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from corral.errors import ModelFailed, ModelRequestInvalid, ModelStreamBroken
from corral.messages import EmbedCall, EmbedReply, Usage

Invoke = Callable[[bytes], Awaitable[tuple[bytes, Mapping[str, str]]]]
"""Sends a body to the call's model, and gives the answer's body and headers."""

_TITAN_AT_ONCE = 8
_COHERE_TEXTS_MAX = 96


class _TitanJson(msgspec.Struct, frozen=True, rename="camel"):
    embedding: list[float]
    input_text_token_count: int = 0


class _CohereJson(msgspec.Struct, frozen=True):
    embeddings: list[list[float]] | dict[str, list[list[float]]]


_decode_titan = msgspec.json.Decoder(_TitanJson).decode
_decode_cohere = msgspec.json.Decoder(_CohereJson).decode


async def embed(call: EmbedCall, invoke: Invoke, *, provider: str) -> EmbedReply:
    """One vector for each text. Raises `ModelRequestInvalid` for models that are no model for embeddings."""
    if "cohere.embed" in call.model:
        way = _cohere
    elif "titan-embed" in call.model:
        way = _titan
    else:
        raise ModelRequestInvalid(
            f"{provider} embeds with models of Titan (`amazon.titan-embed-text-v2:0`) and Cohere"
            f" (`cohere.embed-v4:0`), not with {call.model!r}.",
            provider=provider,
            model=call.model,
        )
    try:
        vectors, tokens = await way(call, invoke)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelStreamBroken(
            f"{provider} sent what are no vectors: {error}", provider=provider, model=call.model
        ) from None
    if len(vectors) != len(call.texts):
        raise ModelStreamBroken(
            f"{provider} sent {len(vectors)} vectors for {len(call.texts)} texts.", provider=provider, model=call.model
        )
    return EmbedReply(vectors=vectors, model=call.model, provider=provider, usage=Usage(input=tokens))


async def _titan(call: EmbedCall, invoke: Invoke) -> tuple[list[list[float]], int]:
    """One text at a time, several at once; the first failure ends them all."""
    sized = {"dimensions": call.dimensions} if call.dimensions is not None else {}
    gate = asyncio.Semaphore(_TITAN_AT_ONCE)

    async def one(text: str) -> _TitanJson:
        async with gate:
            body, _ = await invoke(msgspec.json.encode({"inputText": text, **sized, **call.extra}))
            return _decode_titan(body)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(text)) for text in call.texts]
    except* (ModelFailed, msgspec.DecodeError) as failures:
        raise _first(failures) from None
    said = [task.result() for task in tasks]
    return [each.embedding for each in said], sum(each.input_text_token_count for each in said)


def _first(failures: BaseExceptionGroup[Any]) -> BaseException:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _cohere(call: EmbedCall, invoke: Invoke) -> tuple[list[list[float]], int]:
    """Many texts at a time, one batch after the other."""
    asked: dict[str, Any] = {"input_type": "search_document", "embedding_types": ["float"]}
    if call.dimensions is not None:
        asked["output_dimension"] = call.dimensions
    vectors: list[list[float]] = []
    tokens = 0
    for start in range(0, len(call.texts), _COHERE_TEXTS_MAX):
        texts = call.texts[start : start + _COHERE_TEXTS_MAX]
        body, headers = await invoke(msgspec.json.encode({"texts": texts, **asked, **call.extra}))
        said = _decode_cohere(body).embeddings
        vectors += said if isinstance(said, list) else said.get("float", [])
        count = headers.get("x-amzn-bedrock-input-token-count", "")
        tokens += int(count) if count.isdecimal() else 0
    return vectors, tokens
