"""How records are found by what a question says."""

from __future__ import annotations

from typing import Protocol

from corral.memory.store import Item, MemoryStore, Selection, WordQuery
from corral.memory.words import query_terms
from corral.server.agentcore.record_words import view_of


class Search(Protocol):
    """Finds items."""

    async def __call__(
        self, tenant: str, selection: Selection, question: str, *, limit: int
    ) -> list[tuple[Item, float]]:
        """The items that fit best, best first, each with how well: between 0 and 1."""
        ...


class WordSearch:
    """Finds items by their words alone."""

    def __init__(self, store: MemoryStore) -> None:
        """It ranks by BM25."""
        self._store = store

    async def __call__(
        self, tenant: str, selection: Selection, question: str, *, limit: int
    ) -> list[tuple[Item, float]]:
        """The items with the question's words."""
        view = view_of(tenant)
        hits = await self._store.search(view, WordQuery(terms=query_terms(question), limit=limit, selection=selection))
        scores = {hit.number: hit.score for hit in hits}
        found = await self._store.open(view, list(scores))
        return [(one.item, max(0.0, scores[one.number]) / (1 + max(0.0, scores[one.number]))) for one in found]
