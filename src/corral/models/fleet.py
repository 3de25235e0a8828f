"""Every deployment this process asks: how it does, whether it is left alone, and until when."""

from __future__ import annotations

from typing import Any

from corral.clock import Clock
from corral.errors import (
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    PaceExceeded,
)
from corral.models.breaker import Breaker
from corral.models.live import Live

DEPLOYMENTS_MAX = 1_000
"""Callers may ask for any model by name: those asked for longest ago are forgotten."""
_COOLDOWN_S = 1.0
"""After a refusal that does not say for how long."""


class Deployment:
    """One model at one provider (`provider/model`)."""

    __slots__ = ("breaker", "cooling_until", "live", "name")

    def __init__(self, name: str, breaker: Breaker) -> None:
        """Nothing is known about it yet."""
        self.name = name
        self.breaker = breaker
        self.live = Live()
        self.cooling_until = 0.0
        """It said that it allows no more calls until then."""

    def wait_s(self, now: float) -> float:
        """How long it had better be left alone."""
        return max(self.cooling_until - now, self.breaker.wait_s(now), 0.0)

    def is_ready(self, now: float) -> bool:
        """Whether it may be asked now."""
        breaker = self.breaker
        return now >= self.cooling_until and (breaker.opened_at is None or breaker.allows(now))

    def reason(self, now: float) -> str:
        """Why it is not asked now."""
        if now < self.cooling_until:
            return f"allows no more calls for {self.cooling_until - now:.3g} s"
        if self.breaker.state(now) == "half_open":
            return "is just being tried again by another call"
        return f"failed too often and is left alone for {self.breaker.wait_s(now):.3g} s (last: {self.breaker.reason})"

    def refused(self, era: int, error: ModelFailed, now: float, *, too_late: bool) -> None:
        """It failed; `too_late`: because the caller had no more time, which is no fault of the deployment."""
        if error.wished:
            self.breaker.left(era)
        elif isinstance(error, ModelRateLimited):
            self.cooling_until = max(self.cooling_until, now + (error.retry_after_s or _COOLDOWN_S))
            self.breaker.left(era)
        elif isinstance(error, PaceExceeded) or too_late:
            self.breaker.left(era)
        elif isinstance(error, ModelRequestInvalid):
            self.breaker.succeeded(era)
        else:
            self.breaker.failed(era, now, error.message)
            self.live.failed(now)
            if isinstance(error, ModelAuthFailed | ModelNotFound) and self.breaker.opened_at is not None:
                # It takes a person to mend that, and the next call asks anyway once the pause is over.
                self.breaker.reason = error.message

    def status(self, now: float) -> dict[str, Any]:
        """For people and gauges."""
        return {
            "deployment": self.name,
            "breaker": self.breaker.state(now),
            "reason": self.breaker.reason,
            "wait_s": round(self.wait_s(now), 3),
            "cooling": now < self.cooling_until,
        } | self.live.status(now)


class Fleet:
    """The deployments by name, at most a thousand."""

    def __init__(self, *, breaker_failures: int, breaker_s: float, clock: Clock) -> None:
        """They appear when they are first asked for."""
        self._breaker_failures = breaker_failures
        self._breaker_s = breaker_s
        self._clock = clock
        self._known: dict[str, Deployment] = {}

    def get(self, name: str) -> Deployment:
        """The deployment; a new one if it was not known."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= DEPLOYMENTS_MAX:
                self._forget()
            breaker = Breaker(failures=self._breaker_failures, pause_s=self._breaker_s)
            found = self._known[name] = Deployment(name, breaker)
        return found

    def _forget(self) -> None:
        """Forget the oldest tenth of those that nobody asks at the moment."""
        idle = [name for name, one in self._known.items() if not one.live.in_flight]
        for name in idle[: DEPLOYMENTS_MAX // 10]:
            del self._known[name]

    def p95(self, name: str, *, stream: bool) -> float | None:
        """How slow it is lately; none: not enough is known."""
        found = self._known.get(name)
        return None if found is None else found.live.p95(stream=stream, now=self._clock.monotonic())

    def status(self) -> list[dict[str, Any]]:
        """All of them."""
        now = self._clock.monotonic()
        return [one.status(now) for one in self._known.values()]
