"""The numbers of what is learnt: `corral_memory_learning_*`."""

from __future__ import annotations

from corral.observability.metrics import Metrics


class LearningCounting:
    """Counts what this process learns, and what keeps it from learning."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._calls = m.counter(
            "corral_memory_learning_calls_total",
            "Questions to models about what to learn, by outcome.",
            "kind",
            "outcome",
        )
        self._changes = m.counter(
            "corral_memory_learning_changes_total", "Records that were changed by learning.", "kind"
        )
        self._over = m.counter("corral_memory_learning_over_budget_total", "Sessions put off until the next day.")
        self._lost = m.counter(
            "corral_memory_learning_unnoticed_total", "Events for which no job could be made at once."
        )

    def asked(self, kind: str, outcome: str) -> None:
        """A model was asked: `learnt`, or its answer was a `misfit`."""
        self._calls.value(kind, outcome).inc()

    def changed(self, kind: str, records: int) -> None:
        """Records are different now."""
        self._changes.value(kind).inc(records)

    def over_budget(self) -> None:
        """There is nothing left for today."""
        self._over.value().inc()

    def unnoticed(self) -> None:
        """The queue did not take a job; the next event of the session makes one."""
        self._lost.value().inc()
