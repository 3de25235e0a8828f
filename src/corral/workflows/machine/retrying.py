"""Retry and Catch: which rule a failure meets, and how long until the next try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from corral.workflows.failing import ALL, RUNTIME, TASK_FAILED, TIMEOUT, StateFailed
from corral.workflows.language.definition import Catcher, Retrier

Rule = TypeVar("Rule", Retrier, Catcher)


def rule_for(rules: Sequence[Rule], failure: StateFailed) -> int | None:
    """The first rule that names the failure; none: no rule does."""
    if not is_catchable(failure):
        return None
    for index, rule in enumerate(rules):
        if any(_names(name, failure) for name in rule.error_equals):
            return index
    return None


def is_catchable(failure: StateFailed) -> bool:
    """Whether any rule may look at it: an execution that cannot go on ends at once, unless it has a name of its own for why."""
    return failure.catchable and (failure.error != RUNTIME or bool(failure.also))


def _names(name: str, failure: StateFailed) -> bool:
    if name in failure.also or failure.error == RUNTIME:
        return name in failure.also
    return name in (ALL, failure.error) or (name == TASK_FAILED and failure.error != TIMEOUT)


def delay_before(retrier: Retrier, attempt: int, chance: Callable[[], float]) -> float:
    """Seconds before a retrier's next try; `attempt` counts from 1."""
    try:
        delay = retrier.interval_seconds * retrier.backoff_rate ** (attempt - 1)
    except OverflowError:
        delay = float("inf")
    delay = min(delay, retrier.max_delay_seconds or LONGEST_S)
    return delay * chance() if retrier.jitter_strategy == "FULL" else delay


LONGEST_S = 31_622_400.0
"""Nothing is tried again later than after a year."""
