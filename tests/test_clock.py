"""Clocks: the store's, as far as it is known here."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.clock import StoreClock, new_time_id
from corral.errors import StoreUnavailable


class Machine:
    """A machine whose clock can be set while it runs."""

    wall, steady = 500.0, 10.0

    def now(self):
        return self.wall

    def monotonic(self):
        return self.steady


async def test_it_goes_by_the_store_whatever_the_machines_clock_says():
    machine, told = Machine(), [1_000.0]

    async def read():
        if not told:
            raise StoreUnavailable
        return told.pop()

    clock = StoreClock(read, machine)
    assert clock.now() == 500.0  # nobody has asked the store yet
    await clock.read()
    machine.wall, machine.steady = 99_999.0, 17.5
    assert clock.now() == 1_007.5
    with pytest.raises(StoreUnavailable):
        await clock.read()
    assert (clock.now(), clock.monotonic()) == (1_007.5, 17.5)


@given(st.lists(st.integers(0, 3), max_size=60))
def test_ids_sort_by_time_and_those_of_one_millisecond_by_when_they_were_made(steps):
    now, made = 1_700_000_000.0, []
    for step in steps:
        now += step / 2_000
        made.append(new_time_id(now))
    assert made == sorted(set(made))
    for one in made:
        assert uuid.UUID(one).version == 7
        assert uuid.UUID(one).variant == uuid.RFC_4122
        assert str(uuid.UUID(one)) == one


def test_a_clock_that_is_set_back_makes_no_id_twice():
    times = [1.0, 2.0, 1.0, 2.0] * 500
    assert len({new_time_id(time) for time in times}) == len(times)
