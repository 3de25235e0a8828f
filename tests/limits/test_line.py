from __future__ import annotations

import asyncio
from collections import Counter

from corral.limits.learning import OutputSizes, hear, hear_refusal
from corral.limits.line import Line, Waiter


def waiter(priority=5, deadline=100.0, tokens=10.0):
    return Waiter(priority, deadline, tokens, asyncio.get_running_loop().create_future())


def served(line, count):
    order = []
    for _ in range(count):
        first = line.first()
        line.take(first)
        first.future.set_result(None)
        order.append(first)
    return order


async def test_classes_take_turns_by_weight():
    line = Line()
    for priority in (9, 5, 3, 1):
        for _ in range(400):
            line.add(waiter(priority))
    shares = Counter(one.priority for one in served(line, 190))
    assert [round(shares[priority] / 10) for priority in (9, 5, 3, 1)] == [10, 5, 3, 1]


async def test_large_calls_use_up_a_class_s_turn():
    line = Line()
    for _ in range(100):
        line.add(waiter(5, tokens=100))
        line.add(waiter(5, tokens=100))
        line.add(waiter(4, tokens=10))
    order = served(line, 100)
    tokens = Counter()
    for one in order:
        tokens[one.priority] += one.tokens
    assert tokens[5] > tokens[4] > 0


async def test_within_a_class_the_nearest_deadline_is_first_and_then_who_came_first():
    line = Line()
    late, soon, also_soon = waiter(deadline=50), waiter(deadline=10), waiter(deadline=10)
    for one in (late, soon, also_soon):
        line.add(one)
    assert served(line, 3) == [soon, also_soon, late]
    assert line.first() is None
    assert (line.waiting, line.tokens) == (0, 0)


async def test_a_class_that_comes_late_has_saved_nothing_up():
    line = Line()
    for _ in range(100):
        line.add(waiter(5))
    served(line, 50)
    for _ in range(100):
        line.add(waiter(4))
    assert 30 < Counter(one.priority for one in served(line, 90))[4] < 50


async def test_who_leaves_is_not_served_and_leaves_nothing():
    line = Line()
    gone, stays = waiter(deadline=1), waiter(deadline=2)
    line.add(gone)
    line.add(stays)
    gone.future.cancel()
    line.left(gone)
    assert (line.waiting, line.tokens) == (1, 10)
    assert served(line, 1) == [stays]
    assert line.first() is None
    assert not line._classes


async def test_a_priority_outside_of_all_classes_is_the_nearest_one():
    assert (waiter(99).priority, waiter(-1).priority) == (9, 0)


def test_what_is_heard_is_gathered():
    class Seen:
        def __init__(self, tokens_left=None, requests_left=None, tokens_limit=None, requests_limit=None):
            self.tokens_left, self.requests_left = tokens_left, requests_left
            self.tokens_limit, self.requests_limit = tokens_limit, requests_limit

    assert hear(None, None) is None
    heard = hear(hear(None, Seen(tokens_left=5, tokens_limit=100)), Seen(tokens_left=9, requests_left=3))
    assert (heard.tokens_left, heard.requests_left, heard.tokens_limit, heard.refused) == (5, 3, 100, False)
    heard = hear_refusal(hear_refusal(hear_refusal(heard, 2.0), 1.0), None)
    assert (heard.refused, heard.retry_after_s) == (True, 2.0)


def test_answers_are_expected_to_be_longer_than_most_are():
    sizes = OutputSizes(at_first=500)
    assert sizes.of("m") == 500
    for number in range(2_000):
        sizes.learn("m", (number * 37) % 100)
    assert 65 < sizes.of("m") < 97
    for number in range(2_000):
        sizes.learn(f"m-{number}", 1)
    assert len(sizes._sizes) == 1_000
