"""How a deployment does at the moment: how fast, how often it fails, how busy it is. Old numbers fade."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

_STEP = 1.15
"""Each bucket ends this much later than the one before: a quantile is at most so much too high."""
_SHORTEST_S, _LONGEST_S = 0.001, 700.0


def _bounds() -> tuple[float, ...]:
    ends = [_SHORTEST_S]
    while ends[-1] < _LONGEST_S:
        ends.append(ends[-1] * _STEP)
    return tuple(ends)


_ENDS = _bounds()
SAMPLES_MIN = 20
"""With fewer values, nothing is said of their tail."""


class Fading:
    """How values are distributed lately, in bounded space.

    Two windows: the one that fills, and the one before it, which counts less and less until it is thrown away. A value
    counts for at least one `window_s`, and for less than two.
    """

    __slots__ = ("_began", "_counts", "_known", "_old", "_old_total", "_total", "_turns_at", "_window_s")

    def __init__(self, window_s: float) -> None:
        """Empty."""
        self._window_s = window_s
        self._counts = [0] * (len(_ENDS) + 1)
        self._old: list[int] | None = None
        self._total = self._old_total = 0
        self._began: float | None = None
        self._turns_at = -math.inf
        self._known: tuple[float, int, float, float | None] | None = None

    def observe(self, seconds: float, now: float) -> None:
        """Count one value."""
        if now >= self._turns_at:
            self._turn(now)
        self._counts[bisect_left(_ENDS, seconds)] += 1
        self._total += 1

    def _turn(self, now: float) -> None:
        late = self._began is None or now - self._began >= 2 * self._window_s
        self._old, self._old_total = (None, 0) if late else (self._counts, self._total)
        self._counts, self._total = [0] * (len(_ENDS) + 1), 0
        self._began = now if late or self._began is None else self._began + self._window_s
        self._turns_at = self._began + self._window_s

    def quantile(self, share: float, now: float) -> float | None:
        """The value that `share` of all lie below, at most a bucket too high; none: too few values lately."""
        if self._began is not None and now >= self._turns_at:
            self._turn(now)
        known = self._known
        # Worth asking anew once there are an eighth more values, or an eighth of a window is over.
        if (
            known is not None
            and known[3] is not None
            and known[0] == share
            and known[1] <= self._total <= known[1] + (known[1] >> 3)
            and 0 <= now - known[2] < self._window_s / 8
        ):
            return known[3]
        found = self._quantile(share, now)
        self._known = (share, self._total, now, found)
        return found

    def _quantile(self, share: float, now: float) -> float | None:
        if self._began is None or self._total + self._old_total < SAMPLES_MIN:
            return None
        fading = max(0.0, 1.0 - (now - self._began) / self._window_s)
        weight = self._total + self._old_total * fading
        wanted, below = weight * share, 0.0
        old = self._old
        for bucket, count in enumerate(self._counts):
            below += count if old is None else count + old[bucket] * fading
            if below >= wanted and below > 0:
                return _ENDS[min(bucket, len(_ENDS) - 1)]
        return _ENDS[-1]


_HALF_LIFE_S = 30.0
_TOO_OLD_S = 2 * _HALF_LIFE_S
_EWMA = 0.2


class Live:
    """The numbers of one deployment. A call costs well under two microseconds here."""

    __slots__ = ("_failures", "_seen_at", "first", "in_flight", "latency_s", "total")

    def __init__(self, window_s: float = 60.0) -> None:
        """Nothing is known yet."""
        self.first = Fading(window_s)
        """Of streams: until the first piece came."""
        self.total = Fading(window_s)
        """Until the whole answer was there."""
        self.in_flight = 0
        self.latency_s: float | None = None
        """How long answers (of streams: first pieces) take, lately."""
        self._failures = 0.0
        self._seen_at = 0.0

    def answered(self, *, first_s: float, total_s: float, stream: bool, now: float) -> None:
        """A whole answer came."""
        if stream:
            self.first.observe(first_s, now)
        self.total.observe(total_s, now)
        latency = self.latency_s
        if latency is None or now - self._seen_at > _TOO_OLD_S:
            self.latency_s = first_s
        else:
            self.latency_s = latency + _EWMA * (first_s - latency)
        if self._failures:
            self._failures -= _EWMA * self._failures
        self._seen_at = now

    def failed(self, now: float) -> None:
        """None came."""
        self._failures += _EWMA * (1 - self._failures)
        self._seen_at = now

    def error_rate(self, now: float) -> float:
        """Share of calls that fail, lately; what is long ago is forgiven."""
        return float(self._failures * 0.5 ** (max(0.0, now - self._seen_at) / _HALF_LIFE_S))

    def recent_latency_s(self, now: float) -> float | None:
        """As `latency_s`, unless that is too old to go by."""
        return self.latency_s if now - self._seen_at <= 4 * _HALF_LIFE_S else None

    def p95(self, *, stream: bool, now: float) -> float | None:
        """Until the first piece of a stream, or a whole answer; none: not enough calls lately."""
        return (self.first if stream else self.total).quantile(0.95, now)

    def status(self, now: float) -> dict[str, Any]:
        """For people."""
        return {
            "in_flight": self.in_flight,
            "latency_s": self.latency_s,
            "first_p95_s": self.p95(stream=True, now=now),
            "total_p95_s": self.p95(stream=False, now=now),
            "error_rate": round(self.error_rate(now), 4),
        }
