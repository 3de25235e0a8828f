"""The numbers of budgets: `corral_budgets_*`."""

from __future__ import annotations

from corral.observability.metrics import Metrics


class BudgetCounting:
    """Counts by budget; those it is counted for are no labels, there may be millions."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        self._refused = metrics.counter(
            "corral_budgets_refused_total", "Calls that were not made because a budget was used up.", "budget"
        )
        self._degraded = metrics.counter(
            "corral_budgets_degraded_total", "Calls that were made smaller near the end of a budget.", "budget", "step"
        )
        self._reached = metrics.counter(
            "corral_budgets_steps_total", "Steps of budgets that were reached, each once per period.", "budget", "step"
        )
        self._used = metrics.gauge(
            "corral_budgets_used_ratio",
            "Which part of a budget is spent or set aside: of the one that is used the most.",
            "budget",
            of_workers="highest",
        )

    def refused(self, budget: str) -> None:
        """A call was not made."""
        self._refused.value(budget).inc()

    def degraded(self, budget: str, step: str) -> None:
        """A call was made smaller."""
        self._degraded.value(budget, step).inc()

    def reached(self, budget: str, step: float) -> None:
        """A step was reached."""
        self._reached.value(budget, f"{step:g}").inc()

    def stands(self, budget: str, level: float) -> None:
        """How much is used."""
        self._used.value(budget).set(level)
