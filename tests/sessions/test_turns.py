from __future__ import annotations

import asyncio
import time

import pytest
from session_scene import KEY, Interposed, is_free, until

from corral.errors import (
    DeadlineExceeded,
    Draining,
    SessionBusy,
    SessionQueueFull,
    StoreUnavailable,
    TurnLost,
)
from corral.sessions import turns as turns_module
from corral.sessions.event import Draft, EventQuery, SessionKey
from corral.sessions.turn import Place


def says(text):
    return [Draft(role="user", content=[{"type": "text", "text": text}])]


async def texts(stores, key=KEY):
    page = await stores.sessions.events(key, EventQuery(limit=1000))
    return [event.text for event in reversed(page.items)]


def waiting(turns, key=KEY):
    line = turns._lines.get(key)
    return [] if line is None else [turn for turn in line.turns.values() if turn.place is Place.WAITING]


# -- one at a time, in order ---------------------------------------------------------------------------------------


async def test_a_free_session_costs_one_hop_to_take_and_one_to_leave(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turn = await turns.take(KEY)
    assert not turn.lost
    await turn.leave()
    assert dict(store.calls) == {"join": 1, "leave": 1}
    assert not turns._background
    assert turns._poll is None


async def test_requests_of_one_process_go_in_the_order_they_came(turns, stores):
    async def request(number):
        turn = await turns.take(KEY)
        await turn.leave(says(str(number)))

    await asyncio.gather(*(request(number) for number in range(50)))
    assert await texts(stores) == [str(number) for number in range(50)]


async def test_two_sessions_do_not_wait_for_each_other(turns):
    first = await turns.take(KEY)
    second = await turns.take(SessionKey("acme", "s2"))
    third = await turns.take(SessionKey("other", "s1"))
    for turn in (first, second, third):
        await turn.leave()


async def test_200_requests_over_two_processes_worth_of_stores_keep_the_order_of_their_tickets(
    make_turns, stores, other_stores
):
    both = [await make_turns(each.turns) for each in (stores, other_stores)]
    running = 0
    order = []

    async def request(number):
        nonlocal running
        turn = await both[number % 2].take(KEY)
        running += 1
        assert running == 1
        order.append(number)
        await stores.sessions.append(KEY, says(str(number)), turn=turn.token)
        running -= 1
        await turn.leave()

    opening = await both[0].take(KEY)
    tasks = []
    for number in range(200):
        tasks.append(asyncio.create_task(request(number)))
        # The next one comes when this one has its ticket, so there is an order to keep.
        await until(lambda: sum(len(waiting(turns)) for turns in both) == len(tasks))
    await opening.leave()
    await asyncio.gather(*tasks)
    assert order == list(range(200))
    assert await texts(stores) == [str(number) for number in range(200)]


async def test_200_requests_that_come_at_once_lose_nothing_and_keep_each_process_in_order(
    make_turns, stores, other_stores
):
    both = [await make_turns(each.turns) for each in (stores, other_stores)]

    async def request(number):
        turn = await both[number % 2].take(KEY)
        await turn.leave(says(str(number)))

    await asyncio.gather(*(request(number) for number in range(200)))
    said = [int(text) for text in await texts(stores)]
    assert sorted(said) == list(range(200))
    assert [n for n in said if n % 2 == 0] == list(range(0, 200, 2))
    assert [n for n in said if n % 2] == list(range(1, 200, 2))


@pytest.mark.parametrize("where", ["the same process", "another process"])
async def test_the_next_one_is_woken(woken, where):
    turns, other_turns = woken if where == "another process" else (woken[0], woken[0])
    turn = await turns.take(KEY)
    waiter = asyncio.create_task(other_turns.take(KEY))
    await until(lambda: waiting(other_turns))
    await turn.leave()
    following = await waiter
    await following.leave()


# -- what else a request may want ------------------------------------------------------------------------------------


async def test_reject_does_not_wait(turns, other_turns, stores):
    turn = await turns.take(KEY)
    for each in (turns, other_turns):
        with pytest.raises(SessionBusy):
            await each.take(KEY, policy="reject")
    await turn.leave()
    again = await turns.take(KEY, policy="reject")
    await again.leave()
    assert await is_free(stores.turns)


@pytest.mark.parametrize("policy", ["interrupt", "rollback"])
async def test_a_newer_request_takes_over_within_one_process(turns, stores, policy):
    lost = []
    holder = await turns.take(KEY)
    holder.on_lost(lambda: lost.append("holder"))
    waiter = asyncio.create_task(turns.take(KEY))
    await until(lambda: waiting(turns))
    await stores.sessions.append(KEY, says("half a thought"), turn=holder.token)
    newer = await turns.take(KEY, policy=policy)
    with pytest.raises(TurnLost):
        await waiter
    assert holder.lost
    assert lost == ["holder"]
    with pytest.raises(TurnLost):
        await stores.sessions.append(KEY, says("too late"), turn=holder.token)
    with pytest.raises(TurnLost):
        await holder.leave(says("too late"))
    await holder.leave(says("later still"))
    await newer.leave(says("new"))
    assert await texts(stores) == (["new"] if policy == "rollback" else ["half a thought", "new"])
    assert await is_free(stores.turns)


async def test_who_waits_is_woken_when_another_process_takes_over(woken):
    turns, other_turns = woken
    holder = await turns.take(KEY)
    waiter = asyncio.create_task(turns.take(KEY))
    await until(lambda: waiting(turns))
    newer = await other_turns.take(KEY, policy="interrupt")
    with pytest.raises(TurnLost):
        await waiter
    await until(lambda: holder.lost)
    await newer.leave()


async def test_the_holder_is_woken_when_another_process_takes_over(woken):
    turns, other_turns = woken
    holder = await turns.take(KEY)
    lost = asyncio.Event()
    holder.on_lost(lost.set)
    newer = await other_turns.take(KEY, policy="interrupt")
    await lost.wait()
    await newer.leave()


async def test_deleting_the_session_takes_the_turn_away(woken, other_stores):
    turns, _ = woken
    holder = await turns.take(KEY)
    lost = asyncio.Event()
    holder.on_lost(lost.set)
    await other_stores.sessions.delete(KEY.tenant, session_id=KEY.session_id)
    await lost.wait()
    assert holder.lost


async def test_who_asks_late_hears_of_the_loss_all_the_same(turns):
    holder = await turns.take(KEY)
    newer = await turns.take(KEY, policy="interrupt")
    lost = asyncio.Event()
    holder.on_lost(lost.set)
    await lost.wait()
    await newer.leave()


async def test_a_line_has_an_end(make_turns):
    turns = await make_turns(waiting_max=2)
    turn = await turns.take(KEY)
    waiters = [asyncio.create_task(turns.take(KEY)) for _ in range(2)]
    await until(lambda: len(waiting(turns)) == 2)
    with pytest.raises(SessionQueueFull):
        await turns.take(KEY)
    await turn.leave()
    for waiter in waiters:
        await (await waiter).leave()


# -- deadlines -------------------------------------------------------------------------------------------------------


async def test_a_request_whose_time_is_over_does_not_join(turns, stores):
    with pytest.raises(DeadlineExceeded):
        await turns.take(KEY, deadline=time.monotonic() - 1)
    assert not turns._lines
    assert await is_free(stores.turns)


async def test_a_request_waits_until_its_deadline_and_gives_its_ticket_back(turns, stores):
    turn = await turns.take(KEY)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await turns.take(KEY, deadline=started + 0.1)
    assert 0.05 < time.monotonic() - started < 5
    await turn.leave()
    await turns.drain()
    assert await is_free(stores.turns)


async def test_the_deadline_also_ends_the_wait_for_a_ticket(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    stuck = asyncio.Event()
    store.before["join"] = stuck.wait
    first = asyncio.create_task(turns.take(KEY))
    await until(lambda: store.calls["join"])
    with pytest.raises(DeadlineExceeded):
        await turns.take(KEY, deadline=time.monotonic() + 0.05)
    assert store.calls["join"] == 1
    stuck.set()
    await (await first).leave()
    assert store.calls["leave"] == 1


async def test_a_timeout_of_somebody_elses_is_not_taken_for_the_deadline(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turn = await turns.take(KEY)

    async def request():
        async with asyncio.timeout(0.05):
            await turns.take(KEY, deadline=time.monotonic() + 60)

    with pytest.raises(TimeoutError) as caught:
        await request()
    assert not isinstance(caught.value, DeadlineExceeded)
    await turn.leave()


# -- leaving -----------------------------------------------------------------------------------------------------------


async def test_leaving_twice_is_leaving_once(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turn = await turns.take(KEY)
    await asyncio.gather(turn.leave(says("once")), turn.leave(says("twice")))
    await turn.leave(says("thrice"))
    assert store.calls["leave"] == 1
    assert await texts(stores) == ["once"]


async def test_a_turn_that_was_lost_without_notice_cannot_record_anything(make_turns, stores, other_turns):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turns._unwatch()
    turn = await turns.take(KEY)
    newer = await other_turns.take(KEY, policy="interrupt")
    assert not turn.lost
    with pytest.raises(TurnLost):
        await turn.leave(says("too late"))
    assert turn.lost
    await newer.leave()
    assert await texts(stores) == []


async def test_a_store_that_fails_at_the_end_still_gets_the_ticket_back(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turn = await turns.take(KEY)

    async def fail_once():
        del store.before["leave"]
        raise StoreUnavailable

    store.before["leave"] = fail_once
    with pytest.raises(StoreUnavailable):
        await turn.leave(says("unsaid"))
    await turns.drain()
    assert await is_free(stores.turns)
    assert await texts(stores) == []


async def test_a_ticket_that_cannot_be_given_back_is_left_to_its_lease(make_turns, stores, caplog):
    store = Interposed(stores.turns)
    turns = await make_turns(store, lease_s=1, chance=lambda: 0.0)
    turn = await turns.take(KEY)

    async def fail():
        raise StoreUnavailable("gone")

    store.before["leave"] = fail
    with pytest.raises(StoreUnavailable):
        await turn.leave()
    await turns.drain()
    assert store.calls["leave"] > 2
    assert "its lease will free it: gone" in caplog.text
    store.before.clear()
    following = await turns.take(KEY)
    await following.leave()


# -- being woken, and not being woken --------------------------------------------------------------------------------


async def test_a_wake_up_that_was_lost_costs_a_second(make_turns, stores):
    turns = await make_turns(chance=lambda: 0.0)
    turns._unwatch()
    turn = await turns.take(KEY)
    waiter = asyncio.create_task(turns.take(KEY))
    await until(lambda: waiting(turns))
    await turn.leave()
    await (await waiter).leave()
    assert turns._poll is not None
    await until(lambda: turns._poll is None)


async def test_a_store_that_is_down_when_the_turn_comes_is_asked_again(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turn = await turns.take(KEY)
    waiter = asyncio.create_task(turns.take(KEY))
    await until(lambda: waiting(turns))

    async def fail_once():
        del store.before["claim"]
        raise StoreUnavailable

    store.before["claim"] = fail_once
    await turn.leave()
    await (await waiter).leave()
    assert store.calls["claim"] >= 2


async def test_a_line_that_moves_while_the_ticket_is_taken_is_looked_at(make_turns, stores, monkeypatch):
    monkeypatch.setattr(turns_module, "_POLL_S", 3600.0)
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turns._unwatch()
    holder = await turns.take(KEY)
    taken, go_on = asyncio.Event(), asyncio.Event()

    async def hold_up():
        taken.set()
        await go_on.wait()

    store.after["join"] = hold_up
    waiter = asyncio.create_task(turns.take(KEY))
    await taken.wait()
    await holder.leave()
    turns._woken(KEY)
    await until(lambda: not turns._background)
    go_on.set()
    await (await waiter).leave()


async def test_leaving_a_turn_that_was_lost_is_no_error_when_there_is_nothing_to_say(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turn = await turns.take(KEY)
    newer = await turns.take(KEY, policy="interrupt")
    await turn.leave()
    assert not store.calls["leave"]
    await newer.leave()


async def test_the_one_behind_is_looked_at_while_the_one_before_leaves(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    turn = await turns.take(KEY)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold_up():
        reached.set()
        await go_on.wait()

    store.after["leave"] = hold_up
    leaving = asyncio.create_task(turn.leave())
    await reached.wait()
    turns._ask_all()
    assert turns._poll is None
    following = await turns.take(KEY)
    go_on.set()
    await leaving
    await following.leave()


async def test_wake_ups_about_lines_nobody_stands_in_mean_nothing(turns):
    turns._woken(KEY)
    turn = await turns.take(KEY)
    leaving = asyncio.create_task(turn.leave())
    await asyncio.sleep(0)
    turns._woken(KEY)
    await leaving
    assert not turn.lost


async def test_a_holder_that_is_woken_for_nothing_goes_on(turns):
    turn = await turns.take(KEY)
    for _ in range(3):
        turns._woken(KEY)
    await until(lambda: not turns._background)
    assert not turn.lost
    await turn.leave()


async def test_a_report_about_a_turn_that_is_over_is_ignored(turns):
    turn = await turns.take(KEY)
    other = await turns.take(SessionKey("acme", "s2"))
    await turn.leave()
    turns._void([turn.token])
    assert not turn.lost
    assert not other.lost
    await other.leave()


# -- life --------------------------------------------------------------------------------------------------------------


async def test_draining_waits_for_those_who_are_inside(turns):
    await turns.drain()
    turn = await turns.take(KEY)
    waiter = asyncio.create_task(turns.take(KEY))
    draining = asyncio.create_task(turns.drain())
    await until(lambda: waiting(turns))
    assert not draining.done()
    await turn.leave()
    await (await waiter).leave()
    await draining


async def test_stopping_gives_every_ticket_back(make_turns, stores):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    holder = await turns.take(KEY)
    waiter = asyncio.create_task(turns.take(KEY))
    await until(lambda: waiting(turns))
    joining = asyncio.Event()

    async def hold_up():
        await joining.wait()

    store.after["join"] = hold_up
    late = asyncio.create_task(turns.take(KEY))
    queued = asyncio.create_task(turns.take(KEY))
    await until(lambda: store.calls["join"] == 3)
    stopping = asyncio.create_task(turns.stop())
    await asyncio.sleep(0)
    joining.set()
    await stopping
    await turns.stop()
    for task in (waiter, late, queued):
        with pytest.raises(Draining):
            await task
    assert holder.lost
    with pytest.raises(Draining):
        await turns.take(KEY)
    await turns.start()
    assert turns._unwatch is None
    assert await is_free(stores.turns)


async def test_stopping_does_not_wait_for_a_store_that_is_gone(make_turns, stores, caplog):
    store = Interposed(stores.turns)
    turns = await make_turns(store)
    await turns.take(KEY)

    async def fail():
        raise StoreUnavailable("gone")

    store.before["leave"] = fail
    await turns.stop()
    assert store.calls["leave"] == 1
    assert "gone" in caplog.text
