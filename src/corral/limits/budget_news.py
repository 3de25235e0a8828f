"""What is said of budgets: that a call is not made, and that a step is reached."""

from __future__ import annotations

import msgspec

from corral.errors import CorralError
from corral.limits.accounts import Amount
from corral.limits.budget_rules import BudgetRule
from corral.limits.budget_store import Place


class BudgetExceeded(CorralError):
    """This would cost more than may be spent."""

    status = 402
    code = "budget_exceeded"

    def __init__(
        self,
        message: str | None = None,
        *,
        budget: str = "",
        resets_at: float | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """`resets_at`: when it is whole again; none: never by itself."""
        super().__init__(message, retry_after_s=retry_after_s)
        self.budget = budget
        self.resets_at = resets_at


class BudgetQueued(BudgetExceeded):
    """This would cost more than may be spent now. A job goes on once the budget is whole again."""

    code = "budget_queued"
    retryable = True
    put_off_s: float = 300.0
    """A job is put off for so long, which does not count as a failure."""


class BudgetsUnavailable(CorralError):
    """Whether this may be spent cannot be found out now; try again in a moment."""

    status = 503
    code = "budgets_unavailable"
    retryable = True


class BudgetNews(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a budget is reached, for the first time in its period."""

    at: float
    """When, in seconds since 1970."""
    place: Place
    step: float
    """Which one: `0.8`."""
    does: tuple[str, ...]
    """What happens from now on."""
    spent: Amount
    limit_usd: float | None
    limit_tokens: int | None
    resets_at: float | None
    webhook: str = ""


class BudgetObserver:
    """Who is told. Everything is quick and never raises; this one does nothing."""

    def reached(self, news: BudgetNews) -> None:
        """A step is reached."""

    def refused(self, rule: BudgetRule) -> None:
        """A call was not made."""

    def degraded(self, rule: BudgetRule, step: str) -> None:
        """A call was made in a smaller way."""

    def stands(self, budget: str, level: float) -> None:
        """How much is used of the account of a budget that is used the most."""
