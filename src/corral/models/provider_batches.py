"""Batches at the provider: many questions handed in at once, answered within a day, for half the price.

    handle = await submit_batch(api, calls)      # a struct that JSON can hold: keep it, and go on tomorrow
    while not (await poll_batch(api, handle)).done: …
    answers = await collect_batch(api, handle)

Plain functions of a handle, so that each can be a durable step of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from corral.errors import ModelFailed, ModelRequestInvalid
from corral.messages import ModelCall, ModelReply, Usage

BATCH_PRICE = 0.5
"""Of the usual price, at OpenAI and at Anthropic."""
_CALLS_MAX = 50_000

CostOf = Callable[[str, Usage], float | None]


class BatchHandle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a batch is, and what is needed to read its answers."""

    provider: str
    id: str
    models: list[str]
    """Of each call, in order, as the provider names it."""
    answer_tools: dict[str, str] = {}
    """Calls by number whose answer in JSON comes as the input of this tool."""


class BatchState(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is."""

    state: Literal["running", "done", "failed", "cancelled"]
    """`done`: there are answers to collect; `failed`: there never will be; a batch that expired is done, with what it has."""
    total: int
    answered: int
    failed: int
    reason: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing more will happen."""
        return self.state != "running"


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one call, or why there is none."""

    reply: ModelReply | None = None
    code: str = ""
    error: str = ""


class BatchApi(Protocol):
    """A provider's batches. All methods raise `ModelFailed` and its kinds."""

    name: str

    async def submit(self, calls: Sequence[ModelCall]) -> BatchHandle:
        """Hand in calls that name the provider's own models. Not to be done twice: each time is paid for."""
        ...

    async def poll(self, handle: BatchHandle) -> BatchState:
        """How far it is."""
        ...

    async def collect(self, handle: BatchHandle) -> Mapping[int, BatchAnswer]:
        """The answers that are there, by number."""
        ...

    async def cancel(self, handle: BatchHandle) -> None:
        """Ask no more of it; what was answered may be collected still."""
        ...


Kept = BatchHandle | Mapping[str, Any]
"""A handle, or what became of it in a job's journal."""


async def submit_batch(api: BatchApi, calls: Sequence[ModelCall]) -> BatchHandle:
    """Hand calls in; `model` is `provider/model` of this provider, or its own name for it."""
    if not 0 < len(calls) <= _CALLS_MAX:
        raise ModelRequestInvalid(f"A batch has 1 to {_CALLS_MAX} calls, not {len(calls)}: hand in several.")
    prefix = f"{api.name}/"
    own = [msgspec.structs.replace(call, model=call.model.removeprefix(prefix), stream=False) for call in calls]
    return await api.submit(own)


async def poll_batch(api: BatchApi, handle: Kept) -> BatchState:
    """How far it is. Asking every minute is often enough."""
    return await api.poll(_handle(api, handle))


async def collect_batch(
    api: BatchApi, handle: Kept, *, cost_of: CostOf = lambda _model, _usage: None
) -> list[BatchAnswer]:
    """An answer for each call, in the order they were handed in. `cost_of` is the usual price of `provider/model`; half is noted."""
    known = _handle(api, handle)
    answers = await api.collect(known)
    missing = BatchAnswer(code="model_failed", error="The provider has no answer to this call: the batch ended before.")
    found = [answers.get(number, missing) for number in range(len(known.models))]
    return [_priced(answer, f"{api.name}/{model}", cost_of) for answer, model in zip(found, known.models, strict=True)]


async def cancel_batch(api: BatchApi, handle: Kept) -> None:
    """Ask no more of it."""
    await api.cancel(_handle(api, handle))


def _handle(api: BatchApi, kept: Kept) -> BatchHandle:
    handle = kept if isinstance(kept, BatchHandle) else msgspec.convert(kept, BatchHandle)
    if handle.provider != api.name:
        raise ModelRequestInvalid(f"This batch is at {handle.provider!r}, and {api.name!r} was asked about it.")
    return handle


def _priced(answer: BatchAnswer, model: str, cost_of: CostOf) -> BatchAnswer:
    if answer.reply is None:
        return answer
    cost = cost_of(model, answer.reply.usage)
    half = None if cost is None else cost * BATCH_PRICE
    return msgspec.structs.replace(answer, reply=msgspec.structs.replace(answer.reply, cost_usd=half))


def refused(error: ModelFailed) -> BatchAnswer:
    """An error as an answer."""
    return BatchAnswer(code=error.code, error=error.message)
