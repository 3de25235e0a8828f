"""A process that was stopped for longer than a lease, wherever it was, does nothing that costs until it knows its jobs are its own."""

from __future__ import annotations

from types import SimpleNamespace

from working_scene import Agent, Interposed, draft, until

from corral.jobs.heartbeat import Heartbeat
from corral.jobs.outage import Outage
from corral.jobs.running import Outcome
from corral.jobs.store import Renewed

LEASE_S = 0.2


async def test_what_was_claimed_before_it_slept_may_be_another_s_by_now(make_worker, enqueue, look, seen, stores):
    paid = []

    async def pay():
        paid.append(1)

    async def shop(job):
        await job.step("pay", pay, (), {})
        return Outcome()

    async def is_taken_by_another():
        await stores.jobs.reap()
        return (await stores.jobs.claim("another", queues=[], limit=1, lease_s=60)).jobs

    async def sleep_over_the_lease():
        if len(store.calls["claim"]) == 1:
            await until(is_taken_by_another)

    store = Interposed(stores.jobs)
    store.after["claim"] = sleep_over_the_lease
    (job_id,) = await enqueue(draft())
    await make_worker(shop, store=store, lease_s=LEASE_S)
    assert await seen.count(1) == ["lost"]
    assert paid == []
    assert (await look(job_id)).worker == "another"


async def test_a_beat_that_finds_a_claim_lost_does_not_freshen_it(make_worker, enqueue, seen):
    agent = Agent()
    await make_worker(agent, lease_s=60)
    await enqueue(draft(), draft())
    await until(lambda: len(agent.jobs) == 2)
    lost, kept = agent.jobs
    lost.renewed_at = kept.renewed_at = -1.0

    async def renew(claims, **_):
        return Renewed(lost=[lost.claim.token], cancelled=[])

    heartbeat = Heartbeat(
        lambda: None,
        Outage(),
        lease_s=60,
        clock=SimpleNamespace(monotonic=lambda: 5.0),
        report=lambda _: None,
        describe=lambda: None,
    )
    await heartbeat._renew(SimpleNamespace(renew=renew), [lost, kept], None)
    assert (lost.renewed_at, kept.renewed_at) == (-1.0, 5.0)
    agent.go_on.set()
    await seen.count(2)
