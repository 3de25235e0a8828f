"""Ranking by BM25, the same for all engines: they count words and say who has them, this decides what counts for how much.

The rarest words of a question choose the candidates; the common ones only weigh those. So a search costs about the same
however large a namespace is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from corral.backends.memory_rows import OFTEN, ONCE, TWICE, holds, token
from corral.memory.store import Filter, Hit

_K1 = 1.2
_B = 0.5
"""How much longer chunks are held against them: less than usual, since chunks are of about one length and turns are short."""
_TIMES = {ONCE: 1.0, TWICE: 2.0, OFTEN: 5.0}
"""How often a word is taken to stand there."""

POSTINGS_MAX = 1000
"""Candidates are taken from the rarest words until there are about so many; one word's at least."""
MATCHES_MAX = 20_000
"""So many chunks that have a word are looked at, however common it is."""
PLACED_MAX = 250
"""So many of the best candidates are looked at more closely; where there are filters, all are."""


class Term:
    """A word of a question: in how many chunks it stands, and what it weighs."""

    __slots__ = ("count", "term", "weight")

    def __init__(self, term: str, chunks: int, count: int) -> None:
        self.term = term
        self.count = count
        self.weight = math.log(1 + (chunks - count + 0.5) / (count + 0.5))


class Ranking:
    """One search: which words to ask for, and what the chunks that have them are worth."""

    def __init__(
        self, terms: Iterable[str], namespaces: Sequence[int], counts: Mapping[str, int], *, chunks: int, words: int
    ) -> None:
        """`counts` is for tokens; `chunks` and `words` are how many the namespaces have together."""
        self._namespaces = namespaces
        self._average = max(1.0, words / chunks) if chunks else 1.0
        found = []
        for term in terms:
            count = sum(counts.get(token(one, term), 0) for one in namespaces)
            if count:
                found.append(Term(term, max(chunks, count), count))
        found.sort(key=lambda one: one.count)
        self.rare: list[Term] = []
        total = 0
        for one in found:
            if self.rare and total + one.count > POSTINGS_MAX:
                break
            self.rare.append(one)
            total += one.count
        self.common = found[len(self.rare) :]
        self._times: dict[str, dict[int, float]] = {}
        self._scores: dict[int, float] = {}

    @staticmethod
    def tokens(terms: Iterable[str], namespaces: Sequence[int]) -> list[str]:
        """What is to be counted."""
        return [token(one, term) for term in terms for one in namespaces]

    def questions(self) -> list[tuple[Term, str]]:
        """What to ask of the rare words: who has them, and who has them more than once. Of common ones the first is enough."""
        return [(term, level) for term in self.rare for level in (ONCE, TWICE, OFTEN)]

    def asked(self, term: Term, level: str = ONCE) -> list[str]:
        """A word in all namespaces: any of these tokens."""
        return [token(one, term.term, level) for one in self._namespaces]

    def candidates(self) -> list[str]:
        """What a candidate has any of."""
        return [one for term in self.rare for one in self.asked(term, ONCE)]

    def add(self, term: Term, level: str, numbers: Iterable[int]) -> None:
        """These chunks have the word so often."""
        times = self._times.setdefault(term.term, {})
        scores, often = self._scores, _TIMES[level]
        if level == ONCE:
            for number in numbers:
                times[number] = often
                scores[number] = scores.get(number, 0.0) + term.weight
            return
        more = term.weight * _gain(level)
        for number in numbers:
            times[number] = often
            scores[number] = scores.get(number, 0.0) + more

    def best(self, *, filtered: bool) -> list[int]:
        """The chunks worth a closer look, best first."""
        ranked = sorted(self._scores.items(), key=lambda one: (-one[1], one[0]))
        return [number for number, _ in (ranked if filtered else ranked[:PLACED_MAX])]

    def hits(self, places: Iterable[Sequence[Any]], limit: int, filters: Sequence[Filter], decode: Any) -> list[Hit]:
        """The hits out of rows (number, item, ordinal, words, metadata), best first."""
        terms = [(term.weight, self._times.get(term.term, {})) for term in (*self.rare, *self.common)]
        found = []
        for number, item, ordinal, words, metadata in places:
            if filters and not holds(filters, decode(metadata)):
                continue
            length = _K1 * (1 - _B + _B * words / self._average)
            score = 0.0
            for weight, times in terms:
                often = times.get(number)
                if often is not None:
                    score += weight * often * (_K1 + 1) / (often + length)
            found.append(Hit(number, item, ordinal, score))
        found.sort(key=lambda hit: (-hit.score, hit.number))
        return found[:limit]


def _gain(level: str) -> float:
    """What standing there so often adds, in a chunk of average length."""
    before = _TIMES[ONCE] if level == TWICE else _TIMES[TWICE]
    return (_K1 + 1) * (_TIMES[level] / (_TIMES[level] + _K1) - before / (before + _K1))
