"""Whether speculating pays: what was hit and saved, and what was called in vain."""

from __future__ import annotations

from collections import deque

import msgspec

from corral.clock import Clock


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one thing that was prepared."""

    hit: bool
    saved_s: float = 0.0
    """How much sooner its result was there."""
    wasted_usd: float = 0.0


class Payback:
    """Looks at the newest outcomes. What does not pay is switched off, and tried again after a while, each time a longer one."""

    def __init__(
        self,
        *,
        clock: Clock,
        hits_min: float,
        usd_per_s_max: float,
        newest: int = 40,
        least: int = 8,
        pause_s: float = 60.0,
        pause_max_s: float = 3_600.0,
    ) -> None:
        """Below a share of `hits_min`, or for more than `usd_per_s_max` per second saved, it does not pay.

        Nothing is decided before `least` outcomes are there.
        """
        self._clock = clock
        self._hits_min = hits_min
        self._usd_per_s_max = usd_per_s_max
        self._outcomes: deque[Outcome] = deque(maxlen=newest)
        self._least = least
        self._pause_first_s = self._pause_s = pause_s
        self._pause_max_s = pause_max_s
        self._off_until: float | None = None

    @property
    def on(self) -> bool:
        """Whether to speculate now."""
        if self._off_until is None:
            return True
        if self._clock.monotonic() < self._off_until:
            return False
        self._off_until = None
        self._outcomes.clear()
        return True

    @property
    def hit_rate(self) -> float:
        """The share that was of use, of the newest; 1 before the first."""
        return sum(one.hit for one in self._outcomes) / len(self._outcomes) if self._outcomes else 1.0

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self._outcomes.append(outcome)
        if len(self._outcomes) < self._least or self._off_until is not None:
            return
        if self._pays():
            if len(self._outcomes) == self._outcomes.maxlen:
                self._pause_s = self._pause_first_s
            return
        self._off_until = self._clock.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, self._pause_max_s)

    def _pays(self) -> bool:
        if self.hit_rate < self._hits_min:
            return False
        saved = sum(one.saved_s for one in self._outcomes)
        wasted = sum(one.wasted_usd for one in self._outcomes)
        return wasted <= self._usd_per_s_max * saved or not wasted
