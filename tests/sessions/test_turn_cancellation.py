"""Whoever is cancelled, wherever it was, the line is empty afterwards."""

from __future__ import annotations

import asyncio

import pytest
from session_scene import KEY, Interposed, is_free, until

from corral.errors import CorralError
from corral.sessions.event import Draft, EventQuery
from corral.sessions.turn import Turn

DRAFTS = [Draft(role="user", content=[{"type": "text", "text": "said"}])]


async def request(turns, policy="enqueue"):
    turn = await turns.take(KEY, policy=policy)
    await turn.leave(DRAFTS)


async def settle(task):
    task.cancel()
    try:
        await task
    except (asyncio.CancelledError, CorralError):
        return


async def said(stores):
    page = await stores.sessions.events(KEY, EventQuery(limit=1000))
    return len(page.items)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["join", "claim", "leave"])
async def test_cancelled_on_the_way_to_the_store_and_back(make_turns, stores, call, when):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    holder = await turns.take(KEY) if call == "claim" else None
    reached = asyncio.Event()

    async def hold_up():
        reached.set()
        getattr(store, when).pop(call, None)
        await asyncio.Event().wait()

    task = asyncio.create_task(request(turns))
    if holder is not None:
        await until(lambda: store.calls["join"] == 2)
    getattr(store, when)[call] = hold_up
    if holder is not None:
        await holder.leave()
    await reached.wait()
    if call == "claim":
        # The claim belongs to the line, not to the request: it goes on, and must find nobody.
        task.cancel()
        for background in turns._background:
            background.cancel()
    await settle(task)
    await turns.drain()
    assert await is_free(stores.turns)
    assert await said(stores) == (1 if call == "leave" else 0)
    await request(turns)


@pytest.mark.parametrize("policy", ["enqueue", "interrupt", "rollback", "reject"])
@pytest.mark.parametrize("contended", [False, True])
async def test_cancelled_after_any_number_of_steps(turns, stores, policy, contended):
    for steps in range(40):
        other = asyncio.create_task(request(turns)) if contended else None
        task = asyncio.create_task(request(turns, policy))
        for _ in range(steps):
            await asyncio.sleep(0)
        await settle(task)
        if other is not None:
            await asyncio.wait([other])
            other.exception()
        await turns.drain()
        assert await is_free(stores.turns), steps
    assert not turns._heartbeat._live


async def test_a_crowd_of_which_every_other_one_is_cancelled(turns, other_turns, stores):
    tasks = [asyncio.create_task(request(each)) for _ in range(30) for each in (turns, other_turns)]
    for number, task in enumerate(tasks):
        if number % 2:
            await asyncio.sleep(0.001)
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await turns.drain()
    await other_turns.drain()
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
    assert await is_free(stores.turns)
    done = sum(result is None for result in results)
    # One that was cancelled while it left may have said its piece all the same, once.
    assert done <= await said(stores) <= len(tasks)


async def test_cancelled_in_the_moment_its_turn_comes(turns, stores, monkeypatch):
    holder = await turns.take(KEY)
    task = asyncio.create_task(turns.take(KEY))
    await until(lambda: turns._poll is not None)
    grant = Turn.grant

    def grant_and_cancel(turn):
        grant(turn)
        task.cancel()

    monkeypatch.setattr(Turn, "grant", grant_and_cancel)
    await holder.leave()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns.drain()
    assert await is_free(stores.turns)


async def test_a_cancelled_leave_writes_once_even_if_the_store_had_it(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    for _ in range(5):
        reached = asyncio.Event()

        async def hold_up(reached=reached):
            reached.set()
            await asyncio.Event().wait()

        store.after["leave"] = hold_up
        task = asyncio.create_task(request(turns))
        await reached.wait()
        store.after.clear()
        await settle(task)
        await turns.drain()
    assert await said(stores) == 5
