"""What one evaluation may use: steps, time and memory. Whoever goes over gets the right error, and the process lives.

Values are weighed as they are made, as if every part stood only there: `[$x,$x]` weighs twice what `$x` does, though it is stored
once, because whatever goes through it later takes that long. What was there before weighs nothing until it is built into more.
"""

from __future__ import annotations

import time
from typing import Any

STEPS_MAX = 200_000
"""Parts of expressions that are evaluated."""
SECONDS_MAX = 0.4
"""Of this thread's processor."""
DEPTH_MAX = 500
"""Expressions in expressions, with functions that call themselves."""
TEXT_MAX = 1_048_576
"""Characters of one text."""
WEIGHT_MAX = 20_000_000
"""Of one value: about its bytes, were nothing shared."""
MADE_MAX = 36_000_000
"""Of everything that is made in one evaluation."""
ITEMS_MAX = 100_000
"""Of one array."""

_TEXT, _NUMBER, _LIST, _DICT, _ENTRY, _OTHER = 56, 32, 160, 232, 48, 700


class OverBounds(Exception):
    """An evaluation uses too much."""

    def __init__(self, code: str, message: str) -> None:
        """`code`: as JSONata names errors."""
        self.code = code
        super().__init__(message)


def too_long() -> OverBounds:
    """It takes too long."""
    return OverBounds(
        "D1012", f"Evaluation timeout after {int(SECONDS_MAX * 1000)} milliseconds. Check for infinite loop"
    )


def too_deep() -> OverBounds:
    """It calls itself too often."""
    return OverBounds(
        "D1011",
        "Stack overflow. Check for non-terminating recursive function.  Consider rewriting as tail-recursive",
    )


def too_big(what: str) -> OverBounds:
    """It makes too much."""
    return OverBounds("D1013", f"Evaluation needs too much memory: {what}")


class Bounds:
    """What one evaluation has used so far."""

    def __init__(self) -> None:
        self._steps = STEPS_MAX
        self._until = time.thread_time() + SECONDS_MAX
        self._made = 0
        self._weights: dict[int, int] = {}
        self._kept: list[Any] = []
        self.depth = 0

    def step(self) -> None:
        """One part is evaluated."""
        self._steps -= 1
        if not self._steps & 31:
            if self._steps <= 0:
                raise too_long()
            self.look_at_clock()

    def look_at_clock(self) -> None:
        """Raises when the time is over."""
        if time.thread_time() > self._until:
            raise too_long()

    def made(self, value: Any) -> None:
        """A value was made."""
        kind = type(value)
        if kind is str:
            self.text(len(value))
        elif isinstance(value, _CONTAINERS):
            if len(value) > ITEMS_MAX:
                raise too_big(f"an array has at most {ITEMS_MAX} items")
            if id(value) not in self._weights:
                self.weigh(value)
        elif kind not in _SMALL:
            self._charge(_OTHER)

    def text(self, size: int) -> None:
        """A text is made, or is about to be."""
        if size > TEXT_MAX:
            raise too_big(f"a text has at most {TEXT_MAX} characters")
        self._charge(_TEXT + size)

    def items(self, count: int, *, each: int = 8) -> None:
        """An array of so many items is about to be made."""
        if count > ITEMS_MAX:
            raise too_big(f"an array has at most {ITEMS_MAX} items")
        self._charge(_LIST + count * each)

    def _charge(self, weight: int) -> None:
        self._made += weight
        if self._made > MADE_MAX:
            raise too_big("it makes too many values")

    def weigh(self, value: Any) -> int:
        """The weight of a value, which is remembered."""
        known = self._weights.get(id(value))
        if known is not None:
            return known
        if isinstance(value, str):
            return _TEXT + len(value)
        if not isinstance(value, _CONTAINERS):
            return _NUMBER
        if isinstance(value, list):
            shallow = _LIST + 8 * len(value)
            members: Any = value
        else:
            shallow = _DICT + _ENTRY * len(value)
            members = value.values()
        self._charge(shallow)
        weight = shallow
        for member in members:
            weight += self.weigh(member) if isinstance(member, _WEIGHTY) else _NUMBER
        if weight > WEIGHT_MAX:
            raise too_big("a value is too large")
        self._weights[id(value)] = weight
        self._kept.append(value)
        return weight

    def forget(self, value: Any) -> None:
        """A value has been changed since it was weighed."""
        if isinstance(value, _CONTAINERS) and self._weights.pop(id(value), None) is not None:
            for member in value if isinstance(value, list) else value.values():
                self.forget(member)


_SMALL = frozenset({int, float, bool, type(None)})
_CONTAINERS = (list, dict)
_WEIGHTY = (str, list, dict)
