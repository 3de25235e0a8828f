"""What a `JobStore` promises about jobs that somebody waits for, where it has such: each is handed over whole as it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.jobs.job import Callback, Ending, JobEventDraft
from corral.testing.contracts.job_setting import ALL, BROKEN, TENANT, claim, draft, end, enqueue
from corral.testing.contracts.setting import PATIENCE_S, Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.backends.stores import Stores
    from corral.jobs.job import EndingKind, JobInfo


class Hand:
    """Takes what is handed over."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[JobInfo] = asyncio.Queue()

    def expect(self, stores: Stores, job_id: str) -> Callable[[], None]:
        """Wait for a job; where the engine has no such thing, there is nothing to be promised."""
        forget = stores.jobs.expect(job_id, self.came.put_nowait)
        if forget is None:
            pytest.skip("This engine hands no jobs over.")
        return forget

    async def soon(self) -> JobInfo:
        """What comes next."""
        return await asyncio.wait_for(self.came.get(), PATIENCE_S)


class ExpectedJobContract(Contract):
    """Jobs that somebody waits for."""

    @pytest.mark.parametrize("by", ["this", "other"])
    @pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled", "while it waits"])
    async def test_it_is_handed_over_as_anybody_would_read_it(
        self, stores: Stores, other_stores: Stores, by: str, how: str
    ) -> None:
        store, hand = (stores if by == "this" else other_stores), Hand()
        coming = draft("a", callback=Callback("https://example.com/"), user_id="u")
        hand.expect(stores, coming.id)
        await enqueue(store, coming)
        if how == "while it waits":
            assert await store.jobs.cancel(TENANT, ALL, job_id=coming.id) == [coming.id]
        else:
            (job,) = await claim(store)
            await store.jobs.emit([JobEventDraft(job.claim, "progress", b'{"fraction":0.5}')])
            kinds: dict[str, EndingKind] = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}
            ending = Ending(claim=job.claim, kind=kinds[how], error=BROKEN if how == "failed" else None, result=b"[1]")
            assert await store.jobs.settle([ending]) == [True]
        assert await hand.soon() == await stores.job_records.get(TENANT, coming.id)

    async def test_only_its_end_is_handed_over_and_that_once(self, stores: Stores) -> None:
        hand, first, second = Hand(), draft("first"), draft("second")
        for coming in (first, second):
            hand.expect(stores, coming.id)
        await enqueue(stores, first, second)
        jobs = {job.id: job for job in await claim(stores)}
        await stores.jobs.settle([Ending(claim=jobs[first.id].claim, kind="retry", error=BROKEN)])
        (again,) = await claim(stores)
        assert await end(stores, again)
        assert (await hand.soon()).id == first.id
        assert await end(stores, jobs[second.id])
        assert (await hand.soon()).id == second.id
        assert hand.came.empty()

    async def test_who_waits_no_longer_is_handed_nothing(self, stores: Stores) -> None:
        hand, left, kept = Hand(), draft("left"), draft("kept")
        forget = hand.expect(stores, left.id)
        hand.expect(stores, kept.id)
        await enqueue(stores, left, kept)
        jobs = {job.id: job for job in await claim(stores)}
        forget()
        forget()
        for job_id in (left.id, kept.id):
            assert await end(stores, jobs[job_id])
        assert (await hand.soon()).id == kept.id
        assert hand.came.empty()
