"""Metrics: counting on the hot path is adding to a number. What they are called is in `docs/observability.md`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from corral.observability.families import Family, Kind, Number, OfWorkers, to_text

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
LABEL_SETS_MAX = 200
OTHER = "_other"


class Value:
    """A number that goes up, or up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        """Start at zero."""
        self.value: Number = 0

    def inc(self, by: Number = 1) -> None:
        """Add."""
        self.value += by

    def set(self, value: Number) -> None:
        """Set: gauges, and counters that are counted elsewhere."""
        self.value = value


class Distribution:
    """How often values fell into each bucket."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper ends, in order."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metric:
    """A named family of numbers, one for each set of label values.

    A label that takes more values than a dashboard can bear is cut off: what comes later counts under `_other`.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        help_text: str,
        labels: Sequence[str],
        *,
        bounds: Sequence[float] = (),
        of_workers: OfWorkers = "sum",
    ) -> None:
        """Use `Metrics.counter`, `gauge` and `histogram`."""
        self.name = name
        self.kind = kind
        self.help = help_text
        self.label_names = tuple(labels)
        self.bounds = tuple(bounds)
        self.of_workers = of_workers
        self._values: dict[tuple[str, ...], Value] = {}
        self._distributions: dict[tuple[str, ...], Distribution] = {}

    def value(self, *labels: str) -> Value:
        """The number for these label values (counters and gauges)."""
        found = self._values.get(labels)
        if found is None:
            key = self._key(labels, len(self._values))
            found = self._values.setdefault(key, Value())
        return found

    def distribution(self, *labels: str) -> Distribution:
        """The buckets for these label values (histograms)."""
        found = self._distributions.get(labels)
        if found is None:
            key = self._key(labels, len(self._distributions))
            found = self._distributions.setdefault(key, Distribution(self.bounds))
        return found

    def _key(self, labels: tuple[str, ...], known: int) -> tuple[str, ...]:
        if len(labels) != len(self.label_names):
            raise TypeError(f"{self.name} has the labels {self.label_names}, not {len(labels)} of them.")
        return (OTHER,) * len(labels) if labels and known >= LABEL_SETS_MAX else labels

    def family(self) -> Family:
        """The numbers as they are now."""
        if self.kind == "histogram":
            rows = [(labels, [*d.counts, d.total]) for labels, d in list(self._distributions.items())]
        else:
            rows = [(labels, [v.value]) for labels, v in list(self._values.items())]
        return Family(self.name, self.kind, self.help, self.label_names, self.of_workers, self.bounds, rows)


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        """Start with none."""
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str, help_text: str, *labels: str) -> Metric:
        """A number that only goes up; its name ends in `_total`."""
        return self._add(Metric(name, "counter", help_text, labels))

    def gauge(self, name: str, help_text: str, *labels: str, of_workers: OfWorkers = "sum") -> Metric:
        """A number that goes up and down. `of_workers` says what a server's number is, made of its workers' numbers."""
        return self._add(Metric(name, "gauge", help_text, labels, of_workers=of_workers))

    def histogram(self, name: str, help_text: str, *labels: str, bounds: Sequence[float] = SECONDS) -> Metric:
        """How values are distributed."""
        return self._add(Metric(name, "histogram", help_text, labels, bounds=bounds))

    def _add(self, metric: Metric) -> Metric:
        """Declared twice, a metric is the one that was there."""
        found = self._metrics.setdefault(metric.name, metric)
        if not metric.label_names:  # there from the start: a dashboard tells zero from missing
            if metric.kind == "histogram":
                found.distribution()
            else:
                found.value()
        return found

    def families(self) -> list[Family]:
        """All numbers as they are now."""
        return [metric.family() for metric in list(self._metrics.values())]

    def render(self) -> bytes:
        """This process's numbers in Prometheus' text format."""
        return to_text(self.families())
