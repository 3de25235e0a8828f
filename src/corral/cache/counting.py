"""The numbers of the caches: `corral_cache_*`."""

from __future__ import annotations

from typing import Literal

from corral.observability.metrics import Metrics, Value

CacheName = Literal["exact", "shared", "embeddings", "values", "semantic"]
Result = Literal["hit", "miss", "stale", "bypass", "negative"]
Trouble = Literal["read", "write", "key", "refresh", "dropped"]


class CacheCounting:
    """Counts what was found, what it saved, and what went wrong without anybody having to notice."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._requests = m.counter(
            "corral_cache_requests_total", "Looks into the caches, by what came of them.", "cache", "result"
        )
        self._saved = m.counter(
            "corral_cache_saved_usd_total", "What kept answers had cost when they were new.", "cache"
        )
        self._troubles = m.counter(
            "corral_cache_troubles_total", "What a cache could not do; the call went on without it.", "what"
        )
        self._known: dict[tuple[str, str], Value] = {}

    def looked(self, cache: CacheName, result: Result, count: int = 1) -> None:
        """Somebody looked."""
        try:
            value = self._known[cache, result]
        except KeyError:  # the first time
            value = self._known[cache, result] = self._requests.value(cache, result)
        value.value += count

    def saved(self, cache: CacheName, usd: float) -> None:
        """Somebody need not pay."""
        if usd > 0:
            self._saved.value(cache).value += usd

    def trouble(self, what: Trouble, count: int = 1) -> None:
        """Something was left undone."""
        self._troubles.value(what).value += count
