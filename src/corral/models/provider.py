"""What a provider is to the rest of the room, whatever language it speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from corral.messages import EmbedCall, EmbedReply, ModelCall, ModelEvent


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that can be asked."""

    id: str
    """`provider/model`, or a name of one's own."""
    provider: str = ""
    created: int = 0
    context_tokens: int | None = None
    output_tokens: int | None = None
    kind: str = "chat"
    """`chat` or `embedding`."""


class Provider(Protocol):
    """One account, region or server where models are asked. Every method but the life's may run many times at once."""

    name: str
    """As in the settings."""

    def call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        """Ask once. `call.model` is the provider's own name for the model.

        Yields deltas only if `call.stream`, and at the end one `ModelReply` with the usage (estimated if the provider did not
        say). Raises `ModelFailed` and its kinds alone; one that broke off mid-way carries what had been said as `partial`.
        What the provider said about its limits is in `call.notes["limits"]` (a `LimitsSeen`). Closing the iterator closes the
        connection; nothing stays open after it.
        """
        ...

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """One vector for each text, in order. Raises as `call` does, or `ModelRequestInvalid` if it has no such models."""
        ...

    async def models(self) -> list[ModelInfo]:
        """What it says it has."""
        ...

    async def start(self) -> None:
        """Be ready. Connects to nothing: a provider that is away is found out by calls."""
        ...

    async def stop(self) -> None:
        """Close every connection."""
        ...


class LimitsSeen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provider said about its limits, with one answer."""

    requests_limit: int | None = None
    requests_left: int | None = None
    requests_reset_s: float | None = None
    tokens_limit: int | None = None
    tokens_left: int | None = None
    tokens_reset_s: float | None = None
    retry_after_s: float | None = None
