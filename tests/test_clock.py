"""Clocks: the store's, as far as it is known here."""

from __future__ import annotations

import pytest

from corral.clock import StoreClock
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
