"""Metrics in Prometheus' text format, summed over all workers of a server.

Counting on the hot path is adding to a number. Each worker leaves a snapshot of its numbers in the server's run folder, about
once a second; whichever worker is asked adds the others' snapshots to its own numbers. A worker that ended leaves its counters behind.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
LABEL_SETS_MAX = 200
OTHER = "_other"


class Value:
    """A number that goes up, or up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        """Start at zero."""
        self.value = 0.0

    def inc(self, by: float = 1.0) -> None:
        """Add."""
        self.value += by

    def set(self, value: float) -> None:
        """Set (gauges only)."""
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
        highest: bool = False,
    ) -> None:
        """Use `Metrics.counter`, `gauge` and `histogram`. `highest`: of several workers' values the highest counts."""
        self.highest = highest
        self.name = name
        self.kind = kind
        self.help = help_text
        self.label_names = tuple(labels)
        self.bounds = tuple(bounds)
        self.children: dict[tuple[str, ...], Value | Distribution] = {}

    def _child(self, labels: tuple[str, ...]) -> Value | Distribution:
        child = self.children.get(labels)
        if child is None:
            if len(self.children) >= LABEL_SETS_MAX:
                labels = (OTHER,) * len(self.label_names)
                if labels in self.children:
                    return self.children[labels]
            child = self.children[labels] = Distribution(self.bounds) if self.kind == "histogram" else Value()
        return child

    def value(self, *labels: str) -> Value:
        """The number for these label values (counters and gauges)."""
        child = self._child(labels)
        assert isinstance(child, Value)  # noqa: S101 - a programming error of ours
        return child

    def distribution(self, *labels: str) -> Distribution:
        """The buckets for these label values (histograms)."""
        child = self._child(labels)
        assert isinstance(child, Distribution)  # noqa: S101 - as above
        return child


class Snapshot(msgspec.Struct, array_like=True):
    """The numbers of one worker at one moment: by metric, by label values."""

    values: dict[str, list[tuple[list[str], float]]]
    distributions: dict[str, list[tuple[list[str], list[int], float]]]


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        """Start with none."""
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str, help_text: str, *labels: str) -> Metric:
        """A number that only goes up; its name ends in `_total`."""
        return self._add(Metric(name, "counter", help_text, labels))

    def gauge(self, name: str, help_text: str, *labels: str, highest: bool = False) -> Metric:
        """A number that goes up and down; workers' values are added, or the highest is taken."""
        return self._add(Metric(name, "gauge", help_text, labels, highest=highest))

    def histogram(self, name: str, help_text: str, *labels: str, bounds: Sequence[float] = SECONDS) -> Metric:
        """How values are distributed."""
        return self._add(Metric(name, "histogram", help_text, labels, bounds=bounds))

    def _add(self, metric: Metric) -> Metric:
        return self._metrics.setdefault(metric.name, metric)

    def snapshot(self, *, counters_only: bool = False) -> bytes:
        """All numbers, for other workers to add to theirs."""
        values: dict[str, list[tuple[list[str], float]]] = {}
        distributions: dict[str, list[tuple[list[str], list[int], float]]] = {}
        for metric in self._metrics.values():
            if counters_only and metric.kind == "gauge":
                continue
            for labels, child in list(metric.children.items()):
                if isinstance(child, Value):
                    values.setdefault(metric.name, []).append((list(labels), child.value))
                else:
                    distributions.setdefault(metric.name, []).append((list(labels), child.counts, child.total))
        return msgspec.msgpack.encode(Snapshot(values, distributions))

    def add(self, snapshot: bytes, *, counters_only: bool = False) -> None:
        """Add another worker's numbers to these. What is not known here is left out."""
        other = msgspec.msgpack.decode(snapshot, type=Snapshot)
        for name, children in other.values.items():
            metric = self._metrics.get(name)
            if metric is not None and metric.kind != "histogram" and not (counters_only and metric.kind == "gauge"):
                for labels, value in children:
                    mine = metric.value(*labels)
                    mine.value = max(mine.value, value) if metric.highest else mine.value + value
        for name, rows in other.distributions.items():
            metric = self._metrics.get(name)
            if metric is not None and metric.kind == "histogram":
                for labels, counts, total in rows:
                    child = metric.distribution(*labels)
                    if len(counts) == len(child.counts):
                        child.counts = [mine + theirs for mine, theirs in zip(child.counts, counts, strict=True)]
                        child.total += total

    def empty_copy(self) -> Metrics:
        """The same metrics with no numbers, to add snapshots to."""
        copy = Metrics()
        for metric in self._metrics.values():
            copy._add(
                Metric(
                    metric.name,
                    metric.kind,
                    metric.help,
                    metric.label_names,
                    bounds=metric.bounds,
                    highest=metric.highest,
                )
            )
        return copy

    def render(self) -> bytes:
        """Prometheus' text format."""
        lines: list[str] = []
        for metric in self._metrics.values():
            lines.append(f"# HELP {metric.name} {metric.help}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            for labels, child in sorted(metric.children.items()):
                pairs = dict(zip(metric.label_names, labels, strict=True))
                if isinstance(child, Value):
                    lines.append(f"{metric.name}{_braces(pairs)} {_number(child.value)}")
                else:
                    lines.extend(_buckets(metric.name, pairs, child))
        return ("\n".join(lines) + "\n").encode()


def _buckets(name: str, pairs: Mapping[str, str], child: Distribution) -> Iterable[str]:
    count = 0
    for bound, number in zip((*child.bounds, float("inf")), child.counts, strict=True):
        count += number
        yield f"{name}_bucket{_braces({**pairs, 'le': _number(bound)})} {count}"
    yield f"{name}_sum{_braces(pairs)} {_number(child.total)}"
    yield f"{name}_count{_braces(pairs)} {count}"


def _braces(pairs: Mapping[str, str]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
