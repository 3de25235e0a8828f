"""Layers around a call: each a small function of the call and of all that comes after it.

    async def layer(call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        events = proceed(call)
        try:
            async for event in events:
                yield event
        finally:
            await close(events)

A call that streams and one that does not may take the same road: the first yields deltas before its reply. A layer that only
changes the call, or steps aside, returns `proceed(…)` as it is: the events then pass it without being touched.

Handing events on costs each layer more than what most do. So those around the provider also have a second, shorter road,
`whole`, for what comes in one piece: answers that do not stream, and vectors.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from corral.errors import ModelStreamBroken
from corral.messages import (
    CallEmbedder,
    CallModel,
    CallWhole,
    EmbedCall,
    EmbedReply,
    ModelCall,
    ModelEvent,
    ModelReply,
)


class ModelLayer(Protocol):
    """One layer: does its part, and calls `proceed` for all that comes after it."""

    def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Answer, or go on."""
        ...


class EmbedLayer(Protocol):
    """A layer around texts to be placed."""

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """Answer, or go on."""
        ...


class WholeLayer(ModelLayer, Protocol):
    """A layer that what comes in one piece passes by a shorter road."""

    async def whole(self, call: ModelCall | EmbedCall, proceed: CallWhole) -> ModelReply | EmbedReply:
        """Answer, or go on: as `__call__`."""
        ...


def wrap(innermost: CallModel, layers: Sequence[ModelLayer]) -> CallModel:
    """One way to call out of all of them, the first one outermost. A layer that is off is left out, and costs nothing."""
    handler = innermost
    for layer in reversed(layers):
        handler = functools.partial(layer, proceed=handler)
    return handler


def wrap_whole(innermost: CallWhole, layers: Sequence[WholeLayer]) -> CallWhole:
    """The shorter road past the same layers."""
    handler = innermost
    for layer in reversed(layers):
        handler = functools.partial(layer.whole, proceed=handler)
    return handler


def by_either(events: CallModel, whole: CallWhole) -> CallModel:
    """Answers that stream come as they are written, all others by the shorter road."""

    async def once(call: ModelCall) -> AsyncIterator[ModelEvent]:
        yield await whole(call)  # type: ignore[misc]  # a model's answer, for a question to one

    return lambda call: events(call) if call.stream else once(call)


async def reply_of(events: AsyncIterator[ModelEvent]) -> ModelReply:
    """Read a call to its end."""
    reply: ModelReply | None = None
    async for event in events:
        if type(event) is ModelReply:
            reply = event
    if reply is None:
        raise ModelStreamBroken
    return reply
