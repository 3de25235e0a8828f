from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.limits import priorities
from corral.limits.priorities import Priorities
from corral.settings.priority_sections import PrioritySettings, PriorityWeights


class Clock:
    def __init__(self):
        self.time = 1_000.0

    def monotonic(self):
        return self.time

    def now(self):
        return self.time


def known(**said):
    clock = Clock()
    return Priorities(PrioritySettings(**said), clock), clock


def test_the_four_classes_have_the_weights_that_people_know():
    found, _ = known()
    assert found.rank("t", "premium", None, None).score == 10
    assert found.rank("t", "premium_eu", "s", "ada").name == "premium_user"
    assert found.rank("t", "", None, None).name == "new_user"
    assert found.rank("t", "free", "s", "ada").score == 3
    found.met("t", "s", "ada")
    assert found.rank("t", "free", "s", "ada").name == "active_session"
    assert found.rank("t", "free", "s", "ada").score == 5
    assert (found.background.score, found.background.priority) == (1, 1)


def test_a_session_is_active_for_a_while_and_for_its_tenant_alone():
    found, clock = known(active_session_s=60)
    found.met("t", "s", None)
    assert found.rank("other", "", "s", None).name == "new_user"
    clock.time += 59
    assert found.rank("t", "", "s", None).name == "active_session"
    clock.time += 2
    assert found.rank("t", "", "s", None).name == "new_user"


def test_who_has_been_here_for_long_is_not_new():
    found, clock = known(new_user_s=100)
    found.met("t", None, "ada")
    clock.time += 99
    found.met("t", None, "ada")
    assert found.rank("t", "", None, "ada").name == "new_user"
    clock.time += 1
    assert found.rank("t", "", None, "ada").name == "known_user"
    assert found.rank("t", "", None, "bob").name == "new_user"
    found.met("t", "s", "ada")
    assert found.rank("t", "", "s", "ada").name == "active_session"


def test_tiers_have_scores_of_their_own_and_the_best_counts():
    found, _ = known(tiers={"gold*": 8, "golden": 2, "trial": 0.5})
    assert found.rank("t", "gold", None, None).score == 8
    assert found.rank("t", "golden", None, None).score == 8
    assert found.rank("t", "trial", None, None).name == "new_user"  # who is in a worse tier is not worse than unknown
    assert found.rank("t", "gold", None, None).priority == 8
    assert found.rank("t", "gold", None, None) is found.rank("t", "gold", None, None)


def test_one_may_ask_for_less_and_never_for_more():
    found, _ = known()
    assert found.rank("t", "premium", None, None, 9).name == "premium_user"
    assert found.rank("t", "premium", None, None, 5).name == "active_session"
    assert found.rank("t", "premium", None, None, 2).name == "background_task"
    assert found.rank("t", "premium", None, None, 0).name == "background_task"
    assert found.rank("t", "", None, None, 9).name == "new_user"


def test_jobs_and_calls_have_the_same_on_their_own_scales():
    found, _ = known()
    assert [found.rank("t", "premium", None, None).of_calls, found.rank("t", "", None, None).of_calls] == [9, 3]
    assert found.of_job("t", "premium", None, None, None) == 10
    assert found.of_job("t", "premium", None, None, 4) == 4
    assert found.of_job("t", "", None, None, 9) == 3


@given(st.lists(st.floats(0.01, 1000), min_size=5, max_size=5))
def test_whatever_the_weights_priorities_are_in_their_order(weights):
    names = PriorityWeights.__struct_fields__
    found, _ = known(weights=PriorityWeights(**dict(zip(names, weights, strict=True))))
    ranks = sorted(found.ranks.values(), key=lambda rank: rank.score)
    order = [rank.priority for rank in ranks]
    assert order == sorted(order)
    assert order[-1] == 10
    assert min(order) >= 1
    assert all(1 <= rank.of_calls <= 9 for rank in ranks)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(priorities, "_KNOWN_MAX", 10)
    monkeypatch.setattr(priorities, "_TIERS_MAX", 5)
    found, _ = known()
    for number in range(30):
        found.met("t", f"s{number}", f"u{number}")
        found.rank("t", f"tier{number}", None, None)
    assert [len(found._sessions), len(found._users), len(found._tiers)] == [10, 10, 5]
    assert found.rank("t", "", "s29", None).name == "active_session"
    assert found.rank("t", "", "s0", None).name == "new_user"


@pytest.mark.parametrize("tier", ["", "free", "premium"])
def test_a_rank_costs_next_to_nothing_to_find(tier):
    found, _ = known()
    assert found.rank("t", tier, "s", "u") is found.rank("t", tier, "s", "u")
