"""The bounds, against values that are known; thresholds, against all that was labelled."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.cache.semantic import calibration
from corral.cache.semantic.evidence import broken_bound
from corral.cache.semantic.status import _needed
from corral.cache.semantic_store import Bin, Evidence


@pytest.mark.parametrize(
    ("share", "a", "b", "value"),
    [
        (0.5, 1, 1, 0.5),
        (0.95, 1, 1, 0.95),
        (0.5, 2, 2, 0.5),
        (0.95, 2, 1, math.sqrt(0.95)),
        (0.95, 1, 20, 1 - 0.05 ** (1 / 20)),
        (0.025, 1, 10, 1 - 0.975 ** (1 / 10)),
        (0.95, 3, 8, 0.506901),  # scipy.stats.beta.ppf
        (0.95, 6, 95, 0.102253),
    ],
)
def test_quantiles_of_the_beta_distribution(share, a, b, value):
    assert calibration.beta_quantile(share, a, b) == pytest.approx(value, abs=2e-5)


def _binomial_at_most(wrong, labels, share):
    return sum(math.comb(labels, k) * share**k * (1 - share) ** (labels - k) for k in range(wrong + 1))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.data())
def test_bounds_are_clopper_and_pearsons(labels, data):
    wrong = data.draw(st.integers(0, labels))
    upper, lower = calibration.upper_bound(wrong, labels), calibration.lower_bound(wrong, labels)
    assert 0 <= lower <= wrong / labels <= upper <= 1
    if wrong < labels:
        assert _binomial_at_most(wrong, labels, upper) == pytest.approx(0.05, abs=1e-6)
    if wrong > 0:
        assert 1 - _binomial_at_most(wrong - 1, labels, lower) == pytest.approx(0.05, abs=1e-6)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(140, 200), st.integers(1, 300), st.integers(0, 20)),
        max_size=20,
        unique_by=lambda one: one[0],
    ),
    st.sampled_from([0.01, 0.02, 0.05, 0.2]),
)
def test_the_threshold_is_the_loosest_where_the_bound_holds(rows, error_rate):
    bins = [Bin(step, labels, min(wrong, labels)) for step, labels, wrong in rows]
    found = calibration.loosest(bins, error_rate)
    holds = []
    for one in bins:
        above = [other for other in bins if other.step >= one.step]
        labels, wrong = sum(other.labels for other in above), sum(other.wrong for other in above)
        if calibration.upper_bound(wrong, labels) <= error_rate + 1e-9:
            holds.append(one.step)
    assert (None if found is None else round(found.score * 200)) == (min(holds) if holds else None)


def test_a_stream_with_a_known_share_of_wrong_ones_keeps_to_the_bound():
    chance = random.Random(7)
    broken = 0
    for _ in range(40):
        steps: dict[int, list[int]] = {}
        for _ in range(2_000):
            step = chance.randint(150, 199)
            share = (199 - step) / 49 * 0.4  # the less alike, the more often wrong
            counts = steps.setdefault(step, [0, 0])
            counts[0] += 1
            counts[1] += chance.random() < share
        found = calibration.loosest([Bin(step, *counts) for step, counts in steps.items()], 0.05)
        if found is not None:
            served = range(round(found.score * 200), 200)
            truth = sum((199 - step) / 49 * 0.4 for step in served) / len(served)
            broken += truth > 0.05
    assert broken <= 6  # 40 claims, each true with 95 %, chosen among thresholds


def test_the_bound_is_broken_when_audits_say_so_and_not_before():
    assert broken_bound(Evidence(audits=0), 0.02) == ""
    assert broken_bound(Evidence(audits=1, audits_wrong=1), 0.02) == ""
    assert broken_bound(Evidence(audits=50, audits_wrong=2), 0.02) == ""
    assert "3 of 20" in broken_bound(Evidence(audits=20, audits_wrong=3), 0.02)


@pytest.mark.parametrize("error_rate", [0.01, 0.02, 0.05])
def test_what_is_said_to_be_missing_is_enough(error_rate):
    missing = _needed(Evidence(bins=[Bin(190, 5, 0), Bin(180, 4, 1)]), error_rate)
    assert calibration.loosest([Bin(190, 5 + missing, 0)], error_rate) is not None
    assert calibration.loosest([Bin(190, 5 + missing - 1, 0)], error_rate) is None
