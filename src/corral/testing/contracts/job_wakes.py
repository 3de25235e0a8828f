"""What a `JobStore` promises about hints, and about slots of concurrency keys: who waits hears, and who holds is counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.jobs.job import Callback, Ending, JobEventDraft
from corral.testing.contracts.job_setting import (
    ALL,
    BROKEN,
    LEASE_S,
    TENANT,
    claim,
    draft,
    end,
    enqueue,
    failed_one,
    names,
    status,
)
from corral.testing.contracts.job_tokens import reaped
from corral.testing.contracts.setting import PATIENCE_S, Contract, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.stores import Stores
    from corral.jobs.job import ClaimedJob, EndingKind
    from corral.jobs.store import JobWatch


class Ear:
    """Hears hints."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.ids: list[str] = []

    def woken(self) -> None:
        """Something may be there."""
        self.heard.set()

    def moved(self, ids: Sequence[str]) -> None:
        """These moved."""
        self.ids += ids
        self.heard.set()

    async def soon(self) -> None:
        """Until something is heard."""
        await asyncio.wait_for(self.heard.wait(), PATIENCE_S)

    async def quiet(self) -> None:
        """Forget what was heard of what happened before: until nothing comes for a while."""
        self.heard.set()
        while self.heard.is_set():
            self.heard.clear()
            await asyncio.sleep(0.05)  # nothing is what is waited for


class WorkWakeContract(Contract):
    """Being told that there may be work."""

    async def _ready(self, stores: Stores, how: str) -> Callable[[], object]:
        """Prepare something that gets ready when the answer is called."""
        if how == "enqueue":
            return lambda: enqueue(stores, draft("a"))
        if how == "redrive":
            await failed_one(stores)
            return lambda: stores.job_records.redrive(TENANT, ALL)
        await enqueue(stores, draft("a", session_id="s" if how == "slot" else None))
        (job,) = await claim(stores, lease_s=0.0 if how == "reap" else LEASE_S)
        if how == "reap":
            return lambda: reaped(stores, job.id)
        if how == "released":
            return lambda: end(stores, job, "released")
        if how == "slot":
            await enqueue(stores, draft("b", session_id="s"))
            return lambda: end(stores, job)
        assert await end(stores, job, "waiting", awaits="signal:x#1")
        return lambda: stores.jobs.signal(TENANT, job.id, "x", b"1")

    @pytest.mark.parametrize("by", ["this", "other"])
    @pytest.mark.parametrize("how", ["enqueue", "released", "reap", "redrive", "signal", "slot"])
    async def test_whatever_gets_ready_wakes(self, stores: Stores, other_stores: Stores, by: str, how: str) -> None:
        ear = Ear()
        unwatch = stores.jobs.watch_work(ear.woken)
        get_ready = await self._ready(stores if by == "this" else other_stores, how)
        await ear.quiet()
        await get_ready()  # type: ignore[misc]  # each of them is a coroutine function
        await ear.soon()
        assert len(await claim(stores)) == 1
        unwatch()

    async def test_all_who_watch_are_told_and_none_who_left(self, stores: Stores) -> None:
        ears = [Ear() for _ in range(3)]
        ends = [stores.jobs.watch_work(ear.woken) for ear in ears]
        ends[2]()
        ends[2]()
        await ears[0].quiet()
        ears[2].heard.clear()
        await enqueue(stores, draft("a"))
        for ear in ears[:2]:
            await ear.soon()
        assert not ears[2].heard.is_set()
        for stop in ends[:2]:
            stop()

    async def test_a_watcher_is_called_on_its_own_loop(self, stores: Stores) -> None:
        async def wait_elsewhere(ready: Callable[[], object]) -> list[str]:
            ear = Ear()
            unwatch = stores.jobs.watch_work(ear.woken)
            await ear.quiet()
            ready()
            await ear.soon()
            unwatch()
            return await names(stores)

        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        there = asyncio.create_task(
            asyncio.to_thread(asyncio.run, wait_elsewhere(lambda: loop.call_soon_threadsafe(ready.set)))
        )
        await ready.wait()
        await enqueue(stores, draft("a"))
        assert await there == ["a"]

    @pytest.mark.parametrize("by", ["this", "other"])
    async def test_a_callback_wakes_who_sends_it(self, stores: Stores, other_stores: Stores, by: str) -> None:
        store, ear = (stores if by == "this" else other_stores), Ear()
        unwatch = stores.outbox.watch(ear.woken)
        await enqueue(store, draft("a", callback=Callback("https://example.com")))
        (job,) = await claim(store)
        await ear.quiet()
        assert await end(store, job)
        await ear.soon()
        ((one,), _) = await stores.outbox.take(limit=1, lease_s=900.0)
        await ear.quiet()
        assert await store.outbox.replay(TENANT, one.id)
        await ear.soon()
        unwatch()


class FollowContract(Contract):
    """Being told of jobs."""

    async def _moves(self, stores: Stores, ear: Ear, how: str, job: ClaimedJob) -> None:
        await ear.quiet()
        ear.ids.clear()
        if how == "emit":
            await stores.jobs.emit([JobEventDraft(job.claim, "piece", b"1")])
        elif how == "cancel":
            await stores.jobs.cancel(TENANT, ALL, job_id=job.id)
        elif how == "reap":
            await stores.jobs.renew([job.claim], lease_s=0.0)
            await reaped(stores, job.id)
        else:
            kinds: dict[str, EndingKind] = {"end": "succeeded", "wait": "waiting", "retry": "retry"}
            await stores.jobs.settle([Ending(claim=job.claim, kind=kinds[how], error=BROKEN, awaits="signal:x#1")])
        await ear.soon()

    @pytest.mark.parametrize("by", ["this", "other"])
    @pytest.mark.parametrize("how", ["emit", "cancel", "reap", "end", "wait", "retry"])
    async def test_whatever_moves_a_job_is_told(self, stores: Stores, other_stores: Stores, by: str, how: str) -> None:
        store, ear = (stores if by == "this" else other_stores), Ear()
        await enqueue(store, draft("a"), draft("b"))
        jobs = {job.tags[0]: job for job in await claim(store)}
        watch = stores.jobs.watch_jobs(ear.moved)
        watch.follow(jobs["a"].id)
        await store.jobs.emit([JobEventDraft(jobs["b"].claim, "piece", b"1")])
        await self._moves(store, ear, how, jobs["a"])
        assert set(ear.ids) == {jobs["a"].id}
        watch.close()

    async def test_who_follows_twice_leaves_twice(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        ears = [Ear(), Ear()]
        watches: list[JobWatch] = [stores.jobs.watch_jobs(ear.moved) for ear in ears]
        for watch in (watches[0], watches[0], watches[1]):
            watch.follow(job.id)
        watches[0].unfollow(job.id)
        watches[1].unfollow(job.id)
        await ears[1].quiet()
        await self._moves(stores, ears[0], "emit", job)
        assert not ears[1].heard.is_set()
        watches[0].unfollow(job.id)
        watches[0].follow(job.id)
        await self._moves(stores, ears[0], "end", job)
        for watch in (*watches, watches[0]):
            watch.close()

    async def test_one_may_wait_for_what_is_not_there_yet(self, stores: Stores, other_stores: Stores) -> None:
        ear, coming = Ear(), draft("a")
        watch = stores.jobs.watch_jobs(ear.moved)
        watch.follow(coming.id)
        await enqueue(other_stores, coming)
        (job,) = await claim(other_stores)
        await self._moves(other_stores, ear, "end", job)
        watch.close()


class SlotContract(Contract):
    """Slots of concurrency keys, looked at closely."""

    async def test_the_more_urgent_takes_the_place_of_one_that_does_not_run_yet(self, stores: Stores) -> None:
        await enqueue(stores, draft("low", concurrency_key="k", priority=1))
        await enqueue(stores, draft("high", concurrency_key="k", priority=9))
        (job,) = await claim(stores)
        assert job.tags == ("high",)
        await enqueue(stores, draft("higher", concurrency_key="k", priority=10))
        assert await claim(stores) == []
        assert await end(stores, job)
        (job,) = await claim(stores)
        assert job.tags == ("higher",)
        assert await end(stores, job)
        assert await names(stores) == ["low"]

    async def test_a_key_is_shared_across_queues_and_agents(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", concurrency_key="k", queue="q1"),
                      draft("b", concurrency_key="k", queue="q2", agent="other"))  # fmt: skip
        (job,) = await claim(stores, queues=["q1"])
        assert await claim(stores, queues=["q2"]) == []
        assert await end(stores, job)
        assert await names(stores, queues=["q2"]) == ["b"]

    async def test_a_key_goes_before_the_session(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", session_id="s", concurrency_key="k1"),
                      draft("b", session_id="s", concurrency_key="k2"))  # fmt: skip
        assert sorted(await names(stores)) == ["a", "b"]

    async def test_sessions_run_in_order_whatever_their_lane(self, stores: Stores) -> None:
        await enqueue(stores, *(draft(f"{n}", session_id="s", fairness_key=f"f{n % 2}") for n in range(6)))
        got = []
        while jobs := await claim(stores):
            got += [job.tags[0] for job in jobs]
            assert len(jobs) == 1
            assert await end(stores, jobs[0])
        assert got == [f"{n}" for n in range(6)]

    async def test_what_is_due_or_signalled_waits_for_its_key(self, stores: Stores) -> None:
        (first,) = await enqueue(stores, draft("first", session_id="s"))
        (job,) = await claim(stores)
        assert await end(stores, job, "waiting", awaits="signal:x#1")
        await enqueue(stores, draft("runs", session_id="s"), draft("due", session_id="s", delay_s=0.01))
        (runs,) = await claim(stores)
        assert await stores.jobs.signal(TENANT, first, "x", b"1")

        async def is_due() -> bool:
            assert await claim(stores) == []
            return (await stores.jobs.claim("w", queues=(), limit=1, lease_s=LEASE_S)).next_due_s is None

        await eventually(is_due)
        assert await end(stores, runs)
        got = []
        while jobs := await claim(stores):
            assert len(jobs) == 1
            got += [job.tags[0] for job in jobs]
            assert await end(stores, jobs[0])
        assert got == ["first", "due"]

    async def test_limits_may_differ_and_each_holds_for_its_own(self, stores: Stores) -> None:
        await enqueue(
            stores, *(draft(f"{limit}", concurrency_key="k", concurrency_limit=limit) for limit in (3, 3, 1, 3))
        )
        first = await claim(stores)
        assert [job.tags[0] for job in first][:2] == ["3", "3"]
        for job in first:
            assert await end(stores, job)
        done = len(first)
        while jobs := await claim(stores):
            for job in jobs:
                assert await end(stores, job)
                done += 1
        assert done == 4

    async def test_nobody_who_waits_for_a_key_is_out_of_reach(self, stores: Stores) -> None:
        ids = await enqueue(stores, draft("holds", session_id="s"), draft("late", session_id="s", deadline_s=0.005),
                            draft("gone", session_id="s"), draft("last", session_id="s"))  # fmt: skip
        (job,) = await claim(stores)

        async def late() -> bool:
            await stores.jobs.reap()
            return await status(stores, ids[1]) == "failed"

        await eventually(late)
        assert await stores.jobs.cancel(TENANT, ALL, job_id=ids[2]) == [ids[2]]
        assert await claim(stores) == []
        assert await end(stores, job, "cancelled")
        assert await names(stores) == ["last"]
