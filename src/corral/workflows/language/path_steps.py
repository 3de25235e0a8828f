"""The steps of a JSONPath: what one part of a path does with the values it stands on.

Each is a small callable from the values found so far to those found next. What a value has not is skipped: only paths that
name exactly one value can miss it, and those are walked by `paths.py` itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from corral.workflows.failing import RUNTIME, StateFailed

FOUND_MAX = 100_000
"""Values that one path may find on its way: paths such as `$..*..*` multiply."""

Step: TypeAlias = Callable[[list[Any], Any], list[Any]]
"""From the values found so far, and the document, to those found next."""
Test: TypeAlias = Callable[[Any, Any], bool]
"""Of a value and the document: whether a filter takes the value."""


def bounded(found: Iterable[Any]) -> list[Any]:
    """What a step finds, as long as it is not too much."""
    taken: list[Any] = []
    for value in found:
        taken.append(value)
        if len(taken) > FOUND_MAX:
            raise StateFailed(RUNTIME, f"The path finds more than {FOUND_MAX} values: ask for fewer.", prefixed=True)
    return taken


def named(names: tuple[str, ...]) -> Step:
    """`.a`, `['a','b']` on the way to something else."""

    def step(values: list[Any], _document: Any) -> list[Any]:
        return bounded(value[name] for value in values if isinstance(value, dict) for name in names if name in value)

    return step


def merged(names: tuple[str, ...]) -> Step:
    """`['a','b']` at the end: one object that has only these."""

    def step(values: list[Any], _document: Any) -> list[Any]:
        return bounded(
            {name: value[name] for name in names if name in value} for value in values if isinstance(value, dict)
        )

    return step


def numbered(indexes: tuple[int, ...]) -> Step:
    """`[0]`, `[-1]`, `[0,2]`."""

    def step(values: list[Any], _document: Any) -> list[Any]:
        return bounded(
            value[index]
            for value in values
            if isinstance(value, list)
            for index in indexes
            if -len(value) <= index < len(value)
        )

    return step


def sliced(start: int | None, stop: int | None) -> Step:
    """`[1:]`, `[:2]`, `[-2:]`."""

    def step(values: list[Any], _document: Any) -> list[Any]:
        return bounded(item for value in values if isinstance(value, list) for item in value[start:stop])

    return step


def members(value: Any) -> Iterable[Any]:
    """What stands directly in a value."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def every(values: list[Any], _document: Any) -> list[Any]:
    """`*`."""
    return bounded(member for value in values for member in members(value))


def _below(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(reversed([member for member in members(one) if isinstance(member, dict | list)]))


def deep(values: list[Any], _document: Any) -> list[Any]:
    """`..`: every object and array from here on, from the outside to the inside."""
    return bounded(one for value in values for one in _below(value))


def filtered(test: Test) -> Step:
    """`[?(…)]`: the items of an array, or the object itself, for which it holds."""

    def step(values: list[Any], document: Any) -> list[Any]:
        return bounded(
            item
            for value in values
            for item in (value if isinstance(value, list) else [value])
            if isinstance(value, list | dict) and test(item, document)
        )

    return step


def _numbers(value: Any) -> list[float]:
    return (
        [one for one in value if isinstance(one, int | float) and not isinstance(one, bool)]
        if isinstance(value, list)
        else []
    )


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, list | dict | str) else None


def _text(value: Any, *more: Any) -> str:
    return "".join(one for one in (*(value if isinstance(value, list) else [value]), *more) if isinstance(one, str))


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, list) and -len(value) <= index < len(value) else None


def _statistic(name: str, numbers: list[Any]) -> float | None:
    if not numbers:
        return None
    import statistics  # noqa: PLC0415 - few paths ask for one, and it loads fractions and decimals

    found: float = getattr(statistics, name)(numbers)
    return found


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "length": _length,
    "size": _length,
    "min": lambda value: min(_numbers(value), default=None),
    "max": lambda value: max(_numbers(value), default=None),
    "sum": lambda value: math.fsum(_numbers(value)),
    "avg": lambda value: _statistic("fmean", _numbers(value)),
    "stddev": lambda value: _statistic("pstdev", _numbers(value)),
    "keys": lambda value: list(value) if isinstance(value, dict) else None,
    "first": lambda value: _at(value, 0),
    "last": lambda value: _at(value, -1),
    "index": _at,
    "concat": _text,
    "append": lambda value, *more: [*value, *more] if isinstance(value, list) else None,
}
"""What may stand at a path's end: `$.items.length()`."""
