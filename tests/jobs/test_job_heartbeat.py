from __future__ import annotations

import threading
import time

import pytest
from working_scene import TENANT, Agent, HeartbeatOf, Seen, draft, until

from corral.backends.open import open_stores
from corral.clock import SYSTEM_CLOCK
from corral.errors import StoreUnavailable
from corral.jobs.heartbeat import Heartbeat, _batches
from corral.jobs.job import JobQuery
from corral.jobs.outage import Outage
from corral.jobs.running import Outcome

LEASE_S = 0.5


@pytest.mark.usefixtures("may_block")
async def test_a_loop_that_is_blocked_for_three_leases_keeps_its_job(make_worker, enqueue, look, seen, stores, url):
    async def careless(job):
        time.sleep(3 * LEASE_S)  # noqa: ASYNC251 - the careless agent is the point
        return Outcome(b'"mine"')

    reaped = []
    end = threading.Event()

    def reap():
        import asyncio

        async def sweep():
            other = open_stores(url)
            await other.start()
            while not end.wait(0.05):
                reaped.append(await other.jobs.reap())
            await other.stop()

        asyncio.run(sweep())

    other_process = threading.Thread(target=reap)
    await make_worker(careless, lease_s=LEASE_S)
    other_process.start()
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["succeeded"]
    end.set()
    other_process.join()
    assert len(reaped) > 5
    assert not sum(each.requeued + each.failed for each in reaped)
    job = await look(job_id)
    assert (job.attempt, bytes(job.result)) == (1, b'"mine"')


async def test_a_wish_to_cancel_is_heard_with_the_next_beat(make_worker, enqueue, seen, stores):
    agent = Agent()
    await make_worker(agent, lease_s=LEASE_S)
    (job_id,) = await enqueue(draft())
    await agent.began.wait()
    await stores.jobs.cancel(TENANT, JobQuery(), job_id=job_id)
    assert await seen.count(1) == ["cancelled"]


async def test_a_worker_that_stops_is_not_shown_any_more(make_worker, stores):
    worker = await make_worker(Agent())

    async def is_shown():
        return [one.worker for one in await stores.job_records.workers(within_s=60)] == [worker.name]

    await until(is_shown)
    await worker.stop()
    assert await stores.job_records.workers(within_s=60) == []


async def test_a_store_that_is_gone_when_a_worker_stops(make_worker, stores, caplog):
    worker = await make_worker(Agent())
    await until(lambda: worker.beats and worker.beats[0].jobs.calls["renew"])
    worker.beats[0].jobs.down = True
    await worker.stop()
    assert len(await stores.job_records.workers(within_s=60)) == 1
    assert "does not answer" in caplog.text


async def test_a_job_that_is_overdue_and_stuck_is_given_up(make_worker, enqueue, seen):
    agent = Agent()
    worker = await make_worker(agent, lease_s=LEASE_S)
    await enqueue(draft())
    await agent.began.wait()
    job = agent.jobs[0]
    heartbeat = worker._heartbeat
    assert job in heartbeat._due(job.started_at + LEASE_S, everything=True)
    assert job not in heartbeat._due(job.deadline + LEASE_S + 1, everything=True)
    job.ended = True
    assert job in heartbeat._due(job.deadline + LEASE_S + 1, everything=True)
    job.ended = False


async def test_a_store_that_is_down_for_a_while_costs_no_job(make_worker, enqueue, seen, url, caplog):
    agent = Agent()
    worker = await make_worker(agent, lease_s=LEASE_S)
    await until(lambda: worker.beats and worker.beats[0].jobs.calls["renew"])
    worker.beats[0].jobs.down = True
    await enqueue(draft())
    await agent.began.wait()
    job = agent.jobs[0]
    await until(lambda: "heartbeat" in caplog.text)
    worker.beats[0].jobs.down = False
    await until(lambda: job.renewed_at > job.started_at)
    agent.go_on.set()
    assert await seen.count(1) == ["succeeded"]
    assert caplog.text.count("does not answer") == 1


async def test_a_store_that_does_not_open_is_opened_again(url, stores, caplog):
    failures = [StoreUnavailable("down"), StoreUnavailable("down")]
    beaten = threading.Event()

    class Closed(HeartbeatOf):
        async def start(self):
            if failures:
                raise failures.pop()
            await super().start()
            beaten.set()

        async def stop(self):
            await super().stop()
            if failures:
                raise StoreUnavailable("cannot even close")

    from corral.jobs.job import WorkerInfo

    info = WorkerInfo(
        worker="w", queues=(), slots=1, running=0, finished=0, failed=0, per_s=0.0, started_at=0.0, seen_at=0.0
    )
    heartbeat = Heartbeat(
        lambda: Closed(open_stores(url)),
        Outage(),
        lease_s=LEASE_S,
        clock=SYSTEM_CLOCK,
        report=lambda _: None,
        describe=lambda: info,
    )
    heartbeat.start()
    heartbeat.start()
    await until(beaten.is_set)
    await heartbeat.stop()
    await heartbeat.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "corral-jobs-beat"]


def test_many_claims_are_renewed_in_parts():
    assert [len(batch) for batch in _batches([None] * 1001)] == [500, 500, 1]
    assert [len(batch) for batch in _batches([])] == [0]


async def test_stopping_before_the_thread_has_begun(make_worker):
    for _ in range(5):
        worker = await make_worker(Agent(), observer=Seen())
        await worker.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "corral-jobs-beat"]
