"""Money that is set aside before a call and settled after it: what whoever enforces budgets has to provide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from corral.errors import ModelFailed
from corral.messages import Caller, CallModel, ModelCall, ModelEvent, ModelReply, closing


class Reservation(Protocol):
    """An amount that is set aside."""

    @property
    def usd(self) -> float:
        """How much."""
        ...


class Budget(Protocol):
    """How much a caller may still spend."""

    async def reserve(self, caller: Caller, usd: float | None) -> Reservation:
        """Set aside what a call will probably cost (none: no price is known). Raises an error with a status if there is not enough.

        What is set aside and neither settled nor given back is free again after a while: its worker died.
        """
        ...

    async def settle(self, reservation: Reservation, cost_usd: float | None) -> None:
        """It cost so much (none: not known, so what was set aside counts). Settling twice is settling once."""
        ...


EstimateCost = Callable[[ModelCall], float | None]
"""What a call will probably cost."""


class Budgeted:
    """The layer `budgeted`: left out where nobody has a budget. Every reservation is settled, however the call ends."""

    def __init__(self, budget: Budget, estimate: EstimateCost) -> None:
        """`estimate` is asked once per call."""
        self._budget = budget
        self._estimate = estimate

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Set aside, go on, settle."""
        reservation = await self._budget.reserve(call.caller, self._estimate(call))
        call.notes["budget.reserved_usd"] = reservation.usd
        cost: float | None = 0.0
        try:
            async with closing(proceed(call)) as events:
                async for event in events:
                    # Once something was said, it costs something, though how much is only known at the end.
                    cost = event.cost_usd if type(event) is ModelReply else None
                    yield event
        except ModelFailed as error:
            if isinstance(error.partial, ModelReply):
                cost = error.partial.cost_usd
            raise
        finally:
            await self._budget.settle(reservation, cost)
