"""How much to serve at once: more while answers come as in quiet times, less as soon as they take longer.

Latency is compared with that of the same place (an agent, a model) when at most half as much was let in, so that a slow agent
and a quick one say the same thing. Additive increase, proportional decrease: what TCP does, on the 95th percentile of a window,
where the mean agrees: the percentile alone jumps about where answers take now one second and now ten.
"""

from __future__ import annotations

import math

_WINDOW_S = 0.5
_WINDOW_MAX_S = 30.0
_SAMPLES_MIN, _SAMPLES_MAX = 20, 512
_LEARNT = 20
"""So many samples of a place before it counts."""
_STEP = 0.003
_MEAN_STEP = 0.02
_QUANTILE = 0.95
_QUICKEST_S = 0.02
"""Below this nobody notices, and the loop's own jitter would count as load."""
_LEAST_FACTOR = 0.6
_PROBE_S = 30.0
_PROBE_WINDOWS = 20
_PROBED = 20
_MUCH_LESS = 0.7
_PLACES_MAX = 500


class _Place:
    """What answers of one agent or model take in quiet times: 95th percentile and mean, followed without keeping samples."""

    __slots__ = ("count", "mean_s", "probed", "probed_s", "probed_sum_s", "quiet_s")

    def __init__(self) -> None:
        self.quiet_s = 0.0
        self.mean_s = 0.0
        self.count = 0
        self.probed_s = self.probed_sum_s = 0.0
        self.probed = 0

    def probe(self, latency_s: float) -> None:
        self.probed += 1
        self.probed_sum_s += latency_s
        self.probed_s = max(self.probed_s, latency_s)

    def believe(self) -> bool:
        """Take over what a probe found, where that is much less. True: quiet may be quieter still."""
        probed, probed_s, sum_s = self.probed, self.probed_s, self.probed_sum_s
        self.probed, self.probed_s, self.probed_sum_s = 0, 0.0, 0.0
        if probed < _PROBED or probed_s >= self.quiet_s:
            return False
        if probed_s >= _MUCH_LESS * self.quiet_s and sum_s / probed >= _MUCH_LESS * self.mean_s:
            return False  # what is a little less is learnt as it comes
        self.quiet_s, self.mean_s = probed_s, sum_s / probed
        return True

    def learn(self, latency_s: float) -> None:
        self.count += 1
        self.mean_s += (latency_s - self.mean_s) * max(1 / self.count, _MEAN_STEP)
        if self.count <= _LEARNT:
            self.quiet_s = max(self.quiet_s, latency_s)
        elif latency_s > self.quiet_s:  # one in twenty moves it up as far as the other nineteen move it down
            self.quiet_s *= 1 + _STEP * _QUANTILE / (1 - _QUANTILE)
        else:
            self.quiet_s *= 1 - _STEP


class AdaptiveLimit:
    """The limit of one worker. Pure arithmetic: it is told what happens and when."""

    def __init__(self, *, least: int, most: int, tolerance: float, first: int = 32) -> None:
        """Between `least` and `most`, beginning at `first`."""
        self._least = min(least, most)
        self._most = most
        self._tolerance = tolerance
        self._limit = float(min(max(first, self._least), most))
        self._places: dict[str, _Place] = {}
        self._is_quick = True
        """Twice as much each time, until it was too much once."""
        self._before_probe: float | None = None
        self._rested_at: float | None = None
        self._changed_at = -math.inf
        # The window that is open.
        self._began_at = -math.inf
        self._window_s = _WINDOW_S
        self._ratios: list[float] = []
        self._means = 0.0
        self._count = self._quiet = self._peak = 0
        self._is_pressed = False
        self._quiet_at = 0
        self._open(-math.inf)

    def __int__(self) -> int:
        return int(self._limit)

    def began(self, in_flight: int, now: float, *, waits: bool) -> None:
        """A call was let in as one of so many; `waits`: others are not."""
        if not self._is_pressed and (waits or in_flight >= int(self._limit)):
            self._open(now)  # what was before it got full says nothing about how it is full
            self._is_pressed = True
        self._peak = max(self._peak, in_flight)

    def ended(self, place: str, latency_s: float, in_flight: int, now: float) -> bool:
        """An answer of `place` took so long, one of at most so many at its begin and end. True: the limit changed."""
        if self._rested_at is None:
            self._rested_at = self._began_at = self._changed_at = now - latency_s
        found = self._place(place)
        if found is None or not self._learnt(found, latency_s, in_flight, now):
            return False
        if now - latency_s < self._began_at:
            return False
        self._count += 1
        if self._before_probe is not None:
            found.probe(latency_s)
        if found.count >= _LEARNT and len(self._ratios) < _SAMPLES_MAX:
            self._ratios.append(latency_s / max(found.quiet_s, _QUICKEST_S))
            self._means += latency_s / max(found.mean_s, _QUICKEST_S)
            self._window_s = max(self._window_s, min(2 * found.quiet_s, _WINDOW_MAX_S))
        if self._count < _SAMPLES_MIN or now - self._began_at < self._window_s:
            return False
        before = int(self._limit)
        self._decide(now)
        if int(self._limit) == before:
            return False
        self._changed_at = now
        return True

    def _place(self, name: str) -> _Place | None:
        found = self._places.get(name)
        if found is None and len(self._places) < _PLACES_MAX:
            found = self._places[name] = _Place()
        return found

    def _learnt(self, place: _Place, latency_s: float, in_flight: int, now: float) -> bool:
        """Whether it began under the limit that is now: else it says nothing about that one."""
        is_of_now = now - latency_s >= self._changed_at
        if (in_flight <= self._quiet_at and is_of_now) or in_flight <= self._least:
            place.learn(latency_s)
            self._quiet += 1
        elif place.count < _LEARNT:  # better than nothing, but not for long
            place.learn(latency_s)
            self._rested_at = -math.inf
        return is_of_now

    def _decide(self, now: float) -> None:
        if self._before_probe is not None:
            self._limit, self._before_probe = self._before_probe, None
            fell = [place for place in self._places.values() if place.believe()]
            self._rested_at = -math.inf if fell else now
        else:
            if self._quiet >= _SAMPLES_MIN // 2:
                self._rested_at = now
            self._adjust(now)
        self._open(now)

    def _adjust(self, now: float) -> None:
        limit = self._limit
        ratio = self._ratio()
        is_full = self._is_pressed
        if ratio > self._tolerance:
            if self._peak >= limit / 2:  # else it is not what we let in that makes it slow
                self._limit = max(float(self._least), limit * max(_LEAST_FACTOR, self._tolerance / ratio))
                self._is_quick = False
        elif is_full:
            more = limit if self._is_quick else max(1.0, math.sqrt(limit) / 4)
            self._limit = min(float(self._most), limit + more)
        if is_full and now - (self._rested_at or 0.0) > max(_PROBE_S, _PROBE_WINDOWS * self._window_s):
            # It was never quiet for long: look what quiet would be.
            self._before_probe = self._limit
            self._limit = max(float(self._least), self._limit / 2)
            self._rested_at = now

    def _ratio(self) -> float:
        """How much slower than in quiet times; 1 where too little is known."""
        count = len(self._ratios)
        if count < _SAMPLES_MIN // 2:
            return 1.0
        self._ratios.sort()
        ratio = self._ratios[int(count * _QUANTILE)]
        agrees = self._means / count >= self._tolerance
        return ratio if agrees else min(ratio, self._tolerance)

    def _open(self, now: float) -> None:
        self._began_at = now
        self._window_s = _WINDOW_S
        self._ratios = []
        self._means = 0.0
        self._count = self._quiet = self._peak = 0
        self._is_pressed = False
        self._quiet_at = max(self._least, int((self._before_probe or self._limit) / 2))
