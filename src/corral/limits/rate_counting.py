"""The numbers of limits on who asks: `corral_limits_*`. Rules are few; who asked is never a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from corral.observability.metrics import Metrics, Value

if TYPE_CHECKING:
    from corral.limits.rates import Passed


class RateCounting:
    """Counts decisions, and how often they had to be made without the store."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        self._admitted = metrics.counter("corral_limits_admitted_total", "Requests that passed a limit.", "rule")
        self._refused = metrics.counter("corral_limits_refused_total", "Requests that a limit refused.", "rule")
        self._alone = metrics.counter(
            "corral_limits_alone_total", "Decisions made by one worker, because the store was away.", "rule"
        )
        self._busy = metrics.counter(
            "corral_limits_busy_total", "Requests refused because too many ran at the same time.", "per"
        )
        self._failures = metrics.counter(
            "corral_limits_store_failures_total", "How often the store of limits did not answer."
        ).value()
        self._known: dict[str, Value] = {}

    def admitted(self, stands: Sequence[Passed]) -> None:
        """One request, and the limits it passed."""
        known = self._known
        for one in stands:
            count = known.get(one.rule.name)
            if count is None:
                count = known[one.rule.name] = self._admitted.value(one.rule.name)
            count.value += 1
            if one.standing.alone:
                self._alone.value(one.rule.name).inc()

    def refused(self, rule: str, *, alone: bool) -> None:
        """One request, by this rule."""
        self._refused.value(rule).inc()
        if alone:
            self._alone.value(rule).inc()

    def busy(self, per: str) -> None:
        """One request that came while as many ran as may."""
        self._busy.value(per).inc()

    def store_failed(self) -> None:
        """The store did not answer."""
        self._failures.inc()
