"""Batches at the provider: many questions handed in at once, answered within a day, for half the price.

    handle = await submit_batch(api, calls)      # a struct that JSON can hold: keep it, and go on tomorrow
    while not (await poll_batch(api, handle)).done: …
    answers = await collect_batch(api, handle)

Plain functions of a handle, so that each can be a durable step of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from corral.context import find_context
from corral.errors import ModelFailed, ModelRequestInvalid
from corral.messages import ModelCall, ModelReply, Usage
from corral.models.connected import Batches, check_model, find
from corral.models.exchange import Exchange
from corral.models.llm import caller_of
from corral.models.prices import BATCH_PRICE

_CALLS_MAX = 50_000

T = TypeVar("T")

CostOf = Callable[[str, Usage], float | None]


class BatchHandle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a batch is, and what is needed to read its answers."""

    provider: str
    id: str
    models: list[str]
    """Of each call, in order, as the provider names it."""
    answer_tools: dict[str, str] = {}
    """Calls by number whose answer in JSON comes as the input of this tool."""
    receipt: dict[str, Any] = {}
    """What was set aside for it; empty: nobody keeps accounts here."""


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
    """Hand calls in; `model` is `provider/model` of this provider, or its own name for it.

    In a service, what they will probably cost counts in budgets and limits on callers from now on: raises what these raise. Whose
    they are says the request or job that this is part of; the tags and the priority of the first call count for all.
    """
    if not 0 < len(calls) <= _CALLS_MAX:
        raise ModelRequestInvalid(f"A batch has 1 to {_CALLS_MAX} calls, not {len(calls)}: hand in several.")
    prefix = f"{api.name}/"
    for call in calls:
        check_model(prefix + call.model.removeprefix(prefix))
    own = [msgspec.structs.replace(call, model=call.model.removeprefix(prefix), stream=False) for call in calls]
    here = find()
    if here is None:
        return await api.submit(own)
    return await here.at_home(_submitted(api, own, here.batches))


async def _submitted(api: BatchApi, calls: Sequence[ModelCall], accounts: Batches | None) -> BatchHandle:
    if accounts is None:
        return await api.submit(calls)
    caller = caller_of(find_context(), calls[0].caller)
    named = [msgspec.structs.replace(call, model=f"{api.name}/{call.model}", caller=caller) for call in calls]
    async with accounts.handing_in(named) as receipt:
        return msgspec.structs.replace(await api.submit(calls), receipt=receipt)


async def poll_batch(api: BatchApi, handle: Kept) -> BatchState:
    """How far it is. Asking every minute is often enough. For a batch that failed, nothing counts any more."""
    known = _handle(api, handle)
    state = await _at_home(api.poll(known))
    if state.state == "failed":
        await _settle(known, [])
    return state


async def collect_batch(api: BatchApi, handle: Kept, *, cost_of: CostOf | None = None) -> list[BatchAnswer]:
    """An answer for each call, in the order they were handed in.

    `cost_of` is the usual price of `provider/model`; half is noted. Without it, the service's prices of batches count. What they cost
    takes the place of what was set aside, once, however often they are collected.
    """
    known = _handle(api, handle)
    answers = await _at_home(api.collect(known))
    missing = BatchAnswer(code="model_failed", error="The provider has no answer to this call: the batch ended before.")
    found = [answers.get(number, missing) for number in range(len(known.models))]
    price = _price_here() if cost_of is None else _halved(cost_of)
    priced = [_priced(answer, f"{api.name}/{model}", price) for answer, model in zip(found, known.models, strict=True)]
    await _settle(known, priced)
    return priced


async def cancel_batch(api: BatchApi, handle: Kept) -> None:
    """Ask no more of it. Collect what was answered: until then, what was set aside counts."""
    await _at_home(api.cancel(_handle(api, handle)))


def _handle(api: BatchApi, kept: Kept) -> BatchHandle:
    handle = kept if isinstance(kept, BatchHandle) else msgspec.convert(kept, BatchHandle)
    if handle.provider != api.name:
        raise ModelRequestInvalid(f"This batch is at {handle.provider!r}, and {api.name!r} was asked about it.")
    context = find_context()
    if handle.receipt and context is not None and context.tenant != handle.receipt["caller"].get("tenant", "default"):
        raise ModelRequestInvalid("This batch was handed in for another tenant: ask for it as that one.")
    return handle


def _priced(answer: BatchAnswer, model: str, cost_of: CostOf) -> BatchAnswer:
    if answer.reply is None:
        return answer
    cost = cost_of(model, answer.reply.usage)
    return msgspec.structs.replace(answer, reply=msgspec.structs.replace(answer.reply, cost_usd=cost))


def _halved(cost_of: CostOf) -> CostOf:
    def half(model: str, usage: Usage) -> float | None:
        cost = cost_of(model, usage)
        return None if cost is None else cost * BATCH_PRICE

    return half


def _price_here() -> CostOf:
    here = find()
    return (lambda _model, _usage: None) if here is None or here.batches is None else here.batches.cost_of


async def _at_home(work: Coroutine[Any, Any, T]) -> T:
    """A provider's connections live on the loop of the service, where there is one."""
    here = find()
    return await (work if here is None else here.at_home(work))


async def _settle(handle: BatchHandle, answers: Sequence[BatchAnswer]) -> None:
    here = find()
    if not handle.receipt or here is None or here.batches is None:
        return
    told = [
        Exchange(
            id=f"{handle.provider}-{handle.id}-{number}",
            provider=handle.provider,
            model=f"{handle.provider}/{model}",
            started_at=handle.receipt["at"],
            duration_s=0.0,
            outcome=answer.code or "ok",
            usage=Usage() if answer.reply is None else answer.reply.usage,
            cost_usd=None if answer.reply is None else answer.reply.cost_usd,
        )
        for number, (model, answer) in enumerate(zip(handle.models, answers, strict=False))
    ]
    await here.at_home(here.batches.settle(handle.receipt, told))


def refused(error: ModelFailed) -> BatchAnswer:
    """An error as an answer."""
    return BatchAnswer(code=error.code, error=error.message)
