"""Vectors in memory: the nearest are found, what goes is gone, and room is made."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from corral.cache.semantic.index import Partition, Partitions
from corral.cache.semantic_store import Listed

WIDTH = 8


def vector(seed: int) -> np.ndarray:
    row = np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)
    return row / np.linalg.norm(row)


def listed(number: int, *, seed: int | None = None, left_s: float = 100.0, wrong: float = 0.0) -> Listed:
    row = vector(number if seed is None else seed)
    return Listed(number.to_bytes(16, "big"), f"Q{number}", row.tobytes(), wrong, left_s)


def test_the_nearest_come_first_with_what_is_known_of_them():
    partition = Partition(entries_max=100)
    assert partition.nearest(vector(1), 3, 0.0) == []
    for number in range(50):
        partition.put(listed(number, wrong=number / 100), 0.0)
    first, *rest = partition.nearest(vector(7), 4, 0.0)
    assert (first.question, first.wrong) == ("Q7", 0.07)
    assert first.score == pytest.approx(1.0)
    assert [one.score for one in rest] == sorted((one.score for one in rest), reverse=True)
    assert partition.nearest(np.zeros(5, np.float32), 3, 0.0) == []


def test_partitions_are_forgotten_when_there_are_too_many_rows():
    partitions = Partitions(entries_max=100, rows_max=30, count_every=1)
    for tenant in ("a", "b", "c"):
        for number in range(20):
            partitions.of(tenant, b"s").put(listed(number), 0.0)
    assert len(partitions.of("c", b"s")) == 20
    assert len(partitions.of("a", b"s")) == 0
    partitions.forget("c")
    assert len(partitions.of("c", b"s")) == 0


async def test_many_rows_are_searched_through_a_graph_that_keeps_up():
    partition = Partition(entries_max=10_000, graph_rows=300)
    for number in range(300):
        partition.put(listed(number), 0.0)
    partition.put(listed(1000), 0.0)  # while it is being built
    partition.remove((5).to_bytes(16, "big"))
    async with asyncio.timeout(20):
        await partition._growing
    assert partition._graph is not None
    partition.put(listed(1001), 0.0)
    partition.put(listed(7, seed=2000), 0.0)
    partition.remove((9).to_bytes(16, "big"))
    for number, seed in ((3, 3), (1000, 1000), (1001, 1001), (7, 2000)):
        assert partition.nearest(vector(seed), 3, 0.0)[0].question == f"Q{number}"
    for gone in (5, 9):
        assert all(one.question != f"Q{gone}" for one in partition.nearest(vector(gone), 3, 0.0))


class Machine(RuleBasedStateMachine):
    """A partition against a dict."""

    def __init__(self):
        super().__init__()
        self.partition = Partition(entries_max=12)
        self.model: dict[int, tuple[int, float]] = {}
        self.now = 0.0

    @rule(number=st.integers(0, 11), seed=st.integers(0, 50), left=st.integers(1, 20))
    def put(self, number, seed, left):
        self.partition.put(listed(number, seed=seed, left_s=left), self.now)
        self.model[number] = (seed, self.now + left)

    @rule(number=st.integers(0, 11))
    def remove(self, number):
        self.partition.remove(number.to_bytes(16, "big"))
        self.model.pop(number, None)

    @rule(by=st.integers(1, 10))
    def turn(self, by):
        self.now += by

    @rule()
    def sweep(self):
        self.partition.sweep(self.now)

    @rule(seed=st.integers(0, 50))
    def look(self, seed):
        found = self.partition.nearest(vector(seed), 20, self.now)
        live = {number: one for number, (one, until) in self.model.items() if until > self.now}
        expected = sorted((float(vector(one) @ vector(seed)) for one in live.values()), reverse=True)
        assert [one.score for one in found] == pytest.approx([min(1.0, score) for score in expected], abs=1e-5)
        assert sorted(one.question for one in found) == sorted(f"Q{number}" for number in live)

    @invariant()
    def sizes_agree(self):
        assert len(self.partition) <= 12
        assert len(self.partition._places) == len(self.partition._rows)


TestPartition = Machine.TestCase
TestPartition.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_those_not_used_for_the_longest_time_make_room():
    partition = Partition(entries_max=3)
    for number in range(3):
        partition.put(listed(number), float(number))
    partition.nearest(vector(0), 1, 10.0)
    partition.put(listed(3), 11.0)
    assert sorted(one.question for one in partition.nearest(vector(1), 9, 12.0)) == ["Q0", "Q2", "Q3"]
