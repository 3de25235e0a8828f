"""`POST /v1/embeddings`: texts in, vectors out, as OpenAI's clients ask for them."""

from __future__ import annotations

import array
import base64
import sys
from typing import Any

from corral.messages import EmbedCall, EmbedReply
from corral.server.gateway.reading import Fields, RequestInvalid

_TEXTS_MAX = 2048
DIMENSIONS_MAX = 16_384
"""Above what any model gives; one that makes up what it is asked for must not fill the memory of a worker."""
_FORMATS = frozenset({"float", "base64"})


class EmbeddingRequest:
    """A call, and how its vectors are written."""

    __slots__ = ("as_base64", "call", "user")

    def __init__(self, call: EmbedCall, *, as_base64: bool, user: str | None) -> None:
        """Made by `read_embeddings`."""
        self.call = call
        self.as_base64 = as_base64
        self.user = user


def read_embeddings(body: object) -> EmbeddingRequest:
    """Read a request. Raises `RequestInvalid` naming the field."""
    fields = Fields(body)
    given = fields.take_any("input")
    wanted = [given] if isinstance(given, str) else given
    if wanted == []:
        raise fields.wrong("input", "`input` is empty: there is nothing to embed.")
    if not isinstance(wanted, list) or not all(isinstance(text, str) for text in wanted):
        raise fields.wrong(
            "input", "`input` is a text or a list of texts (not of tokens: whose they are is not known)."
        )
    if len(wanted) > _TEXTS_MAX:
        raise fields.wrong("input", f"At most {_TEXTS_MAX} texts at a time.")
    coding = fields.take("encoding_format", str) or "float"
    if coding not in _FORMATS:
        raise fields.wrong("encoding_format", "`encoding_format` is `float` or `base64`.")
    call = EmbedCall(model=fields.need("model", str), texts=wanted, dimensions=fields.take("dimensions", int))
    if call.dimensions is not None and not 1 <= call.dimensions <= DIMENSIONS_MAX:
        raise RequestInvalid(f"`dimensions` is a number from 1 to {DIMENSIONS_MAX}.", "dimensions")
    user = fields.take("user", str)
    call.extra.update(fields.left)
    return EmbeddingRequest(call, as_base64=coding == "base64", user=user)


def embedding_list(reply: EmbedReply, *, as_base64: bool) -> dict[str, Any]:
    """The answer."""
    vectors: list[Any] = [_packed(vector) for vector in reply.vectors] if as_base64 else reply.vectors
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
        "model": reply.model,
        "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.total},
    }


def _packed(vector: list[float]) -> str:
    """Little-endian 32-bit numbers, whatever this machine prefers."""
    numbers = array.array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
