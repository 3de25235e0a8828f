"""The models there are: how large, how fast, and what they would cost."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Amount = Annotated[float, Meta(ge=0, le=1e9)]


class SimModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model. Prices are US dollars per million tokens; nobody is charged."""

    kind: Literal["chat", "embedding"] = "chat"
    context_tokens: Annotated[int, Meta(ge=1)] = 128_000
    """What it can read and write together."""
    output_tokens: Annotated[int, Meta(ge=1)] = 16_384
    """What it can write at most."""
    ttft_ms: Amount = 80.0
    """Until the first token of a short question, when nobody else asks."""
    prefill_ms: Amount = 30.0
    """More for every 1,000 tokens that it reads for the first time."""
    itl_ms: Amount = 4.0
    """Between two tokens, when nobody else asks."""
    batch_max: Annotated[int, Meta(ge=1)] = 64
    """Calls that are answered at once; more wait in line."""
    batch_slowdown: Amount = 3.0
    """How much longer the time between tokens is when that many are answered: 3 makes it four times as long."""
    rpm: Annotated[int, Meta(ge=1)] | None = None
    """Requests a minute and key; none: as the options say."""
    tpm: Annotated[int, Meta(ge=1)] | None = None
    """Tokens a minute and key; none: as the options say."""
    dimensions: Annotated[int, Meta(ge=1, le=8192)] = 384
    """Of an embedding."""
    input_price: Amount = 0.0
    cached_price: Amount = 0.0
    output_price: Amount = 0.0


MODELS: dict[str, SimModel] = {
    "small": SimModel(
        ttft_ms=40.0, prefill_ms=10.0, itl_ms=2.0, batch_max=128, input_price=0.1, cached_price=0.025, output_price=0.4
    ),
    "medium": SimModel(
        context_tokens=200_000, output_tokens=32_768, input_price=1.0, cached_price=0.1, output_price=5.0
    ),
    "large": SimModel(
        context_tokens=1_000_000,
        output_tokens=65_536,
        ttft_ms=160.0,
        prefill_ms=60.0,
        itl_ms=8.0,
        batch_max=32,
        input_price=5.0,
        cached_price=0.5,
        output_price=25.0,
    ),
    "embed": SimModel(
        kind="embedding",
        context_tokens=8_192,
        output_tokens=1,
        ttft_ms=10.0,
        prefill_ms=5.0,
        itl_ms=0.0,
        input_price=0.02,
    ),
}
_ALIKE = (
    ("embed", re.compile(r"embed|titan-emb")),
    ("small", re.compile(r"mini|nano|haiku|flash|lite|micro|small|8b|7b|1b|3b")),
    ("large", re.compile(r"opus|large|premier|ultra|-pro\b|\bo[134]\b|405b")),
)
_DIMENSIONS = {
    "text-embedding-3-small": 1_536,
    "text-embedding-ada-002": 1_536,
    "text-embedding-3-large": 3_072,
    "amazon.titan-embed-text-v2:0": 1_024,
    "amazon.titan-embed-text-v1": 1_536,
}


def bare(name: str) -> str:
    """A model's name without `sim/`."""
    return name.removeprefix("sim/")


@functools.lru_cache(maxsize=1_024)
def model_named(name: str) -> SimModel:
    """The model of that name. Names that nobody knows work as well: by their sound, like one of those there are."""
    name = bare(name)
    if name in MODELS:
        return MODELS[name]
    found = next((alike for alike, sound in _ALIKE if sound.search(name.lower())), "medium")
    if found == "embed":
        return msgspec.structs.replace(MODELS[found], dimensions=_DIMENSIONS.get(name, MODELS[found].dimensions))
    return MODELS[found]
