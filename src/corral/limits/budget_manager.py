"""A budget for code of one's own: `TokenBudgetManager(monthly_budget_usd=500)`.

budget = TokenBudgetManager(monthly_budget_usd=500, by=["user"])

async with budget.spending(usd=0.02) as call:
    answer = await ask(...)
    call.took(usd=answer.cost_usd)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import find_context
from corral.errors import ConfigError
from corral.here import Here
from corral.limits.accounts import Amount, amount_of
from corral.limits.alone import AccountsHere
from corral.limits.budget_rules import BudgetRule
from corral.limits.budget_store import BudgetStore
from corral.limits.budgets import Budgets, Reservation
from corral.limits.pocket import Pocket
from corral.messages import Caller
from corral.settings.budget_sections import BudgetSettings

here: Here[BudgetStore] = Here("corral_budgets")
"""The accounts of the service that runs here."""


class BudgetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands for one caller."""

    spent_usd: float
    spent_tokens: int
    limit_usd: float | None
    limit_tokens: int | None
    used: float
    """Which part is spent or set aside, from 0 to 1."""
    steps: tuple[str, ...]
    """The steps of its ladder that hold now, in order: what to do about the next call."""
    resets_at: float | None


class Spending:
    """One call on its way."""

    __slots__ = ("cost", "reservation")

    def __init__(self, reservation: Reservation) -> None:
        """Made by `TokenBudgetManager.spending`. Until it says what it took, what was set aside counts."""
        self.reservation = reservation
        self.cost: Amount = reservation.amount

    def took(self, *, usd: float | None = 0.0, tokens: int = 0) -> None:
        """So much, in truth."""
        self.cost = amount_of(usd, tokens)


class TokenBudgetManager:
    """So much money or so many tokens in a month or a day, for all workers of a service together; without one, in this process.

    Used on one loop.
    """

    def __init__(  # noqa: PLR0913 - what a budget can say
        self,
        monthly_budget_usd: float | None = None,
        *,
        daily_budget_usd: float | None = None,
        monthly_tokens: int | None = None,
        daily_tokens: int | None = None,
        by: Sequence[str] = (),
        ladder: Sequence[Mapping[str, Any]] = (),
        name: str = "own",
        store: BudgetStore | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`by`, `ladder`: as in `budgets` of the settings. Budgets of one name are one. Raises `ConfigError`."""
        budgets = {
            f"{name}.month": ("month", monthly_budget_usd, monthly_tokens),
            f"{name}.day": ("day", daily_budget_usd, daily_tokens),
        }
        said = {
            key: {"period": period, "usd": usd, "tokens": tokens, "by": list(by), "ladder": list(ladder)}
            for key, (period, usd, tokens) in budgets.items()
            if usd is not None or tokens is not None
        }
        if not said:
            raise ConfigError("Say how much may be spent: `TokenBudgetManager(monthly_budget_usd=500)`.")
        try:
            settings = msgspec.convert(said, dict[str, BudgetSettings])
        except msgspec.ValidationError as error:
            raise ConfigError(f"This budget cannot be kept: {error}") from None
        self._rules = [BudgetRule(key, one) for key, one in settings.items()]
        self._store = store
        self._clock = clock
        self._budgets: Budgets | None = None

    @asynccontextmanager
    async def spending(
        self, *, usd: float | None = None, tokens: int = 0, caller: Caller | None = None
    ) -> AsyncIterator[Spending]:
        """Set aside what a call will probably take, and settle it when the block is left. Raises `BudgetExceeded`.

        If the block raises and did not say what it took, it took nothing.
        """
        budgets = await self._ready()
        spending = Spending(await budgets.reserve(self._pockets(budgets, caller), amount_of(usd, tokens)))
        untold = spending.cost
        try:
            yield spending
        except BaseException:
            if spending.cost is untold:
                spending.cost = Amount()
            raise
        finally:
            budgets.settle(spending.reservation, spending.cost)

    async def status(self, caller: Caller | None = None) -> BudgetStatus:
        """How it stands for a caller (none: for who asks now); of a month and a day, the one that is nearer to its end."""
        budgets = await self._ready()
        stands = await budgets.standings(self._pockets(budgets, caller))
        pocket, standing = max(stands, key=lambda one: one[1].level)
        return BudgetStatus(
            spent_usd=standing.spent.usd,
            spent_tokens=standing.spent.tokens,
            limit_usd=standing.terms.usd,
            limit_tokens=standing.terms.tokens,
            used=standing.level,
            steps=tuple(dict.fromkeys(step.do for step in pocket.rule.ladder if step.at <= standing.level)),
            resets_at=standing.resets_at,
        )

    async def stop(self) -> None:
        """Tell what was spent, and give back what is held. May be called twice."""
        budgets, self._budgets = self._budgets, None
        if budgets is not None:
            await budgets.stop()

    async def _ready(self) -> Budgets:
        if self._budgets is None:
            store = self._store or here.find() or AccountsHere(self._clock)
            self._budgets = Budgets(self._rules, store, clock=self._clock)
            await self._budgets.start()
        return self._budgets

    def _pockets(self, budgets: Budgets, caller: Caller | None) -> list[Pocket]:
        return budgets.pockets(caller or _caller())


def _caller() -> Caller:
    """Who asks, as the request says that runs here."""
    context = find_context()
    if context is None:
        return Caller()
    return Caller(
        tenant=context.tenant,
        tier=context.tier,
        user_id=context.user_id or "",
        agent=context.agent,
        session_id=context.session_id or "",
        run_id=context.job_id or context.request_id,
    )
