"""Ranking by words, and vectors in memory."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corral.backends.bm25 import ONCE, POSTINGS_MAX, Ranking
from corral.backends.memory_rows import OFTEN, TWICE, holds, token, tokens_of
from corral.backends.nearness import Matrices, Matrix
from corral.memory.store import Filter

documents = st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12), min_size=1, max_size=12)


def ranked(texts, terms):
    """What an engine would do, over lists."""
    index = {number: set(tokens_of(1, words)) for number, words in enumerate(texts)}
    counts = Counter(one for tokens in index.values() for one in tokens)
    ranking = Ranking(terms, [1], counts, chunks=len(texts), words=sum(map(len, texts)))
    for term, level in ranking.questions():
        asked = set(ranking.asked(term, level))
        ranking.add(term, level, [number for number, tokens in index.items() if tokens & asked])
    places = [(number, 1, number, len(texts[number]), "{}") for number in ranking.best(filtered=False)]
    return ranking.hits(places, 100, (), None)


@given(documents, st.sets(st.sampled_from("abcxyz"), max_size=4))
def test_it_is_bm25_with_counts_in_steps(texts, terms):
    average = sum(map(len, texts)) / len(texts)
    expected = {}
    for number, words in enumerate(texts):
        score = 0.0
        for term in terms:
            count = words.count(term)
            often = {0: 0.0, 1: 1.0, 2: 2.0, 3: 2.0}.get(count, 5.0)
            having = sum(term in other for other in texts)
            weight = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            score += weight * often * 2.2 / (often + 1.2 * (0.5 + 0.5 * len(words) / average))
        if score:
            expected[number] = score
    hits = ranked(texts, sorted(terms))
    assert {hit.number: round(hit.score, 9) for hit in hits} == {n: round(score, 9) for n, score in expected.items()}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_common_words_choose_nobody():
    counts = {token(1, "common"): POSTINGS_MAX, token(1, "rare"): 2}
    ranking = Ranking(["common", "rare", "never"], [1], counts, chunks=5000, words=50_000)
    assert [one.term for one in ranking.rare] == ["rare"]
    assert [one.term for one in ranking.common] == ["common"]
    assert ranking.candidates() == [token(1, "rare")]
    alone = Ranking(["common"], [1], counts, chunks=5000, words=50_000)
    assert [one.term for one in alone.rare] == ["common"]


def test_words_of_namespaces_are_apart():
    assert tokens_of(7, ["a", "b", "a", *"cccc"]) == [
        token(7, "a", ONCE), token(7, "b", ONCE), token(7, "c", ONCE),
        token(7, "a", TWICE), token(7, "c", TWICE), token(7, "c", OFTEN),
    ]  # fmt: skip
    assert token(1, "2x") != token(12, "x")
    assert not set(tokens_of(1, ["x", "2xx"])) & set(tokens_of(12, ["x", "xx"]))


values = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(-3, 3), st.sampled_from(["", "a", "ab"]))


@given(values, values)
def test_comparisons_agree_with_each_other(value, other):
    def holding(op):
        return holds([Filter("k", op, other)], {"k": value})

    assert holding("=") != holding("!=")
    if holding("<") or holding(">"):
        assert holding("!=")
        assert holding("<") != holding(">")
    assert holding("<=") == (holding("<") or (holding("=") and holding(">=")))
    assert holding("exists")
    assert not holding("absent")
    assert not holds([Filter("other", "=", other)], {"k": value})


def unit(rng, count, width=8):
    rows = rng.normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_most_alike_come_first():
    rng = np.random.default_rng(1)
    rows = unit(rng, 500)
    matrix = Matrix(0)
    matrix.add([(n + 1, n * 10, row.tobytes()) for n, row in enumerate(rows[:300])])
    matrix.add([(n + 1, n * 10, row.tolist()) for n, row in enumerate(rows)])
    assert (len(matrix), matrix.last, matrix.seen) == (500, 500, 500)
    found = matrix.nearest(rows[42].tobytes(), 5)
    right = np.argsort(-(rows @ rows[42]))[:5]
    assert [chunk for chunk, _ in found] == [int(n) * 10 for n in right]
    assert found[0][1] > 0.999
    assert matrix.nearest(np.ones(3, np.float32).tobytes(), 5) == []


def test_beyond_a_number_a_graph_is_searched():
    rng = np.random.default_rng(2)
    rows = unit(rng, 600, 16)
    matrix = Matrix(0, graph_rows=500)
    matrix.add([(n + 1, n, row.tobytes()) for n, row in enumerate(rows[:550])])
    matrix.joined()
    matrix.add([(n + 1, n, row.tobytes()) for n, row in enumerate(rows)])
    assert all(matrix.nearest(rows[n].tobytes(), 3)[0][0] == n for n in (0, 300, 540, 599))


def test_what_was_not_asked_for_longest_goes_and_deletions_begin_anew():
    matrices = Matrices(rows_max=3)
    row = np.ones(2, np.float32).tobytes()
    first = matrices.of("a", 0)
    first.add([(1, 1, row), (2, 2, row)])
    matrices.of("b", 0).add([(1, 1, row), (2, 2, row)])
    matrices.of("c", 0)
    assert matrices.of("a", 0) is not first
    second = matrices.of("c", 0)
    assert matrices.of("c", 1) is not second
    kept = matrices.of("c", 1)
    assert matrices.of("c", 1) is kept
    matrices.forget("c")
    assert matrices.of("c", 1) is not kept
