"""What a `TurnStore` promises: one holder, first come first served, and no word from who lost the turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.errors import SessionBusy, SessionQueueFull, TurnLost
from corral.sessions.event import SessionKey
from corral.testing.contracts.setting import KEY, PATIENCE_S, Contract, eventually, listed, said, texts

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.sessions.store import TurnPolicy

LEASE_S = 60.0


async def join(
    stores: Stores,
    turn: str,
    key: SessionKey = KEY,
    *,
    policy: TurnPolicy = "enqueue",
    lease_s: float = LEASE_S,
    waiting_max: int = 1000,
) -> bool:
    """Take a ticket."""
    return await stores.turns.join(key, turn, policy=policy, lease_s=lease_s, waiting_max=waiting_max)


class LineContract(Contract):
    """Waiting in line."""

    async def test_who_is_alone_has_the_turn(self, stores: Stores) -> None:
        assert await join(stores, "a")
        assert await stores.turns.claim(KEY, "a")
        await stores.turns.leave(KEY, "a")
        assert await join(stores, "b")

    async def test_who_comes_later_waits_until_all_before_have_left(self, stores: Stores) -> None:
        assert [await join(stores, turn) for turn in "abc"] == [True, False, False]
        assert [await stores.turns.claim(KEY, turn) for turn in "cab"] == [False, True, False]
        await stores.turns.leave(KEY, "a")
        assert [await stores.turns.claim(KEY, turn) for turn in "cb"] == [False, True]
        await stores.turns.leave(KEY, "b")
        assert await stores.turns.claim(KEY, "c")

    async def test_a_waiter_may_give_up(self, stores: Stores) -> None:
        assert [await join(stores, turn) for turn in "abc"] == [True, False, False]
        await stores.turns.leave(KEY, "b")
        with pytest.raises(TurnLost):
            await stores.turns.claim(KEY, "b")
        await stores.turns.leave(KEY, "a")
        assert await stores.turns.claim(KEY, "c")

    async def test_sessions_do_not_wait_for_each_other(self, stores: Stores) -> None:
        keys = [SessionKey(tenant, session) for tenant in ("acme", "umbrella") for session in ("1", "2")]
        assert all([await join(stores, "same name", key) for key in keys])

    async def test_joining_twice_under_one_name_is_joining_once(self, stores: Stores) -> None:
        assert [await join(stores, turn) for turn in "abab"] == [True, False, True, False]
        await stores.turns.leave(KEY, "a")
        assert await stores.turns.claim(KEY, "b")
        await stores.turns.leave(KEY, "b")
        assert await join(stores, "c")

    async def test_leaving_twice_is_leaving_once(self, stores: Stores) -> None:
        await join(stores, "a")
        await stores.turns.leave(KEY, "a")
        await stores.turns.leave(KEY, "a")
        await stores.turns.leave(KEY, "never came")
        assert await join(stores, "b")

    async def test_reject_refuses_when_somebody_holds_or_waits(self, stores: Stores) -> None:
        assert await join(stores, "a", policy="reject")
        with pytest.raises(SessionBusy):
            await join(stores, "b", policy="reject")
        await stores.turns.leave(KEY, "a")
        assert await join(stores, "c", policy="reject")

    @pytest.mark.parametrize("most", [0, 1, 3])
    async def test_the_line_has_an_end(self, stores: Stores, most: int) -> None:
        for number in range(most + 1):
            await join(stores, f"{number}", waiting_max=most)
        with pytest.raises(SessionQueueFull):
            await join(stores, "one too many", waiting_max=most)
        with pytest.raises(TurnLost):
            await stores.turns.claim(KEY, "one too many")
        await stores.turns.leave(KEY, "0")
        assert not await join(stores, "fits", waiting_max=most) or most == 0

    async def test_two_hundred_in_two_processes_each_have_the_turn_once_and_in_order(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        holders: list[int] = []
        waiting: dict[int, list[asyncio.Event]] = {0: [], 1: []}

        def wake_first(line: list[asyncio.Event]) -> None:
            if line:
                line[0].set()

        async def take(number: int) -> None:
            store, line, turn = (stores, other_stores)[number % 2], waiting[number % 2], f"turn {number}"
            async with joining[number % 2]:
                granted = await join(store, turn)
                moved = asyncio.Event()
                line.append(moved)
            while not granted:
                await asyncio.wait_for(moved.wait(), PATIENCE_S)
                moved.clear()
                granted = await store.turns.claim(KEY, turn)
            line.remove(moved)
            holders.append(number)
            before = len(await listed(store))
            await store.turns.leave(KEY, turn, drafts=[said(f"{number} sees {before}"), said("reply", "assistant")])
            wake_first(line)

        joining = [asyncio.Lock(), asyncio.Lock()]
        ends = [
            stores.turns.watch(lambda _: wake_first(waiting[0])),
            other_stores.turns.watch(lambda _: wake_first(waiting[1])),
        ]
        async with asyncio.timeout(PATIENCE_S * 2), asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(take(number))
        for end in ends:
            end()
        said_in_order = [text for text in await texts(stores) if text != "reply"]
        assert said_in_order == [f"{number} sees {2 * place}" for place, number in enumerate(holders)]
        assert sorted(holders) == list(range(200))


class FenceContract(Contract):
    """Who lost the turn changes nothing."""

    async def test_leaving_appends_and_frees_at_once(self, stores: Stores) -> None:
        await join(stores, "a")
        await join(stores, "b")
        await stores.turns.leave(KEY, "a", drafts=[said("question", actor="ada"), said("answer", "assistant")])
        assert await stores.turns.claim(KEY, "b")
        events = await listed(stores)
        assert [(event.text, event.turn, event.seq) for event in events] == [("question", "a", 1), ("answer", "a", 2)]

    async def test_only_the_holder_may_append(self, stores: Stores) -> None:
        await join(stores, "a")
        await join(stores, "b")
        await stores.sessions.append(KEY, [said("a")], turn="a")
        for impostor in ("b", "nobody"):
            with pytest.raises(TurnLost):
                await stores.sessions.append(KEY, [said("x")], turn=impostor)
            with pytest.raises(TurnLost):
                await stores.turns.leave(KEY, impostor, drafts=[said("x")])
        assert await texts(stores) == ["a"]
        assert not await stores.turns.claim(KEY, "b")  # its refused leave did not cost it its place

    @pytest.mark.parametrize("odd", ["nul\0", "half \ud800", "x" * 5000])
    async def test_a_turn_that_cannot_be_is_lost(self, stores: Stores, odd: str) -> None:
        await join(stores, "a")
        for key, turn in ((KEY, odd), (SessionKey("acme", odd), "a")):
            with pytest.raises(TurnLost):
                await stores.turns.claim(key, turn)
            assert await stores.turns.renew([(key, turn), (KEY, "a")], lease_s=LEASE_S) == [turn]
            await stores.turns.leave(key, turn)
        with pytest.raises(TurnLost):
            await stores.turns.leave(KEY, odd, drafts=[said("x")])

    @pytest.mark.parametrize("policy", ["interrupt", "rollback"])
    async def test_who_takes_over_voids_all_who_came_before(self, stores: Stores, policy: TurnPolicy) -> None:
        for turn in "ab":
            await join(stores, turn)
        assert await join(stores, "c", policy=policy, waiting_max=0)
        for turn in "ab":
            with pytest.raises(TurnLost):
                await stores.turns.claim(KEY, turn)
            with pytest.raises(TurnLost):
                await stores.turns.leave(KEY, turn, drafts=[said("x")])
            with pytest.raises(TurnLost):
                await stores.sessions.append(KEY, [said("x")], turn=turn)
            await stores.turns.leave(KEY, turn)
        assert await stores.turns.renew([(KEY, turn) for turn in "abc"], lease_s=LEASE_S) == ["a", "b"]
        await stores.turns.leave(KEY, "c", drafts=[said("c")])
        assert await texts(stores) == ["c"]

    @pytest.mark.parametrize(("policy", "left"), [("interrupt", ["kept", "half"]), ("rollback", ["kept"])])
    async def test_rollback_takes_back_what_voided_turns_wrote(
        self, stores: Stores, policy: TurnPolicy, left: list[str]
    ) -> None:
        await join(stores, "first")
        await stores.turns.leave(KEY, "first", drafts=[said("kept")])
        await join(stores, "second")
        await stores.sessions.append(KEY, [said("half")], turn="second")
        assert await join(stores, "third", policy=policy)
        assert await texts(stores) == left
        (event,) = await stores.sessions.append(KEY, [said("new")], turn="third")
        assert event.seq == 3
        assert await texts(stores) == [*left, "new"]

    async def test_rollback_finds_nothing_to_take_back(self, stores: Stores) -> None:
        assert await join(stores, "a", policy="rollback")
        await stores.turns.leave(KEY, "a", drafts=[said("a")])
        assert await join(stores, "b", policy="rollback")
        assert await texts(stores) == ["a"]

    async def test_a_refused_leave_writes_nothing_at_all(self, stores: Stores) -> None:
        await join(stores, "a")
        await join(stores, "b", policy="interrupt")
        with pytest.raises(TurnLost):
            await stores.turns.leave(KEY, "a", drafts=[said("x", actor="ada")], ttl_s=5)
        assert await stores.sessions.get(KEY) is None

    async def test_takeovers_under_load_leave_one_holder(self, stores: Stores, other_stores: Stores) -> None:
        async def barge(number: int, store: Stores) -> bool:
            assert await join(store, f"{number}", policy="interrupt")
            await asyncio.sleep(0)
            try:
                await store.turns.leave(KEY, f"{number}", drafts=[said(f"{number}"), said(f"{number} end")])
            except TurnLost:
                return False
            return True

        done = await asyncio.gather(*(barge(number, (stores, other_stores)[number % 2]) for number in range(60)))
        events = await texts(stores)
        assert len(events) == 2 * sum(done)
        assert all(second == f"{first} end" for first, second in zip(events[::2], events[1::2], strict=True))


class LeaseContract(Contract):
    """Tickets of the dead. A lease of no seconds runs out at once."""

    async def test_a_dead_holders_turn_is_freed(self, stores: Stores) -> None:
        assert await join(stores, "dead", lease_s=0)
        assert await join(stores, "b")
        with pytest.raises(TurnLost):
            await stores.sessions.append(KEY, [said("late")], turn="dead")
        assert await stores.turns.renew([(KEY, "dead"), (KEY, "b")], lease_s=LEASE_S) == ["dead"]

    async def test_a_dead_waiter_is_passed_over(self, stores: Stores) -> None:
        assert await join(stores, "a")
        assert not await join(stores, "dead", lease_s=0)
        assert not await join(stores, "c")
        await stores.turns.leave(KEY, "a")
        assert await stores.turns.claim(KEY, "c")
        with pytest.raises(TurnLost):
            await stores.turns.claim(KEY, "dead")

    async def test_the_dead_are_no_reason_to_reject_or_be_full(self, stores: Stores) -> None:
        await join(stores, "dead", lease_s=0)
        assert await join(stores, "a", policy="reject")
        await join(stores, "dead too", lease_s=0, waiting_max=1)
        assert not await join(stores, "b", waiting_max=1)

    async def test_a_late_holder_that_nobody_passed_may_go_on(self, stores: Stores) -> None:
        await join(stores, "slow", lease_s=0)
        assert await stores.turns.renew([(KEY, "slow")], lease_s=LEASE_S) == []
        assert not await join(stores, "b")
        await stores.turns.leave(KEY, "slow", drafts=[said("in time")])
        assert await texts(stores) == ["in time"]

    async def test_a_lease_runs_out_by_itself(self, stores: Stores) -> None:
        await join(stores, "a")
        await join(stores, "b")
        assert await stores.turns.renew([(KEY, "a")], lease_s=0.2) == []
        await eventually(lambda: stores.turns.claim(KEY, "b"))
        with pytest.raises(TurnLost):
            await stores.turns.claim(KEY, "a")

    async def test_renewing_keeps_a_lease(self, stores: Stores) -> None:
        await join(stores, "a")
        await join(stores, "b")
        assert await stores.turns.renew([(KEY, "a")], lease_s=0) == []
        assert await stores.turns.renew([(KEY, "a")], lease_s=LEASE_S) == []
        assert not await stores.turns.claim(KEY, "b")

    async def test_renewing_many_names_the_void_ones_in_order(self, stores: Stores) -> None:
        turns = [(SessionKey("acme", f"s{number}"), f"t{number}") for number in range(20)]
        for key, turn in turns[::2]:
            await join(stores, turn, key)
        assert await stores.turns.renew(turns, lease_s=LEASE_S) == [turn for _, turn in turns[1::2]]
        assert await stores.turns.renew([], lease_s=LEASE_S) == []

    async def test_lines_nobody_came_back_to_do_not_stop_a_sweep(self, stores: Stores) -> None:
        await join(stores, "dead", lease_s=-100_000)
        await join(stores, "alive")
        await join(stores, "dead elsewhere", SessionKey("acme", "other"), lease_s=-100_000)
        await stores.sessions.expire()
        assert await stores.turns.renew([(SessionKey("acme", "other"), "dead elsewhere")], lease_s=1) == [
            "dead elsewhere"
        ]
        assert await stores.turns.claim(KEY, "alive")


class WakeContract(Contract):
    """Being told that a line moved."""

    @pytest.mark.parametrize("by", ["this", "other"])
    async def test_a_waiter_is_woken_when_the_holder_leaves(
        self, stores: Stores, other_stores: Stores, by: str
    ) -> None:
        holder = stores if by == "this" else other_stores
        woken: asyncio.Queue[SessionKey] = asyncio.Queue()
        unwatch = stores.turns.watch(woken.put_nowait)
        await join(holder, "a")
        assert not await join(stores, "b")
        self._settle(woken)
        await holder.turns.leave(KEY, "a")
        assert await self._next(woken) == KEY
        assert await stores.turns.claim(KEY, "b")
        unwatch()

    @pytest.mark.parametrize("by", ["this", "other"])
    async def test_a_waiter_is_woken_when_somebody_takes_over(
        self, stores: Stores, other_stores: Stores, by: str
    ) -> None:
        woken: asyncio.Queue[SessionKey] = asyncio.Queue()
        unwatch = stores.turns.watch(woken.put_nowait)
        await join(stores, "a")
        assert not await join(stores, "b")
        self._settle(woken)
        await join(stores if by == "this" else other_stores, "c", policy="interrupt")
        assert await self._next(woken) == KEY
        with pytest.raises(TurnLost):
            await stores.turns.claim(KEY, "b")
        unwatch()

    async def test_a_holder_is_woken_when_another_process_takes_over(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        woken: asyncio.Queue[SessionKey] = asyncio.Queue()
        unwatch = stores.turns.watch(woken.put_nowait)
        await join(stores, "a")
        self._settle(woken)
        await join(other_stores, "b", policy="interrupt")
        assert await self._next(woken) == KEY
        with pytest.raises(TurnLost):
            await stores.turns.claim(KEY, "a")
        unwatch()

    async def test_every_watcher_is_told_and_none_that_ended(self, stores: Stores) -> None:
        queues: list[asyncio.Queue[SessionKey]] = [asyncio.Queue() for _ in range(3)]
        ends = [stores.turns.watch(queue.put_nowait) for queue in queues]
        ends[2]()
        ends[2]()
        await join(stores, "a")
        await join(stores, "b")
        for queue in queues:
            self._settle(queue)
        await stores.turns.leave(KEY, "a")
        for queue in queues[:2]:
            assert await self._next(queue) == KEY
        assert queues[2].empty()
        for end in ends[:2]:
            end()

    async def test_a_watcher_is_called_on_its_own_loop(self, stores: Stores) -> None:
        async def wait_elsewhere(ready: Any) -> bool:
            woken = asyncio.Event()
            unwatch = stores.turns.watch(lambda _: woken.set())
            granted = await join(stores, "b")
            ready()
            while not granted:
                await asyncio.wait_for(woken.wait(), PATIENCE_S)
                woken.clear()
                granted = await stores.turns.claim(KEY, "b")
            unwatch()
            return granted

        await join(stores, "a")
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        there = asyncio.create_task(
            asyncio.to_thread(asyncio.run, wait_elsewhere(lambda: loop.call_soon_threadsafe(ready.set)))
        )
        await ready.wait()
        await stores.turns.leave(KEY, "a")
        assert await there

    async def _next(self, woken: asyncio.Queue[SessionKey]) -> SessionKey:
        return await asyncio.wait_for(woken.get(), PATIENCE_S)

    def _settle(self, woken: asyncio.Queue[SessionKey]) -> None:
        """Forget hints about what happened before."""
        while not woken.empty():
            woken.get_nowait()
