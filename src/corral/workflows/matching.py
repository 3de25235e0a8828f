"""Whether an event is one that a rule waits for: the patterns of EventBridge, evaluated here.

A pattern is an object of the event's fields. Each leads to a list of which one has to hold, or to the pattern of the object that
stands there. Where the event has a list, one of its elements is enough; what a pattern wants of an object in a list, it wants of
one and the same element. `check_pattern` has looked at a pattern before: `matches` is never given a faulty one.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from corral.jobs.request import fault

PATTERN_MAX_BYTES = 4096
DEPTH_MAX = 24
_ALTERNATIVES_MAX = 1000
"""Of all `$or` of a pattern, multiplied."""

Scalar: TypeAlias = str | int | float | bool | None
_OR = "$or"


def matches(pattern: Mapping[str, Any], event: Any) -> bool:
    """Whether the event is one of those that the pattern names."""
    if isinstance(event, list):
        return any(matches(pattern, one) for one in event)
    if not isinstance(event, dict):
        event = {}
    return all(_field_matches(name, wanted, event) for name, wanted in pattern.items())


def _field_matches(name: str, wanted: Any, event: Mapping[str, Any]) -> bool:
    if _are_alternatives(name, wanted):
        return any(matches(one, event) for one in wanted)
    if isinstance(wanted, dict):
        return matches(wanted, event.get(name))
    found = list(_leaves(event[name])) if name in event else []
    return any(_rule_matches(rule, found) for rule in wanted)


def _are_alternatives(name: str, wanted: Any) -> bool:
    """Whether this is an `$or` of patterns; otherwise it is a field that happens to have that name."""
    if name != _OR or not isinstance(wanted, list) or not wanted:
        return False
    return all(isinstance(one, dict) and not _is_rule(one) for one in wanted)


def _is_rule(one: dict[str, Any]) -> bool:
    return len(one) == 1 and next(iter(one)) in {"exists", *_OPERATORS}


def _leaves(value: Any) -> Iterator[Scalar]:
    if isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif not isinstance(value, dict):
        yield value


def _rule_matches(rule: Any, found: list[Scalar]) -> bool:
    if not isinstance(rule, dict):
        return any(_same(rule, value) for value in found)
    ((operator, operand),) = rule.items()
    if operator == "exists":
        return bool(found) is operand
    holds = _OPERATORS[operator]
    return any(holds(operand, value) for value in found)


def _same(wanted: Scalar, value: Scalar) -> bool:
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    return wanted == value


# -- the operators: what stands in the pattern, then what stands in the event


def _prefix(operand: Any, value: Scalar) -> bool:
    if not isinstance(value, str):
        return False
    if isinstance(operand, dict):
        return _folded(value).startswith(_folded(operand["equals-ignore-case"]))
    return value.startswith(tuple(_several(operand)))


def _suffix(operand: Any, value: Scalar) -> bool:
    if not isinstance(value, str):
        return False
    if isinstance(operand, dict):
        return _folded(value).endswith(_folded(operand["equals-ignore-case"]))
    return value.endswith(tuple(_several(operand)))


def _equals_ignoring_case(operand: Any, value: Scalar) -> bool:
    return isinstance(value, str) and _folded(value) in map(_folded, _several(operand))


def _folded(text: str) -> str:
    return text.casefold()


def _wildcard(operand: Any, value: Scalar) -> bool:
    return isinstance(value, str) and any(_glob_matches(_pieces(glob), value) for glob in _several(operand))


def _glob_matches(pieces: list[str], text: str) -> bool:
    """Each piece is found as early as it can be: no attempt is made twice, however many stars there are."""
    first, *between = pieces
    if not between:
        return first == text
    last = between.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in between:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def _pieces(glob: str) -> list[str]:
    """What stands between the stars. A backslash makes what follows it an ordinary character."""
    pieces = [""]
    chars = iter(glob)
    for char in chars:
        if char == "*":
            pieces.append("")
        else:
            pieces[-1] += next(chars, "\\") if char == "\\" else char
    return pieces


def _anything_but(operand: Any, value: Scalar) -> bool:
    if isinstance(operand, dict):
        ((operator, inner),) = operand.items()
        return not _OPERATORS[operator](inner, value)
    return not any(_same(one, value) for one in _several(operand))


def _numeric(operand: list[Any], value: Scalar) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return all(_COMPARISONS[sign](value, limit) for sign, limit in zip(operand[::2], operand[1::2], strict=True))


def _cidr(operand: str, value: Scalar) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(operand, strict=False)
    except ValueError:  # it is no address: then it is in no network
        return False


def _several(operand: Any) -> list[Any]:
    return operand if isinstance(operand, list) else [operand]


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    "=": lambda value, limit: value == limit,
    ">=": lambda value, limit: value >= limit,
    ">": lambda value, limit: value > limit,
}
_OPERATORS: dict[str, Callable[[Any, Scalar], bool]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignoring_case,
    "wildcard": _wildcard,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "cidr": _cidr,
}
_IN_ANYTHING_BUT = ("prefix", "suffix", "equals-ignore-case", "wildcard")


# -- checking


def check_pattern(pattern: Any, pointer: str = "/pattern") -> dict[str, Any]:
    """Return a pattern that can be matched, or raise `ValidationFailed` that says where it is wrong, and how it is right."""
    if not isinstance(pattern, dict):
        raise fault(
            pointer,
            'A pattern is an object such as {"source": ["shop"], "detail": {"total": [{"numeric": [">", 100]}]}}.',
        )
    try:
        size = len(msgspec.json.encode(pattern))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise fault(pointer, f"The pattern cannot be kept as JSON: {error}.") from None
    if size > PATTERN_MAX_BYTES:
        raise fault(
            pointer, f"The pattern has {size} bytes, and {PATTERN_MAX_BYTES} are the most: make several rules of it."
        )
    if _check_object(pattern, pointer, 1) > _ALTERNATIVES_MAX:
        raise fault(
            pointer, f"All `$or` together make more than {_ALTERNATIVES_MAX} combinations: make several rules of it."
        )
    return pattern


def _check_object(pattern: dict[str, Any], pointer: str, depth: int) -> int:
    """How many combinations of alternatives it makes."""
    if depth > DEPTH_MAX:
        raise fault(pointer, f"A pattern has at most {DEPTH_MAX} levels.")
    combinations = 1
    for name, wanted in pattern.items():
        at = f"{pointer}/{_escaped(name)}"
        if _are_alternatives(name, wanted):
            combinations *= sum(_check_object(one, f"{at}/{index}", depth + 1) for index, one in enumerate(wanted))
        elif isinstance(wanted, dict):
            combinations *= _check_object(wanted, at, depth + 1)
        elif not isinstance(wanted, list) or not wanted:
            raise fault(at, f'{name!r} leads to a list of what may stand there, such as ["created"], or to an object.')
        else:
            for index, rule in enumerate(wanted):
                _check_rule(rule, f"{at}/{index}")
    return combinations


def _check_rule(rule: Any, at: str) -> None:
    if isinstance(rule, list):
        raise fault(at, "A list in a list matches nothing: name the values one by one.")
    if not isinstance(rule, dict):
        return
    if len(rule) != 1:
        raise fault(
            at, 'A rule is an object with one operator, such as {"prefix": "eu-"}; several rules stand side by side.'
        )
    ((operator, operand),) = rule.items()
    if operator == "exists":
        if not isinstance(operand, bool):
            raise fault(f"{at}/exists", "`exists` is true or false.")
        return
    check = _CHECKS.get(operator)
    if check is None:
        raise fault(at, f"There is no operator {operator!r}: there are {', '.join(sorted((*_CHECKS, 'exists')))}.")
    check(operand, f"{at}/{operator}")


def _check_affix(operand: Any, at: str) -> None:
    if isinstance(operand, dict):
        if list(operand) != ["equals-ignore-case"] or not isinstance(operand["equals-ignore-case"], str):
            raise fault(at, 'This is a text, or {"equals-ignore-case": "…"}.')
    elif not isinstance(operand, str):
        raise fault(at, "This is a text.")


def _check_text(operand: Any, at: str) -> None:
    if not isinstance(operand, str):
        raise fault(at, "This is a text.")


def _check_wildcard(operand: Any, at: str) -> None:
    _check_text(operand, at)
    plain = operand.replace("\\\\", "").replace("\\*", "")
    if "**" in plain:
        raise fault(at, "One star stands for any number of characters: two next to each other say nothing more.")
    if "\\" in plain:
        raise fault(
            at, r"A backslash stands before a star or a backslash: `\*` and `\\` are those characters themselves."
        )


def _check_anything_but(operand: Any, at: str) -> None:
    if isinstance(operand, dict):
        if len(operand) != 1 or next(iter(operand)) not in _IN_ANYTHING_BUT:
            raise fault(at, f"In `anything-but` there is one of {', '.join(_IN_ANYTHING_BUT)}.")
        ((operator, inner),) = operand.items()
        if not _several(inner):
            raise fault(f"{at}/{operator}", "The list is empty: name what it must not be.")
        for one in _several(inner):
            (_check_wildcard if operator == "wildcard" else _check_text)(one, f"{at}/{operator}")
        return
    several = _several(operand)
    if not several or not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in several):
        raise fault(at, "`anything-but` is a text or a number, or a list of them.")


def _check_numeric(operand: Any, at: str) -> None:
    right = isinstance(operand, list) and len(operand) in {2, 4}
    if right:
        signs, limits = operand[::2], operand[1::2]
        right = all(isinstance(sign, str) and sign in _COMPARISONS for sign in signs) and all(map(_is_number, limits))
        right = right and (len(signs) == 1 or (signs[0] in {">", ">="} and signs[1] in {"<", "<="}))
    if not right:
        raise fault(at, '`numeric` is a comparison such as [">=", 10], or a range such as [">", 0, "<=", 5].')
    if len(operand) > 2 and operand[1] >= operand[3]:  # noqa: PLR2004 - two comparisons
        raise fault(at, f"No number lies in this range: {operand[1]} is not below {operand[3]}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_cidr(operand: Any, at: str) -> None:
    try:
        ipaddress.ip_network(str(operand), strict=False)
    except ValueError:
        raise fault(
            at, f"{str(operand)[:60]!r} is no network: they are such as 10.0.0.0/8 and 2001:db8::/32."
        ) from None


_CHECKS: dict[str, Callable[[Any, str], None]] = {
    "prefix": _check_affix,
    "suffix": _check_affix,
    "equals-ignore-case": _check_text,
    "wildcard": _check_wildcard,
    "anything-but": _check_anything_but,
    "numeric": _check_numeric,
    "cidr": _check_cidr,
}


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
