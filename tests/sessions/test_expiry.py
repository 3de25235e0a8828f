from __future__ import annotations

import asyncio

import pytest
from session_scene import KEY

from corral.sessions.event import Draft
from corral.sessions.expiry import Sweeper


async def nothing():
    return 0


async def test_what_has_expired_is_swept(stores):
    swept = asyncio.Event()

    async def sweep():
        gone = await stores.sessions.expire()
        if gone:
            swept.set()
        return gone

    draft = Draft(role="user", content=[], ttl_s=0.001)
    await stores.sessions.append(KEY, [draft] * 3)
    sweeper = Sweeper({"sessions": sweep}, period_s=0.01)
    await sweeper.start()
    await swept.wait()
    await sweeper.stop()


async def test_a_backlog_is_swept_at_once_but_not_for_ever():
    calls = 0
    done = asyncio.Event()

    async def endless():
        nonlocal calls
        calls += 1
        return 1000

    async def following():
        done.set()
        return 0

    sweeper = Sweeper({"endless": endless, "following": following}, period_s=60, chance=lambda: 0.0)
    await sweeper.start()
    await done.wait()
    assert calls == 20
    await sweeper.stop()


async def test_one_that_fails_is_tried_again_and_stops_nobody_else(caplog):
    calls = {"bad": 0, "good": 0}
    twice = asyncio.Event()

    async def bad():
        calls["bad"] += 1
        raise RuntimeError("no luck")

    async def good():
        calls["good"] += 1
        if calls["good"] == 2:
            twice.set()
        return 0

    sweeper = Sweeper({"answers": bad, "spans": good}, period_s=0.001)
    await sweeper.start()
    await twice.wait()
    await sweeper.stop()
    assert calls["bad"] >= 2
    assert "Cannot sweep expired answers, will try again: no luck" in caplog.text


async def test_draining_lets_a_running_sweep_finish():
    begun, go_on, finished = asyncio.Event(), asyncio.Event(), []

    async def slow():
        begun.set()
        await go_on.wait()
        finished.append(1)
        return 1

    sweeper = Sweeper({"slow": slow}, period_s=60, chance=lambda: 0.0)
    await sweeper.start()
    await begun.wait()
    draining = asyncio.create_task(sweeper.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    go_on.set()
    await draining
    assert finished == [1]


async def test_stopping_does_not_wait_for_a_sweep():
    begun = asyncio.Event()

    async def stuck():
        begun.set()
        await asyncio.Event().wait()

    sweeper = Sweeper({"stuck": stuck}, period_s=60, chance=lambda: 0.0)
    await sweeper.start()
    await begun.wait()
    await sweeper.stop()


async def test_each_step_may_be_taken_twice_or_not_at_all():
    sweeper = Sweeper({"nothing": nothing}, period_s=60)
    await sweeper.drain()
    await sweeper.stop()
    sweeper = Sweeper({"nothing": nothing}, period_s=60)
    await sweeper.start()
    task = sweeper._task
    await sweeper.start()
    assert sweeper._task is task
    for _ in range(2):
        await sweeper.drain()
    for _ in range(2):
        await sweeper.stop()
    assert task.done()


async def test_periods_are_jittered():
    chances = iter([0.5, 0.0, 1.0])
    pauses = []

    class Noted(Sweeper):
        async def _paused(self, seconds):
            pauses.append(seconds)
            return len(pauses) == 3

    sweeper = Noted({"nothing": nothing}, period_s=10, chance=lambda: next(chances))
    await sweeper.start()
    await sweeper._task
    assert pauses == pytest.approx([5, 8, 12])
