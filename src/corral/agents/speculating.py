"""The numbers of speculation: `corral_agents_speculation_*`."""

from __future__ import annotations

from corral.agents.payback import Outcome
from corral.observability.metrics import Metrics


class SpeculationCounting:
    """Counts what was prepared ahead, and what it was worth."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._total = m.counter(
            "corral_agents_speculation_total",
            "Calls of tools (`tool`) and follow-up context (`context`) that were prepared ahead, by use: `hit` or `miss`.",
            "agent",
            "kind",
            "outcome",
        )
        self._saved = m.counter(
            "corral_agents_speculation_saved_seconds_total", "How much sooner results were there.", "agent"
        )
        self._wasted = m.counter(
            "corral_agents_speculation_wasted_usd_total", "What calls ahead cost that nobody used.", "agent"
        )
        self._running = m.gauge("corral_agents_speculation_running", "Calls ahead that run now.")

    def began(self) -> None:
        """Something is prepared."""
        self._running.value().value += 1

    def stopped(self) -> None:
        """It is ready, or was given up."""
        self._running.value().value -= 1

    def over(self, agent: str, kind: str, outcome: Outcome) -> None:
        """What became of it."""
        self._total.value(agent, kind, "hit" if outcome.hit else "miss").value += 1
        if outcome.saved_s:
            self._saved.value(agent).value += outcome.saved_s
        if outcome.wasted_usd:
            self._wasted.value(agent).value += outcome.wasted_usd
