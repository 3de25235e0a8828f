from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.limits import adaptive
from corral.limits.adaptive import AdaptiveLimit
from corral.settings.priority_sections import PrioritySettings

TOLERANCE = PrioritySettings().latency_tolerance


def a_limit(least=8, most=1000, **said):
    return AdaptiveLimit(least=least, most=most, tolerance=TOLERANCE, **said)


class Server:
    """Always as many callers as are let in; `latency_s` of how many there are says how long each takes."""

    def __init__(self, limit, latency_s, *, demand=10_000, seed=3, what="agent"):
        self.what = what
        self.limit = limit
        self.latency_s = latency_s
        self.demand = demand
        self.now = 1_000.0
        self.limits = []
        self._chance = random.Random(seed)

    def run(self, seconds):
        until = self.now + seconds
        running: list[tuple[float, float, int]] = []
        while self.now < until:
            while len(running) < min(int(self.limit), self.demand):
                took = self.latency_s(len(running) + 1) * (0.9 + 0.2 * self._chance.random())
                heapq.heappush(running, (self.now + took, self.now, len(running) + 1))
                self.limit.began(len(running), self.now, waits=self.demand > int(self.limit))
            ended, began, beside = heapq.heappop(running)
            self.now = ended
            self.limit.ended(self.what, ended - began, max(beside, len(running) + 1), ended)
            self.limits.append(int(self.limit))
        return self.limits[-1]


def knee(at, latency_s=0.2):
    return lambda running: latency_s * max(1.0, running / at)


@pytest.mark.parametrize("at", [20, 100, 400])
def test_it_finds_how_much_a_server_can_carry(at):
    server = Server(a_limit(), knee(at))
    server.run(60)
    late = server.limits[len(server.limits) // 2 :]
    assert 0.8 * at <= sum(late) / len(late) <= 1.5 * at


def test_it_follows_a_server_that_gets_weaker_and_recovers():
    server = Server(a_limit(), knee(100))
    server.run(60)
    server.latency_s = knee(25)
    assert server.run(60) <= 45
    server.latency_s = knee(100)
    assert server.run(120) >= 75


def test_a_server_that_is_flooded_from_the_start_is_found_out():
    server = Server(a_limit(), knee(4, 0.05))
    assert server.run(60) <= 12


def test_a_slower_answer_is_not_an_overloaded_one_for_long():
    server = Server(a_limit(least=8), knee(1_000, 0.2), demand=64)
    assert server.run(60) >= 64
    server.latency_s = knee(1_000, 0.6)  # another model, say
    server.run(120)
    assert server.run(300) >= 40


def test_what_nobody_asks_for_is_not_let_in():
    server = Server(a_limit(), knee(1_000), demand=5)
    assert server.run(60) == 32


def test_what_is_slow_with_few_is_not_for_us_to_speed_up():
    server = Server(a_limit(first=64), knee(1_000), demand=10)
    server.run(20)
    server.latency_s = knee(1_000, 2.0)
    assert server.run(60) == 64


def test_what_is_quicker_than_anybody_notices_is_not_load():
    server = Server(a_limit(first=16), lambda running: 0.0002 * running, demand=16)
    server.run(10)
    assert min(server.limits) == 16


def test_agents_of_all_speeds_say_the_same():
    limit = a_limit(first=20, most=20)
    server = Server(limit, knee(1_000), demand=20)
    slow = Server(limit, knee(1_000, 3.0), demand=20, what="slow")
    server.run(5)
    slow.now = server.now
    assert slow.run(30) == 20


def test_answers_that_take_now_long_and_now_short_are_no_load():
    chance = random.Random(5)
    server = Server(a_limit(), lambda _: chance.lognormvariate(0.0, 0.6))
    server.run(300)
    late = server.limits[len(server.limits) // 2 :]
    assert sum(late) / len(late) >= 60


def test_places_are_bounded(monkeypatch):
    monkeypatch.setattr(adaptive, "_PLACES_MAX", 3)
    limit = a_limit()
    for number in range(10):
        limit.began(1, 1_000.0 + number, waits=False)
        assert not limit.ended(f"model:{number}", 0.1, 1, 1_000.0 + number)
    assert len(limit._places) == 3


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 2_000), st.booleans(), st.floats(0, 2)), max_size=400),
    st.integers(1, 50),
    st.integers(1, 500),
)
def test_whatever_it_is_told_it_stays_within_its_bounds(samples, least, most):
    limit = a_limit(least=least, most=most)
    now = 1_000.0
    for latency_s, in_flight, waits, passes in samples:
        now += passes
        before = int(limit)
        limit.began(in_flight, now, waits=waits)
        changed = limit.ended("a", latency_s, in_flight, now)
        assert changed == (int(limit) != before)
        assert min(least, most) <= int(limit) <= most
