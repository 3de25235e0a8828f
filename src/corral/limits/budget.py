"""The layer `budgeted`: what a call will probably take is set aside before it, and settled by what it took."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from corral.errors import CorralError
from corral.limits.accounts import Amount, amount_of
from corral.limits.budgets import Budgets, Reservation
from corral.limits.pocket import Pocket
from corral.messages import CallEmbedder, CallModel, EmbedCall, EmbedReply, ModelCall, ModelEvent, Usage, closing


class Estimate(msgspec.Struct, frozen=True):
    """What a call will probably take."""

    usd: float | None
    """None: no price is known."""
    tokens: int


EstimateCall = Callable[[ModelCall | EmbedCall], Estimate]


class PriceUnknown(CorralError):
    """No price is known of this model, and a budget of money has to be kept to."""

    status = 402
    code = "price_unknown"


class Bill:
    """What became of one call."""

    __slots__ = ("cost_usd", "is_there", "left", "usage")

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.is_there = False
        self.usage = Usage()
        self.cost_usd: float | None = None
        self.left = False
        """Nobody waited for the end, and nothing of it is known."""


class Budgeted:
    """Left out where nobody has a budget. Stands around each single attempt; every reservation is settled, however it ends."""

    def __init__(self, budgets: Budgets, estimate: EstimateCall) -> None:
        """`estimate` is asked once per attempt; what it took in truth says `billed`."""
        self._budgets = budgets
        self._estimate = estimate
        self._bills: dict[int, Bill] = {}

    def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Set aside, go on, settle."""
        pockets = self._budgets.pockets(call.caller)
        return self._counted(call, pockets, proceed) if pockets else proceed(call)

    async def _counted(
        self, call: ModelCall, pockets: Sequence[Pocket], proceed: CallModel
    ) -> AsyncIterator[ModelEvent]:
        own = msgspec.structs.replace(call)  # by which `billed` knows it again
        reservation = await self._reserve(own, pockets)
        bill = self._bills[id(own)] = Bill()
        try:
            async with closing(proceed(own)) as events:
                async for event in events:
                    yield event
        finally:
            del self._bills[id(own)]
            self._budgets.settle(reservation, _cost(bill, reservation.amount))

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The same for embeddings."""
        pockets = self._budgets.pockets(call.caller)
        if not pockets:
            return await proceed(call)
        own = msgspec.structs.replace(call)
        reservation = await self._reserve(own, pockets)
        bill = self._bills[id(own)] = Bill()
        try:
            return await proceed(own)
        finally:
            del self._bills[id(own)]
            self._budgets.settle(reservation, _cost(bill, reservation.amount))

    def billed(self, call: ModelCall | EmbedCall, usage: Usage, cost_usd: float | None, *, cancelled: bool) -> None:
        """A provider was asked, and this is what it took. Calls that are not ours are left alone."""
        bill = self._bills.get(id(call))
        if bill is not None:
            bill.is_there, bill.usage, bill.cost_usd = True, usage, cost_usd
            bill.left = cancelled and not usage.total

    async def _reserve(self, call: ModelCall | EmbedCall, pockets: Sequence[Pocket]) -> Reservation:
        estimate = self._estimate(call)
        check_priced(call.model, estimate, pockets)
        reservation = await self._budgets.reserve(pockets, amount_of(estimate.usd, estimate.tokens))
        call.notes["budget.reserved_usd"] = reservation.usd
        return reservation


def check_priced(model: str, estimate: Estimate, pockets: Sequence[Pocket]) -> None:
    """Raises `PriceUnknown` where one of these budgets has to know a price, and there is none."""
    if estimate.usd is not None:
        return
    strict = next((one for one in pockets if _needs_price(one)), None)
    if strict is not None:
        raise PriceUnknown(
            f"No price is known of {model!r}, and the budget {strict.rule.name!r} is one of money: say the price in "
            f"the file of `models.prices`, or let such calls pass with `budgets.{strict.rule.name}.unpriced: allow`."
        )


def _needs_price(pocket: Pocket) -> bool:
    return pocket.terms.nano is not None and pocket.rule.settings.unpriced == "refuse"


def _cost(bill: Bill, reserved: Amount) -> Amount:
    """Of a call that nobody waited for, what was set aside counts: its provider goes on all the same."""
    if bill.left:
        return reserved
    return amount_of(bill.cost_usd, bill.usage.total) if bill.is_there else Amount()
