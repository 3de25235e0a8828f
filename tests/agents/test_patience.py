"""How long a run waits for its model, with one timer for all its questions."""

from __future__ import annotations

import asyncio
import time

import pytest

from corral.agents.failing import TimeExceeded
from corral.agents.patience import Patience
from corral.clock import SYSTEM_CLOCK


def patience(seconds: float) -> Patience:
    return Patience(SYSTEM_CLOCK, time.monotonic() + seconds)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_who_waits_is_woken_at_the_deadline_and_lives_on():
    waiting = patience(0.02)
    begun = time.monotonic()
    with pytest.raises(TimeExceeded, match="longer than the agent may"), waiting:
        await forever()
    assert 0.015 <= time.monotonic() - begun < 5
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_one_timer_serves_all_blocks_and_none_is_left():
    waiting = patience(60)
    timers = set()
    for _ in range(5):
        with waiting:
            await asyncio.sleep(0)
        timers.add(waiting._timer)
    (timer,) = timers
    waiting.close()
    assert timer.cancelled()
    waiting.close()
    patience(60).close()  # nothing was ever waited for


async def test_time_that_ran_out_between_two_blocks_ends_the_next_at_once():
    waiting = patience(-1)
    with waiting:
        pass
    assert waiting._timer is not None
    waiting._timer.cancel()
    waiting._end()
    async with asyncio.timeout(10):
        with pytest.raises(TimeExceeded), waiting:
            await forever()


async def test_what_came_in_time_counts_although_the_end_was_near():
    waiting = patience(0.005)
    with waiting:
        try:
            await forever()
        except asyncio.CancelledError:
            answer = "said at last"
    assert answer
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_is_cancelled_from_outside_is_cancelled():
    waiting = patience(60)

    async def wait() -> None:
        with waiting:
            try:
                await forever()
            finally:
                waiting._end()  # and then time runs out as well

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_model_that_gives_up_by_itself_is_late_only_when_time_is_up():
    with pytest.raises(TimeoutError, match="its own"), patience(60):
        raise TimeoutError("its own")
    with pytest.raises(TimeExceeded), patience(-1):
        raise TimeoutError("its own")
    with pytest.raises(ValueError, match="something else"), patience(-1):
        raise ValueError("something else")
