"""Layers around a call: each a small function of the call and of all that comes after it.

    async def layer(call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        events = proceed(call)
        try:
            async for event in events:
                yield event
        finally:
            await close(events)

A call that streams and one that does not take the same road: the first yields deltas before its reply. A layer that only
changes the call, or steps aside, returns `proceed(…)` as it is: the events then pass it without being touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import FunctionType
from typing import Protocol

from corral.errors import ModelStreamBroken
from corral.messages import (
    CallEmbedder,
    CallModel,
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


def wrap(innermost: CallModel, layers: Sequence[ModelLayer]) -> CallModel:
    """One way to call out of all of them, the first one outermost. A layer that is off is left out, and costs nothing."""
    handler = innermost
    for layer in reversed(layers):
        handler = _around(handler, layer)
    return handler


def _around(proceed: CallModel, layer: ModelLayer) -> CallModel:
    # What a layer of a class does is looked up once, and not with each call.
    ask = layer.__call__ if isinstance(getattr(type(layer), "__call__", None), FunctionType) else layer  # noqa: B004 - it can be called; this asks how

    def handler(call: ModelCall) -> AsyncIterator[ModelEvent]:
        return ask(call, proceed)

    return handler


async def reply_of(events: AsyncIterator[ModelEvent]) -> ModelReply:
    """Read a call to its end."""
    reply: ModelReply | None = None
    async for event in events:
        if type(event) is ModelReply:
            reply = event
    if reply is None:
        raise ModelStreamBroken
    return reply
