from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from corral.limits.fair_line import FairLine, Ticket
from corral.limits.priorities import Priorities
from corral.settings.priority_sections import PrioritySettings

RANKS = Priorities(PrioritySettings()).ranks
PREMIUM, ACTIVE, NEW, BACKGROUND = (
    RANKS[name] for name in ("premium_user", "active_session", "new_user", "background_task")
)


class Numbered(Ticket):
    __slots__ = ("number",)
    count = itertools.count()


def ticket(rank=NEW, tenant="t"):
    made = Numbered(rank, tenant, 0.0, None)  # the line wakes nobody
    made.number = next(Numbered.count)
    return made


def a_line(elder_turn=8, **tenants):
    return FairLine(elder_turn=elder_turn, tenants=tenants)


def nobody(_):
    return False


def served(line, count, is_over=nobody):
    return [line.take(float(number), is_over) for number in range(count)]


def filled(line, *said):
    tickets = [ticket(*one) for one in said]
    for one in tickets:
        line.add(one)
    return tickets


def test_the_highest_score_goes_first_and_then_who_came_first():
    line = a_line(elder_turn=100)
    background, new, first, second = filled(line, (BACKGROUND,), (NEW,), (PREMIUM,), (PREMIUM,))
    assert served(line, 4) == [first, second, new, background]
    assert len(line) == 0
    assert not line.tenants


def test_tenants_take_turns_within_a_score():
    line = a_line(elder_turn=100)
    filled(line, *[(NEW, "flood")] * 50, *[(NEW, "small")] * 3)
    order = [one.tenant for one in served(line, 8)]
    assert order == ["flood", "small", "flood", "small", "flood", "small", "flood", "flood"]


def test_tenants_get_turns_by_weight():
    line = a_line(elder_turn=10_000, big=3)
    filled(line, *[(NEW, "big")] * 200, *[(NEW, "small")] * 200)
    turns = Counter(one.tenant for one in served(line, 100))
    assert 73 <= turns["big"] <= 77


def test_who_was_away_has_saved_nothing_up():
    line = a_line(elder_turn=10_000)
    filled(line, *[(NEW, "busy")] * 100)
    served(line, 50)
    filled(line, *[(NEW, "late")] * 100)
    turns = Counter(one.tenant for one in served(line, 40))
    assert abs(turns["busy"] - turns["late"]) <= 1


def test_every_so_many_turns_it_is_the_turn_of_a_score_that_went_without():
    line = a_line(elder_turn=4)
    filled(line, *[(PREMIUM,)] * 100, *[(NEW,)] * 100, *[(BACKGROUND,)] * 100)
    turns = Counter(one.rank.name for one in served(line, 80))
    assert turns == {"premium_user": 60, "new_user": 10, "background_task": 10}


def test_a_tenant_that_has_its_share_comes_after_all_others():
    line = a_line(elder_turn=3)
    filled(line, *[(PREMIUM, "rich")] * 9, *[(BACKGROUND, "poor")] * 2)
    order = [one.tenant for one in served(line, 4, lambda tenant: tenant == "rich")]
    assert order == ["poor", "poor", "rich", "rich"]


def test_who_leaves_is_not_served():
    line = a_line()
    gone, stays, also = filled(line, (NEW, "a"), (NEW, "a"), (NEW, "b"))
    line.remove(gone)
    assert list(line) == [stays, also]
    assert set(served(line, 2)) == {stays, also}


def test_of_too_many_the_lowest_and_newest_has_to_go():
    line = a_line()
    *_, newest = filled(line, *[(PREMIUM,)] * 10, *[(NEW,)] * 10, *[(BACKGROUND,)] * 10)
    assert line.lowest(PREMIUM, "t", 1.0) is newest
    assert line.lowest(NEW, "t", 1.0) is newest
    assert line.lowest(BACKGROUND, "t", 1.0) is None


def test_a_few_of_each_score_may_stay():
    line = a_line(elder_turn=8)
    filled(line, *[(PREMIUM,)] * 100, *[(BACKGROUND,)] * 5)
    assert line.lowest(PREMIUM, "t", 1.0) is None
    assert line.lowest(BACKGROUND, "t", 1.0).rank is PREMIUM


def test_a_tenant_that_crowds_the_line_loses_its_own():
    line = a_line()
    filled(line, *[(PREMIUM, "flood")] * 20, (BACKGROUND, "small"))
    low = filled(line, (NEW, "flood"))[0]
    assert line.lowest(BACKGROUND, "small", 0.5) is low
    assert line.lowest(PREMIUM, "flood", 0.5) is low
    assert line.lowest(BACKGROUND, "flood", 0.5) is None


def test_how_long_it_would_be_goes_by_how_a_score_was_served():
    line = a_line(elder_turn=2)
    assert (line.ahead(NEW, "t"), line.expected_s(NEW, "t")) == (0, 0)
    filled(line, *[(PREMIUM,)] * 50, *[(NEW, "a")] * 6, (NEW, "b"))
    assert line.ahead(PREMIUM, "t") == 50
    assert line.ahead(NEW, "a") == 57
    assert line.ahead(NEW, "b") == 50 + 1 + 2
    for number in range(8):
        line.take(number * 0.5, nobody)
    assert line.expected_s(NEW, "c") == 2.0  # one of `a`, and itself; a turn a second


def test_tenants_that_left_without_a_turn_leave_nothing():
    line = a_line()
    filled(line, (PREMIUM,))
    for number in range(1_000):
        line.remove(*filled(line, (BACKGROUND, f"t{number}")))
    low = line._classes[BACKGROUND.score]
    assert len(low._turns) < 200
    for number in range(1_000):
        filled(line, (NEW, f"t{number}"))
    served(line, 1_001)
    assert len(line._classes[NEW.score]._passed) < 200
    assert len(line) == 0


class LineMachine(RuleBasedStateMachine):
    """Whatever comes and goes: nobody is lost, nobody is served twice, and nobody waits for ever."""

    def __init__(self):
        super().__init__()
        self.line = a_line(elder_turn=4, heavy=3.0)
        self.waiting: list[Ticket] = []
        self.now = 0.0
        self.turns = 0
        self.had_turn: dict[float, int] = {}

    @rule(
        rank=st.sampled_from(list(RANKS.values())), tenant=st.sampled_from(["a", "b", "heavy"]), times=st.integers(1, 5)
    )
    def come(self, rank, tenant, times):
        for _ in range(times):
            new = ticket(rank, tenant)
            if not any(other.rank is rank for other in self.waiting):
                self.had_turn[rank.score] = self.turns
            self.line.add(new)
            self.waiting.append(new)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data):
        gone = data.draw(st.sampled_from(self.waiting))
        self.line.remove(gone)
        self.waiting.remove(gone)

    @precondition(lambda self: self.waiting)
    @rule(over=st.sampled_from([None, None, "a"]))
    def turn(self, over):
        self.now += 1
        self.turns += 1
        taken = self.line.take(self.now, lambda tenant: tenant == over)
        self.waiting.remove(taken)
        others = [one for one in self.waiting if one.tenant != over]
        if over is not None and others:
            assert taken.tenant != over
        same = [one for one in self.waiting if one.rank is taken.rank and one.tenant == taken.tenant]
        assert all(one.number > taken.number for one in same), "first come, first served"
        if self.turns % 4 and over is None:
            assert all(one.rank.score <= taken.rank.score for one in self.waiting)
        if over is None:
            self.had_turn[taken.rank.score] = self.turns
        else:
            self.had_turn = dict.fromkeys(self.had_turn, self.turns)
        for score in {one.rank.score for one in self.waiting}:
            assert self.turns - self.had_turn[score] <= 4 * (len(RANKS) + 1), "no score goes without for long"

    @precondition(lambda self: len(self.waiting) > 3)
    @rule(rank=st.sampled_from(list(RANKS.values())), tenant=st.sampled_from(["a", "b", "new"]))
    def too_many(self, rank, tenant):
        gone = self.line.lowest(rank, tenant, 0.5)
        if gone is not None:
            assert gone in self.waiting
            assert gone.rank.score <= max(rank.score, *(one.rank.score for one in self.waiting))
            self.line.remove(gone)
            self.waiting.remove(gone)

    @invariant()
    def all_are_there(self):
        assert len(self.line) == len(self.waiting)
        assert set(self.line) == set(self.waiting)
        assert self.line.tenants == Counter(one.tenant for one in self.waiting)


TestLine = LineMachine.TestCase
TestLine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=200))
def test_in_any_mix_each_tenant_is_served_at_most_its_share_behind(tenants):
    line = a_line(elder_turn=10_000)
    filled(line, *[(NEW, tenant) for tenant in tenants])
    left = Counter(tenants)
    while left:
        turns = Counter(one.tenant for one in served(line, len(left)))
        assert turns == Counter(dict.fromkeys(left, 1))
        left = Counter({tenant: count - 1 for tenant, count in left.items() if count > 1})
