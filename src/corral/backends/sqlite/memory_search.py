"""Finding what is remembered, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.bm25 import MATCHES_MAX, Ranking
from corral.backends.encoding import decode, encode, findable
from corral.backends.memory_rows import ONCE, askable, bound_of, found_of, holds, seen_by
from corral.backends.nearness import Matrices
from corral.backends.queries import read_queries
from corral.memory.store import Found, Hit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View as Reading
    from corral.memory.store import Selection, VectorQuery, View, WordQuery

_SQL = read_queries(Path(__file__).with_name("memory_search.sql"))
_NAMESPACES = read_queries(Path(__file__).with_name("memory.sql"))["namespaces"]

_AT_ONCE = 5000

_numbers = msgspec.json.Decoder(list[int]).decode


class SqliteMemorySearch:
    """Searches run on a reader's connection from the first look to the last, but see what is committed in between."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._matrices = Matrices()

    async def search(self, view: View, query: WordQuery) -> list[Hit]:
        """Find words."""
        if not askable(view, query.selection) or not findable(*query.terms):
            return []
        return await self._engine.read(lambda reading: _search(reading, view, query))

    async def nearest(self, view: View, query: VectorQuery) -> list[Hit]:
        """Find a meaning."""
        if not askable(view, query.selection) or not findable(query.model):
            return []
        return await self._engine.read(lambda reading: self._nearest(reading, view, query))

    async def around(self, view: View, places: Sequence[tuple[int, int]]) -> list[Hit]:
        """Find neighbours."""
        if not findable(view.tenant, *view.audiences):
            return []
        bound = {**seen_by(view), "places": encode(list(places), "Places").decode()}
        rows = await self._engine.read(
            lambda reading: reading.execute(_SQL["around"], {**bound, "now": reading.now}).fetchall()
        )
        return [Hit(number, item, ordinal, 0.0) for number, item, ordinal in rows]

    async def open(self, view: View, numbers: Sequence[int]) -> list[Found]:
        """Read chunks."""
        if not findable(view.tenant, *view.audiences):
            return []
        bound = {**seen_by(view), "numbers": encode(list(numbers), "Numbers").decode()}
        rows = await self._engine.read(
            lambda reading: reading.execute(_SQL["open"], {**bound, "now": reading.now}).fetchall()
        )
        return [found_of(row) for row in rows]

    def _nearest(self, reading: Reading, view: View, query: VectorQuery) -> list[Hit]:
        scores: list[tuple[int, float]] = []
        namespaces = reading.execute(_NAMESPACES, bound_of(view, query.selection)).fetchall()
        narrowed = _narrowed(query.selection)
        wanted = query.limit * 4 if narrowed else query.limit
        for number, *_, drops, _updated in namespaces:
            matrix = self._matrices.of((number, query.model), drops)
            while rows := reading.execute(_SQL["vectors"], (number, query.model, matrix.last, _AT_ONCE)).fetchall():
                matrix.add(rows)
            scores += matrix.nearest(query.vector, wanted)
        scores.sort(key=lambda one: (-one[1], one[0]))
        best = dict(scores[:wanted])
        places = _places(reading, query.selection, [row[0] for row in namespaces], list(best))
        hits = [
            Hit(number, item, ordinal, best[number])
            for number, item, ordinal, _, metadata in places
            if not query.selection.filters or holds(query.selection.filters, decode(metadata))
        ]
        hits.sort(key=lambda hit: (-hit.score, hit.number))
        return hits[: query.limit]


def _search(reading: Reading, view: View, query: WordQuery) -> list[Hit]:
    namespaces = reading.execute(_NAMESPACES, bound_of(view, query.selection)).fetchall()
    numbers = [row[0] for row in namespaces if row[7]]
    if not numbers or not query.terms:
        return []
    tokens = encode(Ranking.tokens(query.terms, numbers), "Words").decode()
    counts = dict(reading.execute(_SQL["counts"], (tokens,)).fetchall())
    ranking = Ranking(
        query.terms, numbers, counts, chunks=sum(row[7] for row in namespaces), words=sum(row[8] for row in namespaces)
    )
    candidates = ranking.candidates()
    if not candidates:
        return []
    for term, level in ranking.questions():
        ranking.add(term, level, _matching(reading, _any_of(ranking.asked(term, level))))
    for term in ranking.common:
        asked = f"({_any_of(candidates)}) AND ({_any_of(ranking.asked(term))})"
        ranking.add(term, ONCE, _matching(reading, asked))
    narrowed = _narrowed(query.selection)
    places = _places(reading, query.selection, numbers, ranking.best(filtered=narrowed))
    return ranking.hits(places, query.limit, query.selection.filters, decode)


def _matching(reading: Reading, asked: str) -> list[int]:
    (found,) = reading.execute(_SQL["matching"], (asked, MATCHES_MAX)).fetchone()
    return _numbers(found)


def _any_of(tokens: Sequence[str]) -> str:
    return " OR ".join(f'"{token}"' for token in tokens)


def _narrowed(selection: Selection) -> bool:
    return bool(selection.filters or selection.kinds or selection.strategy or selection.source)


def _places(reading: Reading, selection: Selection, namespaces: Sequence[int], numbers: Sequence[int]) -> list[Any]:
    bound: dict[str, Any] = {
        "numbers": encode(list(numbers), "Numbers").decode(),
        "namespaces": encode(list(namespaces), "Namespaces").decode(),
        "now": reading.now,
    }
    if not _narrowed(selection):
        return reading.execute(_SQL["places_alone"], bound).fetchall()
    kinds = encode(selection.kinds, "Kinds").decode() if selection.kinds else None
    bound |= {"kinds": kinds, "strategy": selection.strategy, "source": selection.source}
    return reading.execute(_SQL["places"], bound).fetchall()
