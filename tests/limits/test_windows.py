"""Windows of time: never more than the limit in any of them, and hardly less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.limits.windows import CELLS, Ask, Window, decode_window, taken

LIMIT, WINDOW_S = 10.0, 64.0
CELL_S = WINDOW_S / CELLS


def take(window, amount, now, **more):
    return taken(window, Ask(need=amount, want=amount, **more), limit=LIMIT, window_s=WINDOW_S, now=now)


def test_what_is_taken_is_free_again_a_window_later():
    window, grant = take(Window(), 10, 1000.0)
    assert (grant.amount, grant.used, grant.wait_s) == (10, 10, None)
    window, refused = take(window, 1, 1000.0)
    assert (refused.amount, refused.used) == (0, 10)
    assert WINDOW_S <= refused.wait_s <= WINDOW_S + CELL_S
    _, early = take(window, 1, 1000.0 + refused.wait_s - 0.01)
    assert early.amount == 0
    _, again = take(window, 10, 1000.0 + refused.wait_s)
    assert again.amount == 10


def test_some_come_free_before_others():
    window, _ = take(Window(), 4, 0.0)
    window, _ = take(window, 6, 32.0)
    _, few = take(window, 4, 33.0)
    _, more = take(window, 5, 33.0)
    assert few.wait_s == pytest.approx(WINDOW_S + CELL_S - 33.0)
    assert more.wait_s == pytest.approx(32.0 + WINDOW_S + CELL_S - 33.0)


def test_more_than_the_limit_is_never_granted_and_nobody_waits_for_it():
    _, grant = take(Window(), 10.5, 0.0)
    assert (grant.amount, grant.wait_s) == (0, None)


def test_as_much_as_there_is_of_what_is_wanted():
    window, _ = take(Window(), 7, 0.0)
    _, grant = taken(window, Ask(need=1, want=50), limit=LIMIT, window_s=WINDOW_S, now=0.0)
    assert (grant.amount, grant.used) == (3, 10)


def test_what_comes_back_is_free_at_once():
    window, _ = take(Window(), 4, 0.0)
    window, _ = take(window, 6, 5.0)
    window, grant = take(window, 5, 6.0, back=8.0)
    assert (grant.amount, grant.used) == (5, 7)
    _, over = take(window, 0, 6.0, back=-2.0)
    assert over.used == 9


def test_what_comes_back_after_its_time_makes_no_room_twice():
    window, grant = take(Window(), 5, 0.0, back=100.0)
    assert grant.used == 5
    _, refused = take(window, 6, 0.0)
    assert refused.amount == 0


def test_a_clock_that_is_set_back():
    window, _ = take(Window(), 9, 1000.0)
    a_little, grant = take(window, 1, 990.0)
    assert (grant.amount, take(a_little, 1, 1000.0)[1].amount) == (1, 0)
    _, grant = take(window, 10, 500.0)
    assert grant.amount == 10


def test_it_is_kept_and_read():
    window, _ = take(Window(), 4, 12.5)
    assert decode_window(window.encoded()) == window


@given(
    st.lists(
        st.tuples(st.floats(0.0, 9.0), st.floats(0.1, 6.0)),
        min_size=1,
        max_size=80,
    )
)
def test_no_window_ever_holds_more(steps):
    """Asks at any times: what was granted in any stretch as long as a window is within the limit."""
    now, window, granted = 0.0, Window(), []
    for pause_s, amount in steps:
        now += pause_s
        window, grant = take(window, amount, now)
        granted.append((now, grant.amount))
        since = sum(amount for at, amount in granted if at > now - WINDOW_S)
        assert since <= LIMIT + 1e-9
        assert len(window.cells) <= CELLS + 1
        # and never refused while there is room, but for what is in the cell that is about to go
        if not grant.amount:
            with_one_more = sum(one for at, one in granted if at > now - WINDOW_S - CELL_S)
            assert with_one_more + amount > LIMIT - 1e-9
