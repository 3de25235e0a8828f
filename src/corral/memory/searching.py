"""Finding what is remembered: by words, by what stands beside it, and by meaning where an embedder is at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ModelFailed, ValidationFailed
from corral.memory.counting import MemoryCounting
from corral.memory.store import Found, Hit, Item, MemoryStore, Namespace, Selection, VectorQuery, View, WordQuery
from corral.memory.words import query_terms
from corral.observability.traces import span
from corral.settings.memory_sections import MemorySettings

_log = logging.getLogger("corral.memory")

EVERYTHING = Selection()
QUERY_CHARS_MAX = 10_000
_TERMS_MAX = 64
_LOOKED_AT = 100
"""So many hits of each kind are weighed against each other."""


class Embedder(Protocol):
    """Places texts in a space of meanings."""

    @property
    def model(self) -> str:
        """Which model it is, exactly. Vectors of another one are never compared with its own."""
        ...

    async def embed(self, texts: Sequence[str], *, tenant: str) -> list[bytes]:
        """A vector for each text: float32, of length one. The tenant pays."""
        ...


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result stands, for people and for models to say."""

    document: str
    """The item's id."""
    chunk: str
    title: str = ""
    source: str = ""
    place: str = ""
    """Headings, a page, a date."""
    ordinal: int = 0
    start: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was found."""

    text: str
    score: float
    """Comparable within one search only."""
    kind: str
    id: str
    """The record's or the document's."""
    namespace: Namespace
    metadata: dict[str, Any]
    at: float
    citation: Citation


class Searcher:
    """Looks things up, for agents, for the API and for AgentCore's."""

    def __init__(
        self,
        store: MemoryStore,
        settings: MemorySettings,
        embedder: Embedder | None = None,
        *,
        counting: MemoryCounting | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Without an embedder it is words alone that find."""
        self.store = store
        self._counting = counting
        self._now = clock.monotonic
        self.settings = settings
        self.embedder = embedder

    async def search(
        self,
        view: View,
        query: str,
        *,
        k: int = 10,
        selection: Selection = EVERYTHING,
        neighbours: float | None = None,
    ) -> list[Result]:
        """The `k` best, best first. `neighbours` takes the place of the setting.

        Where the embedder does not answer, words alone are looked for.
        """
        found = await self.find(view, query, k=k, selection=selection, neighbours=neighbours)
        return [_result(one, score) for one, score in found]

    async def find(
        self, view: View, query: str, *, k: int, selection: Selection = EVERYTHING, neighbours: float | None = None
    ) -> list[tuple[Found, float]]:
        """The same, with each item whole."""
        if not 1 <= k <= self.settings.results_max:
            raise ValidationFailed(f"Ask for 1 to {self.settings.results_max} results (`memory.results_max`), not {k}.")
        if len(query) > QUERY_CHARS_MAX:
            raise ValidationFailed(f"A question has at most {QUERY_CHARS_MAX} characters.")
        share = self.settings.neighbours if neighbours is None else neighbours
        begun = self._now()
        with span("memory.search") as attributes:
            found = await self._find(view, query, k, selection, share)
            attributes["memory.k"] = k
            attributes["memory.results"] = len(found)
        if self._counting is not None:
            by = "words" if self.embedder is None or not self.settings.meaning else "words and meaning"
            self._counting.searched(self._now() - begun, found=len(found), by=by)
        return found

    async def _find(
        self, view: View, query: str, k: int, selection: Selection, share: float
    ) -> list[tuple[Found, float]]:
        looked_at = max(_LOOKED_AT, k)
        terms = query_terms(query)[:_TERMS_MAX]
        hits = await self.store.search(view, WordQuery(terms=terms, limit=looked_at, selection=selection))
        meaning = self.settings.meaning
        if self.embedder is not None and meaning > 0 and query.strip():
            try:
                vectors = await self._alike(self.embedder, view, query, looked_at, selection)
                hits = fused(hits, vectors, meaning)
            except (ModelFailed, TimeoutError) as error:
                _log.warning("The embedder does not answer, so only words are looked for: %s", error)
        if share > 0 and hits:
            hits = await self._with_neighbours(view, hits, k, share, selection)
        scores = {hit.number: hit.score for hit in hits[:k]}
        return [(one, scores[one.number]) for one in await self.store.open(view, list(scores))]

    async def _alike(self, embedder: Embedder, view: View, query: str, limit: int, selection: Selection) -> list[Hit]:
        (vector,) = await embedder.embed([query], tenant=view.tenant)
        asked = VectorQuery(vector=vector, model=embedder.model, limit=limit, selection=selection)
        return await self.store.nearest(view, asked)

    async def _with_neighbours(
        self, view: View, hits: Sequence[Hit], k: int, share: float, selection: Selection
    ) -> list[Hit]:
        """What stands beside a hit gains from it. Those that were no hit are asked for only if they would be among the best."""
        gains = gained(hits, share)
        known = {(hit.item, hit.ordinal): hit for hit in hits}
        ranked = [
            Hit(hit.number, hit.item, hit.ordinal, hit.score + gains.get(place, 0.0)) for place, hit in known.items()
        ]
        ranked.sort(key=_rank)
        enough = ranked[k - 1].score if len(ranked) >= k else 0.0
        places = [place for place, gain in gains.items() if place not in known and gain > enough]
        if places and not selection.filters:
            ranked += [
                Hit(hit.number, hit.item, hit.ordinal, gains[hit.item, hit.ordinal])
                for hit in await self.store.around(view, places)
            ]
            ranked.sort(key=_rank)
        return ranked


def gained(hits: Sequence[Hit], share: float) -> dict[tuple[int, int], float]:
    """What the places before and after hits gain from them."""
    gains: dict[tuple[int, int], float] = {}
    for hit in hits:
        for ordinal in (hit.ordinal - 1, hit.ordinal + 1):
            if ordinal >= 0:
                gains[hit.item, ordinal] = gains.get((hit.item, ordinal), 0.0) + share * hit.score
    return gains


def fused(words: Sequence[Hit], vectors: Sequence[Hit], meaning: float) -> list[Hit]:
    """Both kinds of hits as one list, each kind's scores first brought between 0 and 1."""
    by_words, by_meaning = _scaled(words, 0.0), _scaled(vectors, min((hit.score for hit in vectors), default=0.0))
    hits = {hit.number: hit for hit in (*vectors, *words)}
    scored = [
        Hit(
            number,
            hit.item,
            hit.ordinal,
            (1 - meaning) * by_words.get(number, 0.0) + meaning * by_meaning.get(number, 0.0),
        )
        for number, hit in hits.items()
    ]
    return sorted(scored, key=_rank)


def _scaled(hits: Sequence[Hit], lowest: float) -> Mapping[int, float]:
    width = max((hit.score for hit in hits), default=0.0) - lowest
    return {hit.number: (hit.score - lowest) / width if width > 0 else 1.0 for hit in hits}


def _rank(hit: Hit) -> tuple[float, int]:
    return (-hit.score, hit.number)


def _result(found: Found, score: float) -> Result:
    item: Item = found.item
    return Result(
        text=found.chunk.text,
        score=score,
        kind=item.kind,
        id=item.id,
        namespace=item.namespace,
        metadata=item.metadata,
        at=item.at,
        citation=Citation(
            document=item.id,
            chunk=found.chunk.id,
            title=item.title,
            source=item.source,
            place=found.chunk.place,
            ordinal=found.chunk.ordinal,
            start=found.chunk.start,
        ),
    )
