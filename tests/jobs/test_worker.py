from __future__ import annotations

import asyncio
import logging

import pytest
from working_scene import TENANT, Agent, Interposed, Seen, draft, echo, until

from corral.context import Context
from corral.errors import Draining, Interrupted, Overloaded, ValidationFailed
from corral.jobs import minding
from corral.jobs.job import JobQuery
from corral.jobs.running import Outcome
from corral.jobs.store import Renewed


async def test_it_runs_what_is_enqueued(make_worker, enqueue, look, seen):
    worker = await make_worker(echo)
    (job_id,) = await enqueue(draft({"a": 1}))
    assert await seen.count(1) == ["succeeded"]
    job = await look(job_id)
    assert (job.status, bytes(job.result), job.worker) == ("succeeded", b'{"a":1}', worker.name)
    assert worker.running == 0


async def test_it_runs_no_more_at_once_than_it_has_slots(make_worker, enqueue, seen, stores):
    store = Interposed(stores.jobs)
    agent = Agent()
    worker = await make_worker(agent, store=store, concurrency=3)
    await enqueue(*[draft(number) for number in range(8)])
    await until(lambda: len(agent.jobs) == 3)
    assert worker.running == 3
    agent.go_on.set()
    assert await seen.count(8) == ["succeeded"] * 8
    assert len(store.calls["settle"]) < 8


async def test_many_jobs_are_written_in_few_calls(make_worker, enqueue, seen, stores):
    store = Interposed(stores.jobs)
    await enqueue(*[draft(number) for number in range(200)])
    await make_worker(echo, store=store, concurrency=50)
    await seen.count(200)
    assert len(store.calls["settle"]) <= 20


async def test_a_failed_attempt_is_tried_again(make_worker, enqueue, look, seen):
    async def run(job):
        if job.attempt == 1:
            raise ValueError("not today")
        return Outcome(b"1")

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    job = await look(job_id)
    assert (job.status, job.attempt, job.failures) == ("succeeded", 2, 1)


async def test_a_job_that_keeps_failing_is_a_dead_letter(make_worker, enqueue, look, seen, stores):
    async def run(job):
        raise ValueError(f"attempt {job.attempt}")

    await make_worker(run)
    (job_id,) = await enqueue(draft(max_attempts=2))
    assert await seen.count(2) == ["retry", "failed"]
    job = await look(job_id)
    assert (job.status, job.error.message, job.error.type) == ("failed", "attempt 2", "ValueError")
    attempts = await stores.job_records.attempts(TENANT, job_id)
    assert [each.error.message for each in attempts] == ["attempt 1", "attempt 2"]


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (ValidationFailed("no prompt"), "failed"),
        (Interrupted(), "cancelled"),
        (SystemExit(2), "retry"),
        (KeyboardInterrupt(), "retry"),
        (asyncio.CancelledError(), "retry"),
        (Overloaded(), "retry"),
    ],
)
async def test_nothing_that_is_raised_takes_the_worker_down(make_worker, enqueue, seen, error, ending):
    async def run(job):
        if job.attempt == 1:
            raise error
        return Outcome()

    await make_worker(run)
    await enqueue(draft())
    await seen.count(1)
    assert seen.endings[0] == ending


async def test_a_runtime_that_drains_hands_the_job_back(make_worker, enqueue, look, seen):
    async def run(job):
        if job.attempt == 1:
            raise Draining
        return Outcome()

    await make_worker(run)
    (job_id,) = await enqueue(draft(max_attempts=1))
    assert await seen.count(2) == ["released", "succeeded"]
    assert (await look(job_id)).failures == 0


async def test_an_attempt_may_take_only_so_long(make_worker, enqueue, look, seen):
    agent = Agent()
    await make_worker(agent)
    (job_id,) = await enqueue(draft(timeout_s=0.05, max_attempts=2))
    assert await seen.count(2) == ["retry", "failed"]
    job = await look(job_id)
    assert (job.error.code, job.error.message) == ("timeout", "The attempt took longer than 0.05 s.")
    assert agent.stopped.is_set()
    assert agent.jobs[0].cancelled


async def test_a_job_may_take_only_so_long(make_worker, enqueue, look):
    await make_worker(Agent())
    (job_id,) = await enqueue(draft(deadline_s=0.3))

    async def ended():
        job = await look(job_id)
        return job if job.status == "failed" else None

    job = await until(ended)
    assert (job.error.code, job.error.retryable) == ("deadline_exceeded", False)


async def test_a_worker_can_be_told_of_a_cancellation(make_worker, enqueue, seen, stores, monkeypatch):
    monkeypatch.setattr(minding, "_FOLLOW_AFTER_S", 3600.0)
    agent = Agent()
    worker = await make_worker(agent, lease_s=3600)
    (job_id,) = await enqueue(draft())
    await agent.began.wait()
    await stores.jobs.cancel(TENANT, JobQuery(), job_id=job_id)
    worker.cancel("another")
    worker.cancel(job_id)
    assert await seen.count(1) == ["cancelled"]


async def test_a_result_that_is_too_large_says_so(make_worker, enqueue, look, seen):
    await make_worker(echo, result_max_bytes=10)
    (job_id,) = await enqueue(draft("x" * 100))
    assert await seen.count(1) == ["failed"]
    assert "jobs.result_max_bytes" in (await look(job_id)).error.message


async def test_a_context_follows_its_job(make_worker, enqueue, seen, stores):
    contexts = []

    async def run(job):
        context = Context("r1")
        job.attach_to(context)
        contexts.append(context)
        await asyncio.Event().wait()

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    (context,) = await until(lambda: contexts)
    assert (context.job_id, context.attempt, context.cancelled) == (job_id, 1, False)
    assert context.deadline is not None
    await stores.jobs.cancel(TENANT, JobQuery(), job_id=job_id)
    assert await seen.count(1) == ["cancelled"]
    assert context.cancelled


async def test_a_running_job_is_cancelled_soon(make_worker, enqueue, look, seen, stores, monkeypatch):
    monkeypatch.setattr(minding, "_FOLLOW_AFTER_S", 0.0)
    agent = Agent()
    await make_worker(agent, lease_s=3600)
    (job_id,) = await enqueue(draft())
    await agent.began.wait()
    await until(lambda: agent.jobs[0].context is None)
    await stores.jobs.cancel(TENANT, JobQuery(), job_id=job_id)
    assert await seen.count(1) == ["cancelled"]
    assert agent.stopped.is_set()
    assert (await look(job_id)).status == "cancelled"


async def test_an_agent_that_does_not_stop_is_left_alone(make_worker, enqueue, look, seen, monkeypatch, caplog):
    monkeypatch.setattr(minding, "GRACE_S", 0.05)
    go_on = asyncio.Event()

    async def run(job):
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return Outcome(b'"too late"')

    worker = await make_worker(run)
    (job_id,) = await enqueue(draft(timeout_s=0.05, max_attempts=1))
    assert await seen.count(1) == ["failed"]
    assert "did not stop within" in caplog.text
    go_on.set()
    await until(lambda: not worker._left_alone)
    assert seen.endings == ["failed"]
    assert (await look(job_id)).status == "failed"


async def test_a_lost_claim_ends_the_run_and_writes_nothing(make_worker, enqueue, look, seen, stores):
    store = Interposed(stores.jobs)
    agent = Agent()
    worker = await make_worker(agent, store=store)
    (job_id,) = await enqueue(draft())
    await agent.began.wait()
    worker._minder.renewed(Renewed(lost=[agent.jobs[0].claim.token], cancelled=["unknown"]))
    assert await seen.count(1) == ["lost"]
    assert agent.stopped.is_set()
    assert not store.calls["settle"]
    assert (await look(job_id)).status == "running"


async def test_a_worker_that_cannot_renew_loses_its_job_to_another(make_worker, enqueue, look, seen):
    stalled, other = Agent("stalled"), Agent("other")
    others = Seen()
    worker = await make_worker(stalled, lease_s=0.5)
    await until(lambda: worker.beats)
    worker.beats[0].jobs.down = True
    (job_id,) = await enqueue(draft())
    await stalled.began.wait()
    await worker._claimer.drain()
    await make_worker(other, lease_s=0.5, observer=others)
    await other.began.wait()
    stalled.go_on.set()
    assert await seen.count(1) == ["lost"]
    other.go_on.set()
    assert await others.count(1) == ["succeeded"]
    job = await look(job_id)
    assert (bytes(job.result), job.attempt) == (b'"other"', 2)


async def test_draining_lets_jobs_finish_and_claims_no_more(make_worker, enqueue, look, seen):
    agent = Agent()
    worker = await make_worker(agent)
    await enqueue(draft())
    await agent.began.wait()
    assert not await worker.drain(0.01)
    (later,) = await enqueue(draft())
    draining = asyncio.create_task(worker.drain())
    agent.go_on.set()
    assert await draining
    assert await worker.drain()
    assert seen.endings == ["succeeded"]
    assert (await look(later)).status == "queued"


async def test_stopping_hands_back_what_still_runs(make_worker, enqueue, look, seen):
    agent = Agent()
    worker = await make_worker(agent)
    (job_id,) = await enqueue(draft(max_attempts=1))
    await agent.began.wait()
    await worker.stop()
    await worker.stop()
    assert seen.endings == ["released"]
    job = await look(job_id)
    assert (job.status, job.failures) == ("queued", 0)
    await make_worker(echo)
    assert await seen.count(2) == ["released", "succeeded"]


async def test_what_is_claimed_while_draining_is_handed_back(make_worker, enqueue, look, seen, stores):
    store = Interposed(stores.jobs)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold_up():
        reached.set()
        await go_on.wait()

    (job_id,) = await enqueue(draft())
    store.before["claim"] = hold_up
    agent = Agent()
    worker = await make_worker(agent, store=store)
    await reached.wait()
    draining = asyncio.create_task(worker.drain())
    await asyncio.sleep(0)
    go_on.set()
    assert await draining
    assert seen.endings == ["released"]
    assert not agent.jobs
    assert (await look(job_id)).status == "queued"


async def test_a_result_outlives_an_outage(make_worker, enqueue, look, seen, stores, caplog):
    store = Interposed(stores.jobs)
    agent = Agent("done")
    await make_worker(agent, store=store, poll_s=0.05)
    (job_id,) = await enqueue(draft())
    await agent.began.wait()
    with caplog.at_level(logging.INFO, "corral.jobs"):
        store.down = True
        agent.go_on.set()
        (later,) = await enqueue(draft())
        await until(lambda: "does not answer" in caplog.text)
        assert not seen.endings
        store.down = False
        assert await seen.count(2) == ["succeeded"] * 2
        await until(lambda: "answers again" in caplog.text)
    assert caplog.text.count("does not answer") == 1
    assert (await look(job_id)).status == (await look(later)).status == "succeeded"


async def test_an_ending_that_the_store_refuses_becomes_a_failure(make_worker, enqueue, look, seen, stores):
    store = Interposed(stores.jobs)

    async def refuse():
        if len(store.calls["settle"]) == 1:
            raise ValueError("not this")

    store.before["settle"] = refuse
    await make_worker(echo, store=store)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["failed"]
    assert (await look(job_id)).error.message == "not this"


async def test_a_lost_wake_up_costs_no_more_than_the_poll(make_worker, enqueue, seen, stores):
    worker = await make_worker(echo, poll_s=0.05)
    worker._claimer._unwatch()
    worker._claimer._unwatch = None
    await enqueue(draft())
    assert await seen.count(1) == ["succeeded"]


async def test_a_job_is_run_when_it_is_due(make_worker, enqueue, seen):
    await make_worker(echo, poll_s=3600)
    await enqueue(draft(delay_s=0.1))
    assert await seen.count(1) == ["succeeded"]


async def test_a_worker_reports_itself(make_worker, enqueue, seen, stores):
    worker = await make_worker(echo, concurrency=7, queues=["default"], lease_s=0.5)
    await enqueue(draft())
    await seen.count(1)

    async def reported():
        (info,) = await stores.job_records.workers(within_s=60) or [None]
        return info if info is not None and info.finished else None

    info = await until(reported)
    assert (info.worker, info.slots, info.queues, info.finished, info.failed) == (worker.name, 7, ("default",), 1, 0)
