"""Batches at providers: set aside before they are handed in, in all budgets they belong to, and set right when their answers are there.

A batch takes up to a day, longer than a worker may live. So what it will probably cost counts as spent from the moment it is handed in, and
the difference is made good once, in the period in which it was handed in; whoever never collects has paid the estimate. A provider counts
batches apart from its limits for calls: the pace has no part in them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from corral.clock import new_id
from corral.errors import CorralError, ModelStreamBroken, ModelTimeout, StoreUnavailable
from corral.limits.accounts import Amount, amount_of
from corral.limits.budget import EstimateCall, check_priced
from corral.limits.budget_store import BudgetStore, Change, Place
from corral.limits.budgets import Budgets
from corral.limits.rated_models import visitor_of
from corral.limits.rates import Admission, Rates
from corral.messages import Caller, ModelCall, Usage

_log = logging.getLogger("corral.limits")

_SETTLED = "@batches"
"""Where it is written that a batch was settled: no budget can have this name."""
_KEPT_S = 90 * 86_400.0
"""Answers are gone from providers long before."""
_AT_ONCE = 200
_MAYBE_TAKEN = (ModelTimeout, ModelStreamBroken)
"""After these the provider may have the batch all the same."""


class BatchReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was set aside for a batch; part of its handle, so that any worker can settle it."""

    id: str
    caller: Caller
    amount: Amount
    places: list[Place]
    at: float


class Answered(Protocol):
    """One call of a batch, once it is over."""

    @property
    def usage(self) -> Usage:
        """What it took."""
        ...

    @property
    def cost_usd(self) -> float | None:
        """None: no price is known."""
        ...


T = TypeVar("T")
AnsweredT_contra = TypeVar("AnsweredT_contra", bound=Answered, contravariant=True)


class BatchAccounts(Generic[AnsweredT_contra]):
    """Used on one loop; what it knows stands in receipts and in the store."""

    def __init__(
        self,
        *,
        budgets: Budgets | None,
        rates: Rates | None,
        store: BudgetStore,
        estimate: EstimateCall,
        cost_of: Callable[[str, Usage], float | None],
        told: Callable[[Caller, AnsweredT_contra], None],
        now: Callable[[], float],
    ) -> None:
        """`estimate` and `cost_of` know the price of batches; `told` hears of each call once."""
        self.cost_of = cost_of
        self._budgets = budgets
        self._rates = rates
        self._store = store
        self._estimate = estimate
        self._told = told
        self._now = now

    @asynccontextmanager
    async def handing_in(self, calls: Sequence[ModelCall]) -> AsyncIterator[dict[str, Any]]:
        """Set aside what calls of one caller will probably take; the block hands them in. Yields a receipt for `settle`, as JSON.

        Raises `BudgetExceeded`, `PriceUnknown` or `RateExceeded`. If the block fails so that the provider surely has nothing, nothing counts.
        """
        caller = calls[0].caller
        estimates = [self._estimate(call) async for call in _in_turns(calls)]
        tokens = sum(one.tokens for one in estimates)
        admission = await self._admitted(calls[0], tokens)
        try:
            pockets = [] if self._budgets is None else self._budgets.pockets(caller)
            for call, one in zip(calls, estimates, strict=True):
                check_priced(call.model, one, pockets)
            amount = amount_of(sum(one.usd or 0.0 for one in estimates), tokens)
            places = [pocket.place for pocket in pockets]
            if self._budgets is not None and pockets:
                self._budgets.settle(await self._budgets.reserve(pockets, amount), amount)
        except BaseException:
            if admission is not None:
                admission.undo()
            raise
        receipt = BatchReceipt(id=new_id(), caller=caller, amount=amount, places=places, at=self._now())
        try:
            yield msgspec.to_builtins(receipt)
        except CorralError as error:
            if not isinstance(error, _MAYBE_TAKEN):
                self._correct(receipt, Amount())
                if admission is not None:
                    admission.undo()
            raise

    async def settle(self, receipt: Mapping[str, Any], answers: Sequence[AnsweredT_contra]) -> None:
        """So much was it in truth. Settling twice, in whatever worker, is settling once.

        While the store is away nothing happens, and the estimate goes on counting: settle again later.
        """
        known = msgspec.convert(receipt, BatchReceipt)
        if not await self._is_first(known):
            return
        cost = Amount()
        async for one in _in_turns(answers):
            self._told(known.caller, one)
            cost += amount_of(one.cost_usd, one.usage.total)
        self._correct(known, cost)

    async def _admitted(self, call: ModelCall, tokens: int) -> Admission | None:
        if self._rates is None:
            return None
        return await self._rates.admit(visitor_of(call), tokens=float(tokens), where="model")

    async def _is_first(self, receipt: BatchReceipt) -> bool:
        place = Place(receipt.caller.tenant, _SETTLED, receipt.id)
        try:
            done, _ = await self._store.swap([Change(place, 0, b"settled", self._now() + _KEPT_S)])
        except StoreUnavailable as error:
            _log.warning("A batch is not settled yet, its estimate counts until it is collected again: %s", error)
            return False
        return done

    def _correct(self, receipt: BatchReceipt, truth: Amount) -> None:
        if self._budgets is not None:
            self._budgets.correct(receipt.places, truth - receipt.amount)


async def _in_turns(many: Sequence[T]) -> AsyncIterator[T]:
    """One after the other; others have their turn in between."""
    for number, one in enumerate(many):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        yield one
