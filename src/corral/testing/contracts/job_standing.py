"""What a `JobStore` promises about claims that wait for work, where it has such: what comes goes straight to who waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.testing.contracts.job_setting import LEASE_S, draft, end, enqueue, names, status
from corral.testing.contracts.job_wakes import Ear
from corral.testing.contracts.setting import PATIENCE_S, Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.jobs.job import ClaimedJob
    from corral.jobs.store import StandingClaim


def stand(
    stores: Stores, limit: int = 10, *, queues: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> StandingClaim:
    """Wait for work; where the engine cannot, there is nothing to be promised."""
    standing = stores.jobs.stand_by("w", queues=queues, limit=limit, lease_s=LEASE_S, exclude=exclude)
    if standing is None:
        pytest.skip("This engine has no claims that wait.")
    return standing


async def came(standing: StandingClaim) -> list[ClaimedJob]:
    """What it was answered with."""
    return (await asyncio.wait_for(standing.claimed, PATIENCE_S)).jobs


class StandingClaimContract(Contract):
    """Claims that wait for work."""

    async def test_what_comes_is_held_by_who_waits(self, stores: Stores) -> None:
        standing = stand(stores)
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await came(standing)
        assert (job.id, job.attempt) == (job_id, 1)
        assert await status(stores, job_id) == "running"
        assert not standing.withdraw()
        assert await names(stores) == []
        assert await end(stores, job)
        assert await status(stores, job_id) == "succeeded"

    async def test_what_was_withdrawn_takes_nothing(self, stores: Stores) -> None:
        standing = stand(stores)
        assert standing.withdraw()
        assert not standing.withdraw()
        await enqueue(stores, draft("a"))
        assert await names(stores) == ["a"]
        assert not standing.claimed.done()

    async def test_who_waited_first_is_first_and_the_rest_is_left_to_the_next(self, stores: Stores) -> None:
        first, second = stand(stores, 2), stand(stores, 10)
        await enqueue(stores, *(draft(name) for name in "abc"))
        assert [job.tags[0] for job in await came(first)] == ["a", "b"]
        assert [job.tags[0] for job in await came(second)] == ["c"]

    async def test_nobody_is_woken_for_what_was_taken_and_everybody_for_what_was_not(self, stores: Stores) -> None:
        ear = Ear()
        unwatch = stores.jobs.watch_work(ear.woken)
        standing = stand(stores, 2)
        await ear.quiet()
        await enqueue(stores, draft("a"))
        await came(standing)
        await asyncio.sleep(0)
        assert not ear.heard.is_set()
        standing = stand(stores, 1)
        await enqueue(stores, draft("b"), draft("c"))
        await came(standing)
        await ear.soon()
        assert await names(stores) == ["c"]
        unwatch()

    async def test_queues_and_agents_are_those_of_the_claim(self, stores: Stores) -> None:
        elsewhere, picky = stand(stores, queues=("other",)), stand(stores, exclude=("main",))
        ear = Ear()
        unwatch = stores.jobs.watch_work(ear.woken)
        await ear.quiet()
        await enqueue(stores, draft("a"))
        assert await came(elsewhere) == []
        assert await came(picky) == []
        await ear.soon()  # it is still there
        assert await names(stores) == ["a"]
        unwatch()

    async def test_a_key_that_gets_free_hands_its_next_job_to_who_waits(self, stores: Stores) -> None:
        standing = stand(stores)
        await enqueue(stores, draft("a", session_id="s"), draft("b", session_id="s"))
        (job,) = await came(standing)
        standing = stand(stores)
        assert await end(stores, job)
        assert [one.tags[0] for one in await came(standing)] == ["b"]

    async def test_a_refused_enqueue_leaves_it_waiting(self, stores: Stores) -> None:
        standing = stand(stores)
        with pytest.raises(Exception, match="at most"):
            await stores.jobs.enqueue([draft("a")], depth_max=0)
        assert standing.withdraw()
