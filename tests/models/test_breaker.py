from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from corral.models.breaker import Breaker

PAUSE_S = 30.0
FAILURES = 3


def make() -> Breaker:
    return Breaker(failures=FAILURES, pause_s=PAUSE_S)


def fail(breaker: Breaker, now: float) -> None:
    era = breaker.enter(now)
    assert era is not None
    breaker.failed(era, now, "no")


def test_it_opens_after_failures_in_a_row_and_a_success_between_begins_the_row_anew():
    breaker = make()
    for _ in range(FAILURES - 1):
        fail(breaker, 0)
    breaker.succeeded(breaker.enter(0))
    for _ in range(FAILURES - 1):
        fail(breaker, 0)
    assert breaker.state(0) == "closed"
    fail(breaker, 0)
    assert breaker.state(0) == "open"
    assert breaker.reason == "no"
    assert breaker.enter(1) is None
    assert breaker.wait_s(10) == 20


def test_half_of_the_last_twenty_is_too_much_even_if_never_many_in_a_row():
    breaker = Breaker(failures=100, pause_s=PAUSE_S)
    for number in range(20):
        if number % 2:
            fail(breaker, 0)
        else:
            breaker.succeeded(breaker.enter(0))
    assert breaker.state(0) == "open"


def test_one_call_tries_again_and_decides():
    breaker = make()
    for _ in range(FAILURES):
        fail(breaker, 0)
    assert breaker.state(PAUSE_S) == "half_open"
    probe = breaker.enter(PAUSE_S)
    assert probe is not None
    assert breaker.enter(PAUSE_S) is None
    breaker.failed(probe, PAUSE_S, "still not")
    assert breaker.state(PAUSE_S + 1) == "open"
    probe = breaker.enter(2 * PAUSE_S)
    breaker.succeeded(probe)
    assert breaker.state(2 * PAUSE_S) == "closed"


def test_a_probe_that_was_not_waited_for_makes_room_for_the_next():
    breaker = make()
    for _ in range(FAILURES):
        fail(breaker, 0)
    probe = breaker.enter(PAUSE_S)
    breaker.left(probe)
    assert breaker.enter(PAUSE_S) is not None


def test_word_from_before_changes_nothing():
    breaker = make()
    old = breaker.enter(0)
    for _ in range(FAILURES):
        fail(breaker, 0)
    breaker.succeeded(old)
    assert breaker.state(0) == "open"
    probe = breaker.enter(PAUSE_S)
    breaker.left(old)
    assert breaker.enter(PAUSE_S) is None, "the probe is still under way"
    breaker.failed(old, PAUSE_S, "late")
    breaker.succeeded(probe)
    assert breaker.state(PAUSE_S) == "closed"


class BreakerMachine(RuleBasedStateMachine):
    """However calls begin and end, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = make()
        self.under_way: list[tuple[int, str]] = []

    @rule(seconds=st.sampled_from([0.5, 10.0, PAUSE_S]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def begin(self):
        state, allowed = self.breaker.state(self.now), self.breaker.allows(self.now)
        era = self.breaker.enter(self.now)
        assert (era is not None) == allowed
        assert not (state == "open" and era is not None)
        if era is not None:
            self.under_way.append((era, state))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), end=st.sampled_from(["ok", "failed", "left"]))
    def end(self, data, end):
        index = data.draw(st.integers(0, len(self.under_way) - 1))
        era, state = self.under_way.pop(index)
        before = self.breaker.state(self.now)
        if end == "ok":
            self.breaker.succeeded(era)
        elif end == "failed":
            self.breaker.failed(era, self.now, "no")
        else:
            self.breaker.left(era)
        after = self.breaker.state(self.now)
        if before != "closed" and state == "closed":
            assert after == before, "a call from before it opened decides nothing"
        if before == "half_open" and state == "half_open" and end == "ok":
            assert after == "closed"

    @invariant()
    def at_most_one_probe(self):
        if self.breaker.opened_at is not None:
            probes = [era for era, state in self.under_way if state == "half_open" and era == self.breaker._era]
            assert len(probes) <= 1

    @invariant()
    def it_never_stays_shut(self):
        """With nothing under way, it lets somebody try once its pause is over."""
        if not self.under_way:
            assert self.breaker.allows(self.now + PAUSE_S)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
