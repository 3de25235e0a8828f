from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_scene import settled

from corral.models.batching import answered_all


@settings(deadline=None)
@given(
    fails=st.lists(st.booleans(), max_size=40),
    at_once=st.integers(1, 10),
    pauses=st.lists(st.integers(0, 4), min_size=1),
)
async def test_order_is_kept_and_failures_stay_alone(fails, at_once, pauses):
    under_way = most = 0
    progress = []

    async def ask(index):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(pauses[index % len(pauses)]):
            await asyncio.sleep(0)
        under_way -= 1
        if fails[index]:
            raise ValueError(index)
        return index

    answers = await answered_all(
        range(len(fails)), ask, at_once=at_once, progress=lambda done, of: progress.append((done, of))
    )
    assert [str(answer) for answer in answers] == [str(index) for index in range(len(fails))]
    assert [isinstance(answer, ValueError) for answer in answers] == fails
    assert most <= at_once
    assert progress == [(number + 1, len(fails)) for number in range(len(fails))]


async def test_cancelled_it_cancels_what_is_under_way():
    under_way = 0

    async def ask(_):
        nonlocal under_way
        under_way += 1
        try:
            await asyncio.Event().wait()
        finally:
            under_way -= 1

    task = asyncio.ensure_future(answered_all(range(10), ask, at_once=3))
    await settled()
    assert under_way == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert under_way == 0


async def test_nobody_at_a_time_is_a_mistake():
    with pytest.raises(ValueError, match="At least one"):
        await answered_all([1], asyncio.sleep, at_once=0)
