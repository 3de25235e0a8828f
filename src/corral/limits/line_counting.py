"""The numbers of the line in front of a worker: `corral_limits_line_*`, `corral_limits_places*`, `corral_limits_shed_total`."""

from __future__ import annotations

from corral.observability.metrics import Distribution, Metrics

_WAIT_SECONDS = (0.002, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class LineCounting:
    """Counts who waited how long and who was shed, in one line. Classes are those of the settings: few."""

    def __init__(self, metrics: Metrics, line: str = "agents") -> None:
        """Declare them; `line` is `agents` or `models`."""
        m = metrics
        self._line = line
        self.limit = m.gauge("corral_limits_places", "How many calls are served at once.", "line").value(line)
        self.in_flight = m.gauge("corral_limits_places_taken", "How many are served now.", "line").value(line)
        self._waiting = m.gauge("corral_limits_line_waiting", "Calls that wait for a place.", "line", "class")
        self._wait = m.histogram(
            "corral_limits_line_wait_seconds",
            "How long calls waited for a place.",
            "line",
            "class",
            bounds=_WAIT_SECONDS,
        )
        self._sheds = m.counter("corral_limits_shed_total", "Calls refused under load.", "line", "class", "reason")
        self._at_once: dict[str, Distribution] = {}

    def passed(self, name: str) -> None:
        """Without waiting."""
        known = self._at_once.get(name)
        if known is None:
            known = self._at_once[name] = self._wait.distribution(self._line, name)
        known.observe(0.0)

    def waited(self, name: str, seconds: float) -> None:
        """After so long."""
        self._wait.distribution(self._line, name).observe(seconds)

    def shed(self, name: str, reason: str) -> None:
        """Not at all."""
        self._sheds.value(self._line, name, reason).inc()

    def waits(self, name: str, by: int) -> None:
        """One more waits, or one less."""
        self._waiting.value(self._line, name).inc(by)
