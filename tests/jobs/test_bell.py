from __future__ import annotations

import asyncio

from corral.jobs.bell import Bell


async def test_a_ring_ends_the_wait():
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    bell.ring()
    bell.ring()
    assert await waiting
    assert not await bell.wait(0.001)


async def test_a_ring_that_came_before_is_not_forgotten():
    bell = Bell()
    bell.ring()
    bell.ring()
    assert await bell.wait()
    assert not await bell.wait(0.001)


async def test_a_wait_that_was_cancelled_leaves_nothing_behind():
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(1000))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    bell.ring()
    assert await bell.wait(1000)
