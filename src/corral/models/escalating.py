"""Asking a better model when an answer will not do, before anybody has heard of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec

from corral.errors import ModelFailed
from corral.messages import CallModel, ModelCall, ModelEvent, ModelReply, closing
from corral.models.answer_checks import Check

_HELD_MAX = 100_000
"""Pieces that are held back for the check; what is longer is passed on unchecked."""

Higher = Callable[[], ModelCall | None]
"""The call to the next better model; none: there is none, so the answer at hand is the last word."""
Decided = Callable[[ModelCall, str], None]
"""Told before a better model is asked, and why."""


async def upwards(
    call: ModelCall, proceed: CallModel, *, check: Check, higher: Higher, decided: Decided
) -> AsyncIterator[ModelEvent]:
    """The first answer that will do, or the best model's.

    Answers are held back until they are checked, so a stream begins when its answer is whole; the last model's answer is not
    checked, and streams at once. If a better model does not answer, the answer at hand is given after all. The reply's cost
    is that of all that were asked.
    """
    kept: list[ModelEvent] = []
    spent = 0.0
    while (better := higher()) is not None:
        held = _Held()
        async with closing(_answer(call, proceed, kept, spent)) as events:
            async for event in events:
                for one in held.take(event):
                    yield one
        fault = "" if held.is_full else await check(call, _reply(held.events))
        if not fault:
            for one in held.events:
                yield one
            return
        kept = held.events
        spent = _reply(kept).cost_usd or spent
        decided(better, f"{call.model}: {fault}")
        call = better
    async with closing(_answer(call, proceed, kept, spent)) as events:
        async for event in events:
            yield event


async def _answer(
    call: ModelCall, proceed: CallModel, kept: list[ModelEvent], spent: float
) -> AsyncIterator[ModelEvent]:
    """A model's answer; or the one before, if there is one and this model says nothing."""
    begun = False
    try:
        async with closing(proceed(call)) as events:
            async for event in events:
                begun = True
                yield _with_cost(event, spent)
    except ModelFailed as error:
        if begun or not kept:
            raise
        call.notes["route.reason"] += f"; {call.model} failed ({error.code}), so the answer before is given"
    else:
        return
    for event in kept:
        yield event


class _Held:
    """Pieces that wait for the check, unless there are too many of them."""

    def __init__(self) -> None:
        self.events: list[ModelEvent] = []
        self.is_full = False

    def take(self, event: ModelEvent) -> list[ModelEvent]:
        """Keep a piece; what is to be passed on now."""
        if self.is_full:
            return [event]
        self.events.append(event)
        if len(self.events) <= _HELD_MAX:
            return []
        self.is_full = True
        passed, self.events = self.events, []
        return passed


def _reply(held: list[ModelEvent]) -> ModelReply:
    last = held[-1] if held else None
    return last if isinstance(last, ModelReply) else ModelReply(stop_reason="other")


def _with_cost(event: ModelEvent, spent: float) -> ModelEvent:
    if not spent or not isinstance(event, ModelReply) or event.cost_usd is None:
        return event
    return msgspec.structs.replace(event, cost_usd=event.cost_usd + spent)
