"""The numbers of one worker at one moment, as data: added up over workers, and written in Prometheus' text format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
OfWorkers = Literal["sum", "highest", "lowest", "mine"]
"""What a server's number is, made of its workers' numbers; `mine`: as the one who answers sees it."""

Number = int | float
Row = tuple[tuple[str, ...], list[Number]]
"""Label values; then one number, or of a histogram how many fell into each bucket and what they add up to."""


class Family(msgspec.Struct, array_like=True):
    """One metric with all its label values. It describes itself: who adds families up need not know them."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    of_workers: OfWorkers
    bounds: tuple[float, ...]
    rows: list[Row]

    def like(self, other: Family) -> bool:
        """Whether the two can be added."""
        return (self.kind, self.labels, self.bounds) == (other.kind, other.labels, other.bounds)


_decoder = msgspec.msgpack.Decoder(list[Family])
encode = msgspec.msgpack.Encoder().encode
decode = _decoder.decode


def counters(families: Iterable[Family]) -> list[Family]:
    """Those that stay when a worker ends."""
    return [family for family in families if family.kind != "gauge"]


def added_up(workers: Iterable[Sequence[Family]]) -> list[Family]:
    """The families of all workers as those of one. Of two that do not fit each other the first counts."""
    known: dict[str, Family] = {}
    rows: dict[str, dict[tuple[str, ...], list[Number]]] = {}
    for families in workers:
        for family in families:
            first = known.setdefault(family.name, family)
            if not first.like(family):
                continue
            total = rows.setdefault(family.name, {})
            for labels, numbers in family.rows:
                before = total.get(labels)
                total[labels] = numbers if before is None else _both(first.of_workers, before, numbers)
    return [msgspec.structs.replace(family, rows=list(rows[name].items())) for name, family in known.items()]


def _both(of_workers: OfWorkers, one: list[Number], other: list[Number]) -> list[Number]:
    pairs = zip(one, other, strict=True)
    if of_workers == "sum":
        return [a + b for a, b in pairs]
    if of_workers == "mine":
        return one
    choose = max if of_workers == "highest" else min
    return [choose(a, b) for a, b in pairs]


def to_text(families: Iterable[Family]) -> bytes:
    """Prometheus' text format."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, numbers in sorted(family.rows):
            pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(family.labels, labels, strict=True)]
            if family.kind == "histogram":
                lines.extend(_buckets(family, pairs, numbers))
            else:
                lines.append(f"{family.name}{_braces(pairs)} {_number(numbers[0])}")
    return ("\n".join(lines) + "\n").encode()


def _buckets(family: Family, pairs: list[str], numbers: list[Number]) -> Iterator[str]:
    count: Number = 0
    *counts, total = numbers
    for bound, number in zip((*family.bounds, math.inf), counts, strict=True):
        count += number
        le = f'le="{_number(bound)}"'
        yield f"{family.name}_bucket{_braces([*pairs, le])} {_number(count)}"
    yield f"{family.name}_sum{_braces(pairs)} {_number(total)}"
    yield f"{family.name}_count{_braces(pairs)} {_number(count)}"


def _braces(pairs: Sequence[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escaped(value: str) -> str:
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _number(value: Number) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
