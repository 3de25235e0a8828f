"""How records are found by what a question says."""

from __future__ import annotations

from typing import Protocol

from corral.memory.searching import Searcher
from corral.memory.store import Item, Selection
from corral.server.agentcore.record_words import view_of


class Search(Protocol):
    """Finds items."""

    async def __call__(
        self, tenant: str, selection: Selection, question: str, *, limit: int
    ) -> list[tuple[Item, float]]:
        """The items that fit best, best first, each with how well: between 0 and 1."""
        ...


class RecordSearch:
    """Finds records as the memory room does: by words, and by meaning where it has an embedder."""

    def __init__(self, searcher: Searcher) -> None:
        """The room's own."""
        self._searcher = searcher

    async def __call__(
        self, tenant: str, selection: Selection, question: str, *, limit: int
    ) -> list[tuple[Item, float]]:
        """The records that fit best. A record stands alone: what is beside it counts for nothing."""
        k = min(limit, self._searcher.settings.results_max)
        found = await self._searcher.find(view_of(tenant), question, k=k, selection=selection, neighbours=0.0)
        return [(one.item, max(0.0, score) / (1 + max(0.0, score))) for one, score in found]
