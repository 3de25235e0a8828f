"""OpenAI's embeddings and list of models."""

from __future__ import annotations

import array
import base64
from typing import Any

import msgspec

from corral.models.sim.catalog import SimModel
from corral.models.sim.embedding import embedded
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes.shape import Asked, body_of, to_json
from corral.models.sim.turn import Turn

DIMENSIONS_MAX = 8_192
_INPUTS_MAX = 2_048
_CREATED = 1_735_689_600
"""When the models were made, if anybody asks."""


class EmbeddingBody(msgspec.Struct, kw_only=True):
    """The body of `/v1/embeddings`."""

    input: str | list[Any]
    model: str = ""
    dimensions: int | None = None
    encoding_format: str | None = None
    user: str | None = None


class StrictEmbeddingBody(EmbeddingBody, forbid_unknown_fields=True, kw_only=True):
    """The same, and nothing else."""


def read(asked: Asked) -> tuple[EmbeddingBody, list[str]]:
    """What is to be embedded. Tokens that come as numbers are taken for words."""
    body = body_of(asked, EmbeddingBody, StrictEmbeddingBody)
    body.model = body.model or asked.model
    if not body.model:
        raise Refused("invalid", "you must provide a model parameter", param="model")
    if body.dimensions is not None and not 1 <= body.dimensions <= DIMENSIONS_MAX:
        raise Refused("invalid", f"Invalid 'dimensions': {body.dimensions} is out of range.", param="dimensions")
    given: list[Any] = [body.input] if isinstance(body.input, str) else body.input
    if given and all(isinstance(item, int) for item in given):
        given = [given]
    texts = [item if isinstance(item, str) else _of_numbers(item) for item in given]
    if not texts or not all(texts) or len(texts) > _INPUTS_MAX:
        raise Refused(
            "invalid", f"'$.input' is invalid: 1 to {_INPUTS_MAX} texts are taken, none of them empty.", param="input"
        )
    return body, texts


def _of_numbers(item: Any) -> str:
    if isinstance(item, list) and all(isinstance(number, int) for number in item):
        return " ".join(map(str, item))
    raise Refused("invalid", "'$.input' is invalid: texts or lists of tokens are taken.", param="input")


def whole(body: EmbeddingBody, texts: list[str], turn: Turn, model: SimModel, seed: int) -> bytes:
    """The vectors."""
    dimensions = body.dimensions or model.dimensions
    packed = body.encoding_format == "base64"
    data = []
    for number, text in enumerate(texts):
        vector: Any = embedded(text, dimensions, seed)
        if packed:
            vector = base64.b64encode(array.array("f", vector).tobytes()).decode()
        data.append({"object": "embedding", "index": number, "embedding": vector})
    total = turn.usage.input_tokens
    return to_json(
        {"object": "list", "data": data, "model": turn.name, "usage": {"prompt_tokens": total, "total_tokens": total}}
    )


def model_object(name: str, model: SimModel) -> dict[str, Any]:
    """One model in the list, with more about it than OpenAI says."""
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "corral-sim",
        "context_window": model.context_tokens,
        "max_output_tokens": model.output_tokens,
        "kind": model.kind,
        "pricing": {"input": model.input_price, "cached_input": model.cached_price, "output": model.output_price},
    }


def models_list(models: dict[str, SimModel], *, anthropic: bool) -> bytes:
    """All models there are, as OpenAI or Anthropic lists them."""
    if not anthropic:
        return to_json({"object": "list", "data": [model_object(name, model) for name, model in models.items()]})
    data = [anthropic_object(name) for name in models]
    return to_json({"data": data, "has_more": False, "first_id": next(iter(models)), "last_id": list(models)[-1]})


def anthropic_object(name: str) -> dict[str, Any]:
    """One model as Anthropic shows it."""
    return {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
