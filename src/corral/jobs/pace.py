"""How fast the jobs of a worker go of late: whether it may claim more of them than it has room for, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corral.clock import Clock

AHEAD_S = 0.02
"""What would not begin within this time is not claimed ahead: a worker that is free may have it."""
_AHEAD_MAX = 6
"""At most so many times the slots of a worker, however fast it is: that is what newcomers may find before them."""
_QUICK_S = 0.005
"""Nothing is claimed ahead while jobs take longer than this on average."""
_OF_LATE = 64
"""About so many runs make up the average: one that is very long counts for many that are short."""
_WINDOW_S = 0.02
"""Runs are counted for so long to know their rate."""


class Pace:
    """Told of each run as it ends, which costs a few additions. Until it has seen some, nothing is claimed ahead."""

    def __init__(self, clock: Clock) -> None:
        """Begin to count."""
        self._now = clock.monotonic
        self._mean_s = 1.0
        self._count = 0
        self._since = self._now()
        self._per_s = 0.0

    def ended(self, run_s: float) -> None:
        """A run is over, and took so long."""
        self._mean_s += (run_s - self._mean_s) / _OF_LATE
        self._count += 1
        now = self._now()
        passed_s = now - self._since
        if passed_s >= _WINDOW_S:
            self._per_s = self._count / passed_s
            self._count, self._since = 0, now

    def ahead(self, slots: int) -> int:
        """How many will begin soon that have no room yet. None while runs take long, or when none ended lately."""
        if self._mean_s > _QUICK_S or self._now() - self._since > 2 * _WINDOW_S:
            return 0
        return min(int(self._per_s * AHEAD_S), _AHEAD_MAX * slots)
