"""What every provider over HTTP does with an answer once it is read: complete it, or say what had come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from corral.errors import ModelFailed
from corral.messages import ModelCall, ModelReply, Usage
from corral.models.transport import HttpStream

_REST_S = 0.05

Estimate = Callable[[ModelCall, ModelReply], Usage]
"""Counts what a provider did not."""


def finished(
    reply: ModelReply, call: ModelCall, *, provider: str, now: float, counted: bool, estimate: Estimate
) -> ModelReply:
    """The reply with who answered and when, and with usage: `counted` says whether the provider told all of it."""
    usage = reply.usage
    if not counted:
        guess = estimate(call, reply)
        usage = msgspec.structs.replace(guess, estimated=True)
        if reply.usage.input_tokens:
            # What was read had been told before it broke off; what was written had not.
            told = reply.usage
            usage = msgspec.structs.replace(
                usage, input=told.input, cache_read=told.cache_read, cache_write=told.cache_write
            )
    return msgspec.structs.replace(
        reply, provider=provider, model=reply.model or call.model, usage=usage, created_at=reply.created_at or now
    )


def add_partial(error: ModelFailed, so_far: ModelReply, call: ModelCall) -> None:
    """Say with the error who failed, and what had been said before it did."""
    error.provider = error.provider or so_far.provider
    error.model = error.model or call.model
    if so_far.content:
        error.partial = so_far


async def read_rest(answer: HttpStream) -> None:
    """Read what is left of an answer that has said all, so that its connection can be used again; but do not wait for it."""
    if answer.is_over:
        return
    try:
        async with asyncio.timeout(_REST_S):
            async for _ in answer:
                continue
    except (TimeoutError, ModelFailed):
        return  # the connection is closed instead
