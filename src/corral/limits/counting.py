"""The numbers of limits: `corral_ratelimit_*` and `corral_provider_bucket_*`."""

from __future__ import annotations

from typing import Literal

from corral.observability.metrics import Metrics, Value

Decision = Literal["passed", "waited", "refused"]
_WAIT_SECONDS = (0.002, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class LimitCounting:
    """Counts how calls came past the limits, and shows what is left of them."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._decisions = m.counter(
            "corral_ratelimit_decisions_total",
            "Calls that passed at once, that waited, and that were refused because there would be no room in time.",
            "provider",
            "decision",
        )
        self._wait = m.histogram(
            "corral_ratelimit_wait_seconds", "How long calls waited for room.", "provider", bounds=_WAIT_SECONDS
        )
        self._waiting = m.gauge("corral_ratelimit_waiting", "Calls that wait for room.", "provider")
        self._bucket = m.gauge(
            "corral_provider_bucket_tokens",
            "What is left in the buckets that all workers share, as last seen.",
            "provider",
            "kind",
            of_workers="lowest",
        )

    def passed(self, provider: str) -> Value:
        """The number of those that passed at once: whoever lets them pass counts."""
        return self._decisions.value(provider, "passed")

    def waited(self, provider: str, seconds: float) -> None:
        """After a while."""
        self._decisions.value(provider, "waited").inc()
        self._wait.distribution(provider).observe(seconds)

    def refused(self, provider: str) -> None:
        """Not at all."""
        self._decisions.value(provider, "refused").inc()

    def stands(self, provider: str, *, tokens: float, requests: float, waiting: int) -> None:
        """What is left now."""
        self._bucket.value(provider, "tokens").set(tokens)
        self._bucket.value(provider, "requests").set(requests)
        self._waiting.value(provider).set(waiting)
