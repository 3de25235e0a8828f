"""Finding what is remembered, in PostgreSQL."""

from __future__ import annotations

import array
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.bm25 import MATCHES_MAX, Ranking
from corral.backends.encoding import decode, findable
from corral.backends.memory_rows import NAMESPACES_MAX, ONCE, askable, found_of, holds
from corral.backends.nearness import Matrices
from corral.backends.queries import read_queries
from corral.memory.store import Found, Hit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.nearness import Matrix
    from corral.backends.postgres.engine import Engine
    from corral.memory.store import Selection, VectorQuery, View, WordQuery

_SQL = read_queries(Path(__file__).with_name("memory_search.sql"))
_NAMESPACES = read_queries(Path(__file__).with_name("memory.sql"))["namespaces"]

_COUNTED_MAX = 10_000
"""A word in more chunks than this is common; it does not matter in how many."""
_AT_ONCE = 1000


class PostgresMemorySearch:
    """A search asks four times: for namespaces, for counts of words, for who has them, and for places."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._matrices = Matrices()
        self._extension: bool | None = None

    async def search(self, view: View, query: WordQuery) -> list[Hit]:
        """Find words."""
        if not askable(view, query.selection) or not findable(*query.terms) or not query.terms:
            return []
        namespaces = await namespaces_of(self._engine, view, query.selection)
        numbers = [row[0] for row in namespaces if row[7]]
        if not numbers:
            return []
        counts = await self._engine.fetch(_SQL["counts"], Ranking.tokens(query.terms, numbers), _COUNTED_MAX)
        ranking = Ranking(
            query.terms,
            numbers,
            dict(counts),
            chunks=sum(row[7] for row in namespaces),
            words=sum(row[8] for row in namespaces),
        )
        if not ranking.rare:
            return []
        any_rare = _any_of(ranking.candidates())
        asked = [(term, level, _any_of(ranking.asked(term, level))) for term, level in ranking.questions()]
        asked += [(term, ONCE, f"({any_rare}) & ({_any_of(ranking.asked(term))})") for term in ranking.common]
        rows = await self._engine.fetch(_SQL["matching"], [text for *_, text in asked], MATCHES_MAX)
        for (term, level, _), (found,) in zip(asked, rows, strict=True):
            ranking.add(term, level, found)
        best = ranking.best(filtered=_narrowed(query.selection))
        places = await self._places(query.selection, numbers, best)
        return ranking.hits(places, query.limit, query.selection.filters, decode)

    async def nearest(self, view: View, query: VectorQuery) -> list[Hit]:
        """Find a meaning."""
        if not askable(view, query.selection) or not findable(query.model):
            return []
        namespaces = await namespaces_of(self._engine, view, query.selection)
        wanted = query.limit * 4 if _narrowed(query.selection) else query.limit
        if self._extension is None:
            (self._extension,) = await self._engine.fetch_one(_SQL["compares_vectors"])
        if self._extension:
            numbers = [row[0] for row in namespaces]
            asked = (numbers, query.model, numbers_text(query.vector), wanted)
            scores = [(chunk, score) for chunk, score in await self._engine.fetch(_SQL["nearest"], *asked)]
        else:
            scores = await self._compared(namespaces, query, wanted)
        best = dict(sorted(scores, key=lambda one: (-one[1], one[0]))[:wanted])
        places = await self._places(query.selection, [row[0] for row in namespaces], list(best))
        hits = [
            Hit(number, item, ordinal, min(1.0, best[number]))
            for number, item, ordinal, _, metadata in places
            if not query.selection.filters or holds(query.selection.filters, decode(metadata))
        ]
        hits.sort(key=lambda hit: (-hit.score, hit.number))
        return hits[: query.limit]

    async def around(self, view: View, places: Sequence[tuple[int, int]]) -> list[Hit]:
        """Find neighbours."""
        if not findable(view.tenant, *view.audiences):
            return []
        items, ordinals = [item for item, _ in places], [ordinal for _, ordinal in places]
        rows = await self._engine.fetch(_SQL["around"], items, ordinals, *seen_by(view))
        return [Hit(number, item, ordinal, 0.0) for number, item, ordinal in rows]

    async def open(self, view: View, numbers: Sequence[int]) -> list[Found]:
        """Read chunks."""
        if not findable(view.tenant, *view.audiences):
            return []
        return [found_of(row) for row in await self._engine.fetch(_SQL["open"], list(numbers), *seen_by(view))]

    async def _compared(self, namespaces: Sequence[Any], query: VectorQuery, wanted: int) -> list[tuple[int, float]]:
        """In this process, where the server cannot."""
        scores: list[tuple[int, float]] = []
        for number, *_, drops, _updated in namespaces:
            matrix = await self._read(number, query.model, drops)
            (count,) = await self._engine.fetch_one(_SQL["vector_count"], number, query.model)
            if matrix.seen < count:  # one with a lower serial was committed after one with a higher one
                self._matrices.forget((number, query.model))
                matrix = await self._read(number, query.model, drops)
            scores += await asyncio.to_thread(matrix.nearest, query.vector, wanted)
        return scores

    async def _read(self, namespace: int, model: str, drops: int) -> Matrix:
        matrix = self._matrices.of((namespace, model), drops)
        while rows := await self._engine.fetch(_SQL["vectors"], namespace, model, matrix.last, _AT_ONCE):
            await asyncio.to_thread(matrix.add, [tuple(row) for row in rows])
        return matrix

    async def _places(self, selection: Selection, namespaces: Sequence[int], numbers: Sequence[int]) -> Sequence[Any]:
        chosen = (list(selection.kinds) or None, selection.strategy, selection.source)
        return await self._engine.fetch(_SQL["places"], list(numbers), list(namespaces), *chosen)


async def namespaces_of(
    engine: Engine, view: View, selection: Selection, *, query: str = _NAMESPACES, limit: int = NAMESPACES_MAX
) -> Sequence[Any]:
    """The namespaces that a view includes."""
    scopes = list(selection.scopes) or None
    asked = (selection.space, selection.name, selection.prefix or None, scopes)
    return await engine.fetch(query, *asked, *seen_by(view), limit)


def seen_by(view: View) -> tuple[str, bool, list[str], bool]:
    """What a query is told of who asks."""
    return view.tenant, view.whole, list(view.audiences), view.public


def numbers_text(vector: bytes) -> str:
    """A vector as PostgreSQL reads it."""
    return "{" + ",".join(map(repr, array.array("f", vector))) + "}"


def _any_of(tokens: Sequence[str]) -> str:
    return " | ".join(f"'{token}'" for token in tokens)


def _narrowed(selection: Selection) -> bool:
    return bool(selection.filters or selection.kinds or selection.strategy or selection.source)
