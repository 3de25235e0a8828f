"""The arithmetic of limits, whatever the order of exchanges and whoever dies."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corral.limits.buckets import LEARNT_MIN, Ask, Heard, Rule, closed, exchange, opened

RULE = Rule(tokens_per_minute=6_000, tokens_capacity=1_000, requests_per_minute=600, concurrency=5)
LEASE_S = 2.0
START = 1_700_000_000.0


class Ideal:
    """A bucket that counts what calls really take: it must never be empty when they do."""

    def __init__(self, capacity, per_s):
        self.capacity = self.level = capacity
        self.per_s = per_s
        self.at = START

    def take(self, amount, now):
        self.level = min(self.capacity, self.level + (now - self.at) * self.per_s) - amount
        self.at = now
        assert self.level >= -1e-6

    def put_back(self, amount, now):
        self.take(0, now)
        self.level = min(self.capacity, self.level + amount)


class Worker:
    def __init__(self, name):
        self.name = name
        self.seq = 0
        self.tokens = self.requests = self.refund = 0.0
        self.slots = self.used = 0
        self.until = 0.0


class House:
    """Workers that exchange with one state, and what they really use of it."""

    def __init__(self, rule, workers):
        self.rule, self.now, self.body = rule, START, b""
        self.workers = [Worker(f"w-{n}") for n in range(workers)]
        self.lives = workers
        self.tokens = Ideal(rule.tokens_max, rule.tokens_per_minute / 60)
        self.requests = Ideal(rule.requests_max, rule.requests_per_minute / 60)
        self.dead = []

    def exchange(self, worker, *, need=0.0, want=0.0, slots=0, keep=False):
        worker.seq += 1
        live = self.now < worker.until
        ask = Ask(
            holder=worker.name,
            seq=worker.seq,
            lease_s=LEASE_S,
            back_tokens=worker.tokens if live else 0.0,
            back_requests=worker.requests if live else 0.0,
            keep_tokens=worker.tokens if keep and live else 0.0,
            keep_requests=worker.requests if keep and live else 0.0,
            refund=worker.refund,
            used=worker.used,
            need_tokens=need,
            need_requests=1.0 if need else 0.0,
            need_slots=1 if need else 0,
            want_tokens=want,
            want_requests=5.0 if want else 0.0,
            want_slots=worker.used + slots,
        )
        state = opened(self.body, self.rule, self.now)
        grant = exchange(state, self.rule, ask, self.now)
        again = exchange(state, self.rule, ask, self.now)  # the first answer was lost
        assert (again.tokens, again.requests, again.slots) == (grant.tokens, grant.requests, grant.slots)
        self.body = closed(state)
        worker.refund = 0.0
        worker.tokens, worker.requests, worker.slots = grant.tokens, grant.requests, grant.slots
        worker.until = self.now + LEASE_S
        assert grant.tokens >= 0
        assert grant.wait_s is None or grant.wait_s > 0
        if need and grant.wait_s is None:
            assert grant.tokens >= need
        return grant

    def use(self, worker, amount):
        """A call begins, if its worker may let it."""
        if self.now >= worker.until or worker.tokens < amount or worker.requests < 1 or worker.used >= worker.slots:
            return
        worker.tokens -= amount
        worker.requests -= 1
        worker.used += 1
        self.tokens.take(amount, self.now)
        self.requests.take(1, self.now)
        calls = sum(one.used for one in self.workers) + sum(used for used, until in self.dead if until > self.now)
        assert calls <= self.rule.concurrency

    def end(self, worker, refund):
        if worker.used:
            worker.used -= 1
            worker.refund += refund
            self.tokens.put_back(refund, self.now)

    def kill(self, index):
        worker = self.workers[index]
        self.dead.append((worker.used, worker.until))
        self.workers[index] = Worker(f"w-{self.lives}")
        self.lives += 1


steps = st.one_of(
    st.tuples(st.just("pass"), st.floats(0.01, 1.9)),
    st.tuples(
        st.just("ask"), st.integers(0, 3), st.floats(0, 1_000), st.floats(0, 3_000), st.integers(0, 4), st.booleans()
    ),
    st.tuples(st.just("use"), st.integers(0, 3), st.floats(1, 600)),
    st.tuples(st.just("end"), st.integers(0, 3), st.floats(0, 300)),
    st.tuples(st.just("kill"), st.integers(0, 3)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=60))
@example([("ask", 0, 1000.0, 0.0, 1, False), ("pass", 1.9), ("ask", 1, 500.0, 0.0, 1, False), ("use", 0, 600.0)])
def test_workers_together_never_use_more_than_the_limit(plan):  # noqa: C901 - one case per kind of step
    house = House(RULE, 4)
    for step in plan:
        match step:
            case ("pass", seconds):
                house.now += seconds
                for worker in house.workers:  # who has calls running renews in time
                    if worker.used and house.now >= worker.until - 0.1:
                        house.now = min(house.now, worker.until - 0.01)
                for worker in house.workers:
                    if worker.used:
                        house.exchange(worker, want=worker.tokens, slots=0, keep=True)
            case ("ask", index, need, want, slots, keep):
                house.exchange(house.workers[index], need=need, want=want, slots=slots + 1, keep=keep)
            case ("use", index, amount):
                house.use(house.workers[index], amount)
            case ("end", index, refund):
                house.end(house.workers[index], refund)
            case ("kill", index):
                house.kill(index)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(1, 1_000)), min_size=1, max_size=40), st.floats(0.05, 1.0))
def test_who_waits_the_longest_is_served_whatever_others_want(asks, every_s):
    house = House(RULE, 6)
    patient, greedy = house.workers[0], house.workers[1:]
    house.exchange(greedy[0], need=900, want=2_000, slots=1)
    waited = 0.0
    while house.exchange(patient, need=1_000, slots=1).wait_s is not None:
        for index, need in asks:
            if index:
                house.exchange(house.workers[index], need=need, want=3_000, slots=1)
        house.now += every_s
        waited += every_s
        assert waited < 30  # the bucket fills in ten seconds, after every lease before is over


def test_a_worker_that_dies_loses_its_lease_and_no_more():
    house = House(RULE, 2)
    house.exchange(house.workers[0], need=100, want=400, slots=3)
    house.now += LEASE_S + 0.01
    grant = house.exchange(house.workers[1], want=10_000, slots=10)
    assert grant.slots == 5
    assert grant.tokens + grant.tokens_left == pytest.approx(600 + 100 * (LEASE_S + 0.01))
    assert grant.holders == 1


def test_what_a_worker_gives_back_is_there_for_others():
    house = House(RULE, 2)
    house.exchange(house.workers[0], want=1_000, slots=3)
    house.exchange(house.workers[0])
    assert house.exchange(house.workers[1], want=1_000, slots=5).tokens == pytest.approx(1_000)


def test_slots_are_shared_fairly_once_others_wait_for_one():
    house = House(RULE, 2)
    busy, late = house.workers
    busy.used = 5
    assert house.exchange(busy, slots=0).slots == 5
    assert house.exchange(late, need=1, slots=1).wait_s == pytest.approx(LEASE_S / 8)
    assert house.exchange(busy, slots=2).slots_fair == 2
    busy.used = 2
    assert house.exchange(busy, slots=3).slots == 2
    assert house.exchange(late, need=1, slots=1).slots >= 1


def heard(house, **what):
    state = opened(house.body, house.rule, house.now)
    worker = house.workers[0]
    worker.seq += 1
    ask = Ask(holder=worker.name, seq=worker.seq, lease_s=LEASE_S, need_tokens=10, need_requests=1, heard=Heard(**what))
    grant = exchange(state, house.rule, ask, house.now)
    house.body = closed(state)
    return state, grant


def test_a_refusal_keeps_every_worker_away_and_slows_all_down():
    house = House(RULE, 2)
    state, grant = heard(house, refused=True, retry_after_s=7.0)
    assert grant.frozen_s == 7
    assert state.learnt == 0.75
    other = house.exchange(house.workers[1], need=10, slots=1)
    assert other.tokens == 0
    assert other.wait_s == pytest.approx(7, abs=0.01)
    assert other.tokens_per_s == pytest.approx(75)
    house.now += 7.01
    assert house.exchange(house.workers[1], need=10, slots=1).wait_s is None
    house.now += 60
    assert house.exchange(house.workers[1], need=10, slots=1).tokens_per_s == pytest.approx(100)


def test_refusals_that_come_together_slow_down_once_and_never_to_nothing():
    house = House(RULE, 1)
    for _ in range(5):
        state, _ = heard(house, refused=True, retry_after_s=0.1)
    assert state.learnt == 0.75
    for _ in range(50):
        house.now += 1.0
        state, grant = heard(house, refused=True)
    assert state.learnt == pytest.approx(LEARNT_MIN, abs=0.02)
    assert grant.frozen_s == 1


def test_a_pause_that_a_provider_asks_for_is_bounded():
    _, grant = heard(House(RULE, 1), refused=True, retry_after_s=1e9)
    assert grant.frozen_s == 600


def test_a_provider_that_counts_less_left_is_believed_and_one_that_counts_more_is_not():
    house = House(RULE, 1)
    state, _ = heard(house, tokens_left=200, requests_left=50)
    assert (state.tokens, state.requests) == (190, 49)
    state, _ = heard(house, tokens_left=900, requests_left=500)
    assert (state.tokens, state.requests) == (180, 48)
    state, grant = heard(house, tokens_limit=3_000, requests_limit=60)
    assert (grant.tokens_per_s, grant.requests_per_s) == (50, 1)
    state, grant = heard(house, tokens_limit=60_000, requests_limit=6_000)
    assert (grant.tokens_per_s, grant.requests_per_s) == (100, 10)


def test_without_limits_only_calls_are_counted_and_a_refusal_means_fewer_at_a_time():
    rule = Rule(concurrency=10)
    state = opened(b"", rule, START)
    grant = exchange(
        state, rule, Ask(holder="a", seq=1, lease_s=2, need_tokens=5_000, need_slots=1, want_slots=20), START
    )
    assert (grant.slots, grant.wait_s, grant.tokens) == (10, None, 0)
    refused = Ask(holder="a", seq=2, lease_s=2, want_slots=20, heard=Heard(refused=True, retry_after_s=0.0))
    assert exchange(state, rule, refused, START).slots == 7
    assert not rule.is_metered


def test_nothing_at_all_may_be_limited():
    rule = Rule(concurrency=None)
    state = opened(b"", rule, START)
    grant = exchange(state, rule, Ask(holder="a", seq=1, lease_s=2, need_tokens=1e9, want_slots=500), START)
    assert (grant.slots, grant.wait_s) == (500, None)


def test_debts_are_paid_before_anything_is_given():
    house = House(RULE, 1)
    (worker,) = house.workers
    worker.refund = -1_500.0
    grant = house.exchange(worker, need=100, slots=1)
    assert grant.wait_s == pytest.approx(6.0, abs=0.01)
