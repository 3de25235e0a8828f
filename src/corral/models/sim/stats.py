"""What the simulator was asked, counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from corral.messages import Usage

_MODELS_MAX = 1_000
"""Names of models that are counted apart; the others together."""


class Stats:
    """Counts since the beginning, or since `reset`."""

    def __init__(self, now: float) -> None:
        """`now` on the monotonic clock."""
        self.running = 0
        self.reset(now)

    def reset(self, now: float) -> None:
        """Begin anew. What runs goes on, and is not counted again."""
        self._since = now
        self._calls: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._usage: Counter[str] = Counter()
        self.running_max = self.running

    def begun(self, kind: str, model: str, fault: str) -> None:
        """A call was let in."""
        key = (kind, model)
        self._calls[key if key in self._calls or len(self._calls) < _MODELS_MAX else (kind, "other")] += 1
        if fault:
            self._faults[fault] += 1
        self.running += 1
        self.running_max = max(self.running_max, self.running)

    def used(self, usage: Usage) -> None:
        """A call was charged for."""
        counts = self._usage
        counts["input"] += usage.input
        counts["output"] += usage.output
        for name, amount in (
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        ):
            if amount:
                counts[name] += amount

    def ended(self) -> None:
        """A call is over, however it ended."""
        self.running -= 1

    def refused(self, kind: str) -> None:
        """A call was answered by an error."""
        self._refused[kind] += 1

    def shown(self, now: float) -> dict[str, Any]:
        """All of it, for people and tests."""
        models: dict[str, dict[str, int]] = {}
        kinds: Counter[str] = Counter()
        for (kind, model), count in sorted(self._calls.items()):
            models.setdefault(model, {})[kind] = count
            kinds[kind] += count
        return {
            "seconds": round(now - self._since, 3),
            "calls": sum(kinds.values()),
            "by_kind": dict(kinds),
            "by_model": models,
            "running": self.running,
            "running_max": self.running_max,
            "tokens": dict(self._usage),
            "refused": dict(self._refused),
            "rate_limited": self._refused["rate"],
            "faults": dict(self._faults),
        }
