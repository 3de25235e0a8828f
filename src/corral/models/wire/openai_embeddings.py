"""Embeddings and the list of models."""

from __future__ import annotations

import binascii
import sys
from array import array
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import msgspec

from corral.errors import ModelFailed
from corral.messages import EmbedCall, EmbedReply, Usage
from corral.models.provider import ModelInfo
from corral.models.wire.openai_dialect import Dialect
from corral.models.wire.openai_errors import ErrorJson, said_failed
from corral.models.wire.openai_usage import UsageJson

_FLOAT_BYTES = 4


class _Vector(msgspec.Struct, frozen=True):
    embedding: list[float] | str
    index: int | None = None


class _Vectors(msgspec.Struct, frozen=True):
    data: Sequence[_Vector] = ()
    model: str | None = None
    usage: UsageJson | None = None
    error: ErrorJson | str | None = None


class _Model(msgspec.Struct, frozen=True):
    id: str
    created: float | None = None
    context_length: int | None = None
    """OpenRouter."""
    max_model_len: int | None = None
    """vLLM."""
    max_context_length: int | None = None
    """Mistral."""


class _Models(msgspec.Struct, frozen=True):
    data: Sequence[_Model]


_decode = msgspec.json.Decoder(_Vectors).decode
_decode_models = msgspec.json.Decoder(_Models).decode


def embed_body(call: EmbedCall, dialect: Dialect) -> dict[str, Any]:
    """What is sent."""
    encoding = dialect.options.embedding_encoding or ("base64" if dialect.official else "float")
    body: dict[str, Any] = {"model": call.model, "input": call.texts, "encoding_format": encoding}
    if call.dimensions is not None:
        body["dimensions"] = call.dimensions
    return body | call.extra


def embed_reply(body: bytes, texts: int) -> tuple[EmbedReply, bool]:
    """The vectors in the order of the texts, and whether the usage was told. Raises `ModelFailed` if they are not that."""
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFailed(f"The answer has no embeddings: {error}") from None
    if answer.error is not None:
        raise said_failed(answer.error)
    # In order, unless they say otherwise.
    numbered = sorted((each.index if each.index is not None else n, n) for n, each in enumerate(answer.data))
    if [number for number, _ in numbered] != list(range(texts)):
        raise ModelFailed(
            f"{texts} texts were sent, and the answer has {len(numbered)} embeddings that are not one for each."
        )
    usage = None if answer.usage is None else answer.usage.split()
    reply = EmbedReply(
        vectors=[_floats(answer.data[n].embedding) for _, n in numbered],
        model=answer.model or "",
        usage=usage or Usage(),
        cost_usd=None if answer.usage is None else answer.usage.cost,
    )
    return reply, usage is not None


def _floats(said: list[float] | str) -> list[float]:
    if not isinstance(said, str):
        return said
    try:
        raw = b64decode(said, validate=True)
    except (binascii.Error, ValueError):
        raise ModelFailed("The answer has an embedding that is no base64.") from None
    if len(raw) % _FLOAT_BYTES:
        raise ModelFailed("The answer has an embedding that is no list of 32-bit numbers.")
    numbers = array("f", raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def model_list(body: bytes, provider: str) -> list[ModelInfo]:
    """The models that a server lists."""
    try:
        found = _decode_models(body).data
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFailed(f"The answer is no list of models: {error}") from None
    return [
        ModelInfo(
            id=f"{provider}/{model.id}",
            provider=provider,
            created=int(model.created or 0),
            context_tokens=model.context_length or model.max_model_len or model.max_context_length,
            kind=kind_of(model.id),
        )
        for model in found
    ]


def kind_of(model: str) -> str:
    """What a model does, by its name: no server says it."""
    return "embedding" if "embed" in model.lower() else "chat"
