"""The innermost of all: `provider/model` is taken apart, and the provider is asked."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping

import msgspec

from corral.errors import ModelNotFound
from corral.messages import CallEmbedder, CallModel, EmbedCall, EmbedReply, ModelCall, ModelEvent
from corral.models.lost import nearest, unknown_provider
from corral.models.provider import Provider

_KNOWN_MAX = 1_000
"""Callers may ask for any model: those asked for longest ago are taken apart again."""


def split(model: str, providers: Mapping[str, Provider]) -> tuple[Provider, str]:
    """The provider, and its own name for the model (which may have slashes of its own). Raises `ModelNotFound`."""
    name, slash, own = model.partition("/")
    provider = providers.get(name)
    if provider is None:
        what = (
            unknown_provider(name, providers)
            if slash
            else f"There is no model {model!r}: write `provider/model`, or name it in `models.names`. {nearest(name, providers, 'Providers')}"
        )
        raise ModelNotFound(what, model=model)
    if not own:
        raise ModelNotFound(f"Say which model of {name!r} to ask: `{name}/MODEL`.", model=model, provider=name)
    return provider, own


def dispatch(providers: Mapping[str, Provider]) -> CallModel:
    """Ask the provider that the call names. The reply says who answered."""
    place_of = functools.lru_cache(_KNOWN_MAX)(functools.partial(split, providers=providers))

    def ask(call: ModelCall) -> AsyncIterator[ModelEvent]:
        provider, own = place_of(call.model)
        return provider.call(msgspec.structs.replace(call, model=own))

    return ask


def dispatch_embedding(providers: Mapping[str, Provider]) -> CallEmbedder:
    """The same for embeddings."""

    async def ask(call: EmbedCall) -> EmbedReply:
        provider, own = split(call.model, providers)
        return await provider.embed(msgspec.structs.replace(call, model=own))

    return ask
