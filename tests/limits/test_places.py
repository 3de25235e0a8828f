"""So many at the same time: here, together with other workers, and without the store."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limit_scene import LoopClock, MemoryLimits, in_jumping_time

from corral.limits.places import Places, Taken, TooManyAtOnce, changed
from corral.limits.rates import LimitsUnavailable
from corral.limits.rules import Visitor

ADA = Visitor(tenant="acme", user="ada", session="s-1")


def places_on(store, most, **more):
    return Places(most, store=store, clock=LoopClock(), **more)


async def enters(places, visitor=ADA):
    try:
        return await places.enter(visitor)
    except TooManyAtOnce:
        return None


@pytest.mark.parametrize("store", [None, MemoryLimits()])
def test_as_many_as_may_and_one_more_when_one_has_left(store):
    async def scene():
        places = places_on(store, {"user": 2})
        first, second = await enters(places), await enters(places)
        assert first is not None
        assert second is not None
        assert await enters(places) is None
        bob = await enters(places, Visitor(tenant="acme", user="bob"))
        assert bob is not None
        first.leave()
        first.leave()
        again = await enters(places)
        assert again is not None
        for stay in (second, bob, again):
            stay.leave()
        await places.stop()
        assert places.running == 0

    in_jumping_time(scene)


def test_workers_count_together():
    async def scene():
        store = MemoryLimits()
        workers = [places_on(store, {"tenant": 50}) for _ in range(4)]
        running = most = 0

        async def ask(places):
            nonlocal running, most
            stay = await enters(places)
            if stay is None:
                return 0
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.5)
            running -= 1
            stay.leave()
            return 1

        passed = 0
        for _ in range(10):
            passed += sum(await asyncio.gather(*(ask(places) for places in workers * 20)))
        assert most == 50
        assert passed >= 450
        for places in workers:
            await places.stop()
        assert [places.running for places in workers] == [0] * 4

    in_jumping_time(scene)


def test_what_a_dead_worker_had_is_free_again():
    async def scene():
        store = MemoryLimits()
        dead, alive = (places_on(store, {"user": 1}) for _ in range(2))
        assert await enters(dead) is not None
        assert await enters(alive) is None
        await asyncio.sleep(60)
        assert await enters(alive) is None  # it renews, for it is not dead yet
        await dead.stop()
        dead._renewer = asyncio.create_task(asyncio.sleep(0))
        await asyncio.sleep(11)
        stay = await enters(alive)
        assert stay is not None
        stay.leave()
        await alive.stop()

    in_jumping_time(scene)


def test_who_may_wait_waits_for_one_to_end():
    async def scene():
        store = MemoryLimits()
        one, other = (places_on(store, {"user": 1}, wait_s=2.0) for _ in range(2))
        stay = await enters(one)
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, stay.leave)
        began = loop.time()
        second = await enters(other)
        assert second is not None
        assert 1.0 <= loop.time() - began < 1.5
        assert await enters(one) is None
        assert loop.time() - began > 2.9
        second.leave()
        await one.stop()
        await other.stop()

    in_jumping_time(scene)


def test_one_limit_that_is_full_takes_nothing_of_the_others():
    async def scene():
        places = places_on(MemoryLimits(), {"session": 1, "user": 2})
        assert await enters(places) is not None
        assert await enters(places) is None
        assert await enters(places, Visitor(tenant="acme", user="ada", session="s-2")) is not None
        assert await enters(places, Visitor(tenant="acme", user="ada")) is None
        await places.stop()

    in_jumping_time(scene)


def test_without_the_store():
    async def scene():
        store = MemoryLimits()
        store.away = True
        part = places_on(store, {"user": 4}, workers=2)
        assert [await enters(part) is not None for _ in range(3)] == [True, True, False]
        is_open = places_on(store, {"user": 2}, when_down="open")
        assert [await enters(is_open) is not None for _ in range(3)] == [True, True, False]
        closed = places_on(store, {"user": 4}, when_down="closed")
        with pytest.raises(LimitsUnavailable):
            await closed.enter(ADA)
        assert closed.running == 0

    in_jumping_time(scene)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.floats(0, 20)), max_size=60), st.integers(1, 8))
def test_together_never_more_than_may(steps, limit):
    there, now, has = Taken(), 0.0, dict.fromkeys(range(4), (0, 0.0))
    for worker, count, passed_s in steps:
        now += passed_s
        there, fits = changed(there, str(worker), count, limit=limit, now=now, lease_s=10.0)
        if fits:
            has[worker] = (count, now + 10.0)
        assert sum(count for count, until in has.values() if until > now) <= max(limit, count)
        assert sum(part[0] for part in there.by.values()) <= limit
