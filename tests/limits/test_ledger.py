"""What is written down, in what groups, and what becomes of it when the store is away."""

from __future__ import annotations

import asyncio
import threading

from limit_scene import LoopClock, in_jumping_time

from corral.backends.open import open_stores
from corral.errors import StoreUnavailable
from corral.limits.ledger import ledger_on
from corral.limits.store import LedgerEntry, SpendQuery
from corral.messages import Usage
from ready import ready_url


def entry(number, **more):
    return LedgerEntry(
        id=f"e-{number}",
        tenant="acme",
        provider="sim",
        model="sim/small",
        usage=Usage(input=10),
        cost_usd=0.25,
        at=LoopClock.now() if not more else more["at"],
    )


class Slate:
    """A store that notes what it is asked."""

    def __init__(self):
        self.groups = []
        self.away = False
        self.held = None

    async def write(self, entries):
        if self.held is not None:
            await self.held.wait()
        await asyncio.sleep(0.001)
        if self.away:
            raise StoreUnavailable("away")
        self.groups.append([one.id for one in entries])

    @property
    def ids(self):
        return [one for group in self.groups for one in group]


def ledger_of(slate, **more):
    return ledger_on(slate, chance=lambda: 0.5, **more)


def test_entries_are_written_in_groups_soon_after():
    async def scene():
        slate = Slate()
        ledger = ledger_of(slate)
        ledger.add(entry("early"))
        await ledger.start()
        await ledger.start()
        for number in range(1_200):
            ledger.add(entry(number))
        await asyncio.sleep(1.0)
        assert [len(group) for group in slate.groups] == [500, 500, 201]
        assert slate.ids == ["e-early", *(f"e-{number}" for number in range(1_200))]
        assert (ledger.written, ledger.pending, ledger.dropped) == (1_201, 0, 0)
        ledger.add(entry("more"))
        await asyncio.sleep(0.6)
        assert slate.ids[-1] == "e-more"
        await ledger.stop()
        await ledger.stop()

    in_jumping_time(scene)


def test_what_was_added_is_written_by_drain_and_by_stop():
    async def scene():
        slate = Slate()
        ledger = ledger_of(slate)
        await ledger.drain()
        await ledger.start()
        ledger.add(entry(1))
        await ledger.drain()
        assert slate.ids == ["e-1"]
        ledger.add(entry(2))
        await ledger.stop()
        assert slate.ids == ["e-1", "e-2"]

    in_jumping_time(scene)


def test_a_store_that_is_away_loses_nothing_and_the_order_stays():
    async def scene():
        slate = Slate()
        ledger = ledger_of(slate)
        await ledger.start()
        slate.away = True
        for number in range(700):
            ledger.add(entry(number))
            await asyncio.sleep(0.01)
        assert ledger.pending == 700
        await ledger.drain()
        slate.away = False
        await asyncio.sleep(15)
        assert slate.ids == [f"e-{number}" for number in range(700)]
        assert ledger.dropped == 0
        await ledger.stop()

    in_jumping_time(scene)


def test_more_than_there_is_room_for_is_counted_and_the_newest_stay():
    async def scene():
        slate = Slate()
        slate.held = asyncio.Event()
        ledger = ledger_of(slate, pending_max=100)
        await ledger.start()
        for number in range(60):
            ledger.add(entry(number))
        await asyncio.sleep(1)  # a group of sixty is on its way
        slate.away = True
        for number in range(60, 200):
            ledger.add(entry(number))
        slate.held.set()
        await asyncio.sleep(0.1)
        assert (ledger.pending, ledger.dropped) == (100, 100)
        slate.away = False
        await asyncio.sleep(15)
        assert slate.ids == [f"e-{number}" for number in range(100, 200)]
        await ledger.stop()

    in_jumping_time(scene)


def test_a_stop_while_the_store_is_away_ends_and_says_what_is_lost():
    async def scene():
        slate = Slate()
        ledger = ledger_of(slate)
        await ledger.start()
        slate.away = True
        ledger.add(entry(1))
        await ledger.stop()
        assert (ledger.pending, ledger.dropped) == (0, 1)
        hanging = ledger_of(slate)
        slate.held = asyncio.Event()
        await hanging.start()
        hanging.add(entry(2))
        begun = LoopClock.monotonic()
        await hanging.stop()
        assert LoopClock.monotonic() - begun < 15
        assert hanging.dropped == 1

    in_jumping_time(scene)


async def test_entries_may_come_from_any_thread_and_land_in_the_store(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    ledger = ledger_on(stores.ledger)
    await ledger.start()
    threads = [
        threading.Thread(target=lambda name=name: [ledger.add(entry(f"{name}-{n}", at=1000.0)) for n in range(50)])
        for name in range(4)
    ]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    await ledger.stop()
    (line,) = await stores.ledger.spend("acme", SpendQuery())
    assert (line.calls, line.cost_usd) == (200, 50.0)
    await stores.stop()
