"""The rules of a Choice that are written with paths: `{"Variable": "$.amount", "NumericGreaterThan": 100}`.

A comparison with a value of another type is false, and never an error. Only a `Variable` that is not there fails.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from corral.workflows.failing import RUNTIME, StateFailed
from corral.workflows.language import paths
from corral.workflows.language.path_reading import MISSING
from corral.workflows.language.scope import Scope

NESTED_MAX = 100
_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})T(?P<time>\d{2}:\d{2}:\d{2})(?:\.(?P<fraction>\d{1,18}))?(?P<zone>Z|[+-]\d{2}:\d{2})"
)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}


def matches(test: dict[str, Any], scope: Scope, *, depth: int = 0) -> bool:
    """Whether a rule holds. Raises `StateFailed` where a `Variable`, or the value a `…Path` names, is not there."""
    if depth > NESTED_MAX:
        raise StateFailed(RUNTIME, f"A rule is nested at most {NESTED_MAX} deep.", prefixed=True)
    if "And" in test:
        return all(matches(one, scope, depth=depth + 1) for one in test["And"])
    if "Or" in test:
        return any(matches(one, scope, depth=depth + 1) for one in test["Or"])
    if "Not" in test:
        return not matches(test["Not"], scope, depth=depth + 1)
    name = operator_of(test)
    expected = test[name]
    if name == "IsPresent":
        return _is_present(test["Variable"], scope) is expected
    value = _found(test["Variable"], scope)
    if name in _KINDS:
        return _KINDS[name](value) is expected
    if name.endswith("Path"):
        name, expected = name[: -len("Path")], _found(expected, scope)
    return COMPARISONS[name](value, expected)


def _found(path: str, scope: Scope) -> Any:
    try:
        return paths.look(path, scope)
    except paths.PathMissing:
        cause = f"Invalid path '{path}': The choice state's condition path references an invalid value."
        raise StateFailed(RUNTIME, cause, prefixed=True) from None


def operator_of(test: dict[str, Any]) -> str:
    """The operator that a rule names. Raises `StateFailed` where there is none."""
    for name in test:
        if name in OPERATORS:
            return name
    raise StateFailed(RUNTIME, "A rule of the Choice names no operator, such as StringEquals.", prefixed=True)


def _is_present(path: str, scope: Scope) -> bool:
    try:
        found = paths.look(path, scope)
    except paths.PathMissing:
        return False
    return found is not MISSING


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def moment_of(text: Any) -> tuple[datetime, str] | None:
    """The moment a full timestamp names, with date, capital T, seconds and zone; none: it is no such text.

    The second part is what of the second's fraction a `datetime` cannot hold: moments are in order with it.
    """
    found = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    fraction = (found["fraction"] or "").ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{found['day']}T{found['time']}.{fraction[:6]}{found['zone']}"), fraction[
            6:
        ].rstrip("0")
    except ValueError:
        return None


_KINDS: dict[str, Callable[[Any], bool]] = {
    "IsNull": lambda value: value is None,
    "IsNumeric": _is_number,
    "IsString": lambda value: isinstance(value, str),
    "IsBoolean": lambda value: isinstance(value, bool),
    "IsTimestamp": lambda value: moment_of(value) is not None,
}


def _numeric(order: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, expected: _is_number(value) and _is_number(expected) and order(value, expected)


def _textual(order: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, expected: isinstance(value, str) and isinstance(expected, str) and order(value, expected)


def _timely(order: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, expected: Any) -> bool:
        left, right = moment_of(value), moment_of(expected)
        return left is not None and right is not None and order(left, right)

    return compare


def _boolean(value: Any, expected: Any) -> bool:
    return isinstance(value, bool) and isinstance(expected, bool) and value is expected


@lru_cache(maxsize=1024)
def _pieces(wild: str) -> tuple[str, ...]:
    r"""What stands between the stars of a pattern: `\*` is a star, `\\` a backslash."""
    pieces, at = [""], 0
    while at < len(wild):
        if wild[at] == "\\" and wild[at + 1 : at + 2] in {"*", "\\"}:
            pieces[-1] += wild[at + 1]
            at += 2
            continue
        if wild[at] == "*":
            pieces.append("")
        else:
            pieces[-1] += wild[at]
        at += 1
    return tuple(pieces)


def _like(value: Any, wild: Any) -> bool:
    """Piece by piece from the left: no pattern takes long."""
    if not isinstance(value, str) or not isinstance(wild, str):
        return False
    first, *middle = _pieces(wild)
    if not middle:
        return value == first
    last = middle.pop()
    if not value.startswith(first) or len(value) < len(first) + len(last) or not value.endswith(last):
        return False
    at, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "StringMatches": _like,
    "BooleanEquals": _boolean,
    **{f"String{name}": _textual(order) for name, order in _ORDERS.items()},
    **{f"Numeric{name}": _numeric(order) for name, order in _ORDERS.items()},
    **{f"Timestamp{name}": _timely(order) for name, order in _ORDERS.items()},
}
"""Of two values. All but `StringMatches` have a form with `Path`, whose value stands in the data."""

OPERATORS = frozenset(
    {"IsPresent", *_KINDS, *COMPARISONS, *(f"{name}Path" for name in COMPARISONS if name != "StringMatches")}
)
"""Every operator that a rule may name."""
