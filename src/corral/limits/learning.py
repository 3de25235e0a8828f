"""What providers' answers teach: what they say about their limits, and how long answers are."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from corral.limits.buckets import Heard

_STEP = 0.05
_MODELS_MAX = 1_000
_OUTPUT_AT_FIRST = 500.0


def hear(heard: Heard | None, seen: Any) -> Heard | None:
    """Add what one answer said (a `LimitsSeen`) to what was heard since the last exchange: the lowest counts."""
    if seen is None:
        return heard
    heard = heard or Heard()
    heard.tokens_left = _lower(heard.tokens_left, seen.tokens_left)
    heard.requests_left = _lower(heard.requests_left, seen.requests_left)
    heard.tokens_limit = seen.tokens_limit or heard.tokens_limit
    heard.requests_limit = seen.requests_limit or heard.requests_limit
    return heard


def hear_refusal(heard: Heard | None, retry_after_s: float | None) -> Heard:
    """A refusal: whoever asks to be left alone the longest is."""
    heard = heard or Heard()
    heard.refused = True
    if retry_after_s is not None:
        heard.retry_after_s = max(retry_after_s, heard.retry_after_s or 0.0)
    return heard


def _lower(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


class OutputSizes:
    """How many tokens each model writes lately: rather too high than too low, in bounded space."""

    def __init__(self, at_first: float = _OUTPUT_AT_FIRST) -> None:
        """`at_first`: for a model that has not answered yet."""
        self._at_first = at_first
        self._sizes: OrderedDict[str, float] = OrderedDict()

    def of(self, model: str) -> float:
        """What to set aside for an answer."""
        return self._sizes.get(model, self._at_first)

    def learn(self, model: str, tokens: int) -> None:
        """An answer was so long. What is longer moves the mark nine times as much as what is shorter, so most are shorter."""
        size = self._sizes.get(model)
        if size is None:
            size = float(tokens)
            if len(self._sizes) >= _MODELS_MAX:
                self._sizes.popitem(last=False)
        else:
            size += _STEP * ((tokens - size) if tokens > size else (tokens - size) / 9)
        self._sizes[model] = size
