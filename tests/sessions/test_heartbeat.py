from __future__ import annotations

import asyncio
import threading
import time

import pytest
from session_scene import KEY, Interposed, is_free, until

from corral.backends.open import open_stores
from corral.errors import StoreUnavailable, TurnLost
from corral.sessions.event import SessionKey
from corral.sessions.heartbeat import _batches

LEASE_S = 1.0


def alive(turns):
    thread = turns._heartbeat._thread
    return thread is not None and thread.is_alive()


async def test_a_short_turn_opens_no_second_store(make_turns):
    opened = []
    turns = await make_turns(open_turn_store=lambda: opened.append(1))
    for _ in range(20):
        turn = await turns.take(KEY)
        await turn.leave()
    assert not opened


async def test_a_loop_that_is_blocked_for_three_leases_keeps_its_turn(make_turns, other_stores, stores):
    turns = await make_turns(lease_s=LEASE_S)
    others = await make_turns(other_stores.turns, lease_s=LEASE_S)
    turn = await turns.take(KEY)
    waiter = asyncio.create_task(others.take(KEY))
    await until(lambda: others._poll is not None)
    time.sleep(3 * LEASE_S)  # noqa: ASYNC251 - the careless agent is the point
    await stores.sessions.write_state(KEY, "mine", turn=turn.token)
    assert not turn.lost
    assert not waiter.done()
    await turn.leave()
    await (await waiter).leave()


async def test_a_waiter_keeps_its_place_for_longer_than_its_lease(make_turns, stores):
    turns = await make_turns(lease_s=LEASE_S)
    turn = await turns.take(KEY)
    waiter = asyncio.create_task(turns.take(KEY))
    # A loop that is blocked can neither claim nor renew.
    await until(lambda: turns._poll is not None)
    time.sleep(1.5 * LEASE_S)  # noqa: ASYNC251 - the careless agent is the point
    await turn.leave()
    following = await waiter
    await stores.sessions.write_state(KEY, "mine", turn=following.token)
    await following.leave()


async def test_a_turn_that_is_gone_is_reported(make_turns, other_turns):
    turns = await make_turns(lease_s=LEASE_S)
    turns._unwatch()
    turn = await turns.take(KEY)
    lost = asyncio.Event()
    turn.on_lost(lost.set)
    newer = await other_turns.take(KEY, policy="interrupt")
    await lost.wait()
    assert turn.lost
    await newer.leave()


async def test_a_store_that_is_down_for_a_while_costs_no_turn(make_turns, url, stores, caplog):
    real = open_stores(url)
    failures = 4

    class Flaky:
        """Fails to open, then to renew, then to open the second time; then works."""

        def __init__(self):
            self.turns = Interposed(real.turns)
            self.turns.before["renew"] = self.fail

        async def fail(self):
            nonlocal failures
            if failures:
                failures -= 1
                raise StoreUnavailable("down")

        async def start(self):
            await self.fail()
            await real.start()

        async def stop(self):
            await real.stop()
            if failures:
                raise StoreUnavailable("cannot even close")

    turns = await make_turns(lease_s=LEASE_S, open_turn_store=Flaky)
    turn = await turns.take(KEY)
    await until(lambda: failures == 0)
    renewed = turn.renewed_at
    await until(lambda: turn.renewed_at > renewed)
    assert not turn.lost
    assert caplog.text.count("Cannot renew 1 session turns, will try again: down") == 1
    await turn.leave()
    assert await is_free(stores.turns)


async def test_a_ticket_still_being_taken_is_not_reported(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store, lease_s=LEASE_S)
    reached = asyncio.Event()
    go_on = asyncio.Event()

    async def hold_up():
        reached.set()
        await go_on.wait()

    store.before["join"] = hold_up
    task = asyncio.create_task(turns.take(KEY))
    await reached.wait()
    (turn,) = turns._heartbeat._live.values()
    since = turn.renewed_at
    await until(lambda: turn.renewed_at > since)
    go_on.set()
    turn = await task
    assert not turn.lost
    await turn.leave()


async def test_stopping_ends_the_thread_and_closes_its_store(make_turns):
    turns = await make_turns(lease_s=LEASE_S)
    await turns._heartbeat.stop()
    turn = await turns.take(KEY)
    since = turn.renewed_at
    await until(lambda: turn.renewed_at > since)
    assert alive(turns)
    await turns.stop()
    assert not alive(turns)
    assert not [thread for thread in threading.enumerate() if thread.name == "corral-heartbeat"]
    await turns._heartbeat.stop()


async def test_stopping_before_the_thread_has_begun(make_turns):
    for _ in range(20):
        turns = await make_turns()
        await (await turns.take(KEY)).leave()
        await turns.stop()
        assert not alive(turns)


async def test_many_tickets_are_renewed_in_parts(make_turns):
    assert [len(batch) for batch in _batches([None] * 1001)] == [500, 500, 1]
    turns = await make_turns(lease_s=LEASE_S)
    held = [await turns.take(SessionKey("acme", f"s{number}")) for number in range(20)]
    since = max(turn.renewed_at for turn in held)
    await until(lambda: min(turn.renewed_at for turn in held) > since)
    for turn in held:
        await turn.leave()


async def test_a_lost_turn_says_so_to_the_session(make_turns, stores, other_turns):
    turns = await make_turns()
    turn = await turns.take(KEY)
    newer = await other_turns.take(KEY, policy="interrupt")
    with pytest.raises(TurnLost):
        await stores.sessions.write_state(KEY, "mine", turn=turn.token)
    await newer.leave()
