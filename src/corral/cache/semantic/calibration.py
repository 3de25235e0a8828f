"""How alike two questions must be, so that at most so many of the answers served are wrong: exact binomial bounds.

The bound is Clopper and Pearson's: with a probability of 95 % the true share of wrong answers lies below it. It is checked
from the highest likeness downwards; labels of lower steps count only as long as the bound holds with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from corral.cache.semantic_store import STEPS, Bin

CONFIDENCE = 0.95
_TINY = 1e-300
_ROUNDS = 300
_PRECISE = 1e-14
_HALVINGS = 60


class Threshold(msgspec.Struct, frozen=True):
    """From which likeness on answers may be served, and what says so."""

    score: float
    labels: int
    wrong: int
    upper: float
    """No more than this share is wrong, as far as 95 of 100 such claims are true."""


def loosest(bins: Iterable[Bin], error_rate: float) -> Threshold | None:
    """The lowest likeness from which on the bound holds; none: the evidence does not allow any."""
    labels = wrong = 0
    found: tuple[int, int, int] | None = None
    for one in sorted(bins, key=lambda one: -one.step):
        labels += one.labels
        wrong += one.wrong
        if beta_share(error_rate, wrong + 1, labels - wrong) >= CONFIDENCE:
            found = (one.step, labels, wrong)
    if found is None:
        return None
    step, labels, wrong = found
    return Threshold(step / STEPS, labels, wrong, upper_bound(wrong, labels))


def upper_bound(wrong: int, labels: int, confidence: float = CONFIDENCE) -> float:
    """The share of wrong ones lies below this, with that confidence."""
    return 1.0 if wrong >= labels else beta_quantile(confidence, wrong + 1, labels - wrong)


def lower_bound(wrong: int, labels: int, confidence: float = CONFIDENCE) -> float:
    """The share of wrong ones lies above this, with that confidence."""
    return 0.0 if wrong <= 0 else beta_quantile(1 - confidence, wrong, labels - wrong + 1)


def beta_quantile(share: float, a: float, b: float) -> float:
    """Below which value so large a share of a beta distribution lies."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if beta_share(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_share(value: float, a: float, b: float) -> float:
    """How large a share of a beta distribution lies below a value: the regularised incomplete beta function."""
    if b <= 0:
        return 0.0
    if value <= 0 or value >= 1:
        return float(value >= 1)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(value) + b * math.log1p(-value)
    )
    if value < (a + 1) / (a + b + 2):
        return front * _fraction(value, a, b) / a
    return 1 - front * _fraction(1 - value, b, a) / b


def _fraction(value: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 / _apart(1 - (a + b) * value / (a + 1))
    result = d
    for m in range(1, _ROUNDS):
        even = m * (b - m) * value / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * value / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for factor in (even, odd):
            d = 1 / _apart(1 + factor * d)
            c = _apart(1 + factor / c)
            change = d * c
            result *= change
        if abs(change - 1) < _PRECISE:
            break
    return result


def _apart(value: float) -> float:
    """Not zero."""
    return value if abs(value) > _TINY else _TINY
