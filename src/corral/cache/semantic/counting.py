"""The numbers of answers by meaning: `corral_cache_semantic_*`, and its part of `corral_cache_*`."""

from __future__ import annotations

from typing import Literal

from corral.cache.counting import CacheCounting
from corral.observability.metrics import Metrics

Verdict = Literal["same", "different"]
Trouble = Literal["embed", "read", "write", "compare", "audit", "dropped"]


class SemanticCounting:
    """Counts what was found, compared and objected to."""

    def __init__(self, metrics: Metrics, common: CacheCounting) -> None:
        """`common` counts for all caches."""
        self._common = common
        self._labels = metrics.counter(
            "corral_cache_semantic_labels_total", "Kept answers that were compared with new ones.", "source", "verdict"
        )
        self._fallbacks = metrics.counter(
            "corral_cache_semantic_fallbacks_total",
            "Routes that stopped serving because the evidence no longer allowed it.",
        )
        self._troubles = metrics.counter(
            "corral_cache_semantic_troubles_total", "What was left undone; the call went on without it.", "what"
        )

    def hit(self, saved_usd: float) -> None:
        """An answer was served."""
        self._common.looked("semantic", "hit")
        self._common.saved("semantic", saved_usd)

    def miss(self) -> None:
        """None was."""
        self._common.looked("semantic", "miss")

    def bypass(self) -> None:
        """The call is not one that can be answered by meaning."""
        self._common.looked("semantic", "bypass")

    def label(self, *, audited: bool, same: bool) -> None:
        """An answer was compared."""
        self._labels.value("audit" if audited else "shadow", "same" if same else "different").inc()

    def fell_back(self) -> None:
        """A route stopped serving."""
        self._fallbacks.value().inc()

    def trouble(self, what: Trouble) -> None:
        """Something was left undone."""
        self._troubles.value(what).inc()
