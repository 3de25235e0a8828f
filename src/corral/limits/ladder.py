"""The layer `laddered`: on the way to the end of a budget, calls become smaller before they are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from corral.errors import NotCached
from corral.limits.budgets import Budgets
from corral.limits.pocket import Pocket
from corral.limits.shortening import shortened
from corral.messages import CallModel, ModelCall, ModelEvent, ModelReply, closing
from corral.settings.budget_sections import LadderStep

DEGRADED = "degraded"
"""In a call's notes: the steps that made it smaller."""
STEP = "budget.step"
"""In a call's notes: which budget was how far, and what came of it."""

Reached = list[tuple[Pocket, LadderStep]]


class Laddered:
    """Left out where no budget has a ladder. What it decides by costs no look into the store, but for the first time."""

    def __init__(self, budgets: Budgets) -> None:
        """The steps are those of `budgets`."""
        self._budgets = budgets

    def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Go on, with a smaller call if need be."""
        pockets = [pocket for pocket in self._budgets.pockets(call.caller) if pocket.rule.ladder]
        return self._degraded(call, pockets, proceed) if pockets else proceed(call)

    async def _degraded(
        self, call: ModelCall, pockets: Sequence[Pocket], proceed: CallModel
    ) -> AsyncIterator[ModelEvent]:
        reached: Reached = [
            (pocket, step)
            for pocket, standing in await self._budgets.standings(pockets)
            for step in pocket.rule.ladder
            if step.at <= standing.level
        ]
        call, taken = _smaller(call, reached)
        words = tuple(dict.fromkeys(step.do for _, step in taken))
        if words:
            call.notes[DEGRADED] = ",".join(words)
            call.notes[STEP] = ", ".join(f"{pocket.rule.name} {step.at:g} {step.do}" for pocket, step in taken)
            for pocket, step in taken:
                self._budgets.observer.degraded(pocket.rule, step.do)
        try:
            async with closing(proceed(call)) as events:
                async for event in events:
                    if words and type(event) is ModelReply:
                        yield msgspec.structs.replace(event, degraded=words)
                    else:
                        yield event
        except NotCached:
            only = next((pocket for pocket, step in taken if step.do == "cached_only"), None)
            if only is None:
                raise
            self._budgets.observer.refused(only.rule)
            raise self._budgets.refusal(only) from None


def _smaller(call: ModelCall, reached: Reached) -> tuple[ModelCall, Reached]:
    """The call as the steps make it, and the steps that changed something."""
    taken: Reached = []
    for pocket, step in reached:
        match step.do:
            case "smaller_model" if call.model != step.to:
                policy = msgspec.structs.replace(call.policy, route="") if call.policy.route else call.policy
                call = msgspec.structs.replace(call, model=step.to, policy=policy)
            case "shorter_context" if (messages := shortened(call.messages, step.keep)) is not None:
                call = msgspec.structs.replace(call, messages=messages)
            case "cached_only" if call.policy.cache != "only":
                call = msgspec.structs.replace(call, policy=msgspec.structs.replace(call.policy, cache="only"))
            case _:
                continue
        taken.append((pocket, step))
    return call, taken
