"""Layers around a call: each a small function of the call and of all that comes after it.

    async def layer(call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        async with closing(proceed(call)) as events:
            async for event in events:
                yield event

A call that streams and one that does not take the same road: the first yields deltas before its reply. A layer that only
changes the call, or steps aside, returns `proceed(…)` as it is: the events then pass it without being touched.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
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
    closing,
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
        handler = functools.partial(layer, proceed=handler)
    return handler


async def reply_of(events: AsyncIterator[ModelEvent]) -> ModelReply:
    """Read a call to its end."""
    async with closing(events) as all_events:
        async for event in all_events:
            if type(event) is ModelReply:
                return event
    raise ModelStreamBroken
