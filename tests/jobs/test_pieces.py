from __future__ import annotations

import asyncio

import msgspec
import pytest
from working_scene import TENANT, Interposed, draft, until

from corral.context import Context
from corral.jobs import pieces as pieces_module
from corral.jobs.running import Outcome


@pytest.fixture
def told(stores):
    async def events_of(job_id):
        return [
            (event.kind, msgspec.json.decode(event.data)) for event in await stores.job_records.events(TENANT, job_id)
        ]

    return events_of


async def test_pieces_are_there_before_the_end_and_texts_are_joined(make_worker, enqueue, told, seen):
    async def run(job):
        for piece in (b'"He"', b'"llo \\u00e9"', b'""', b'{"n":1}', b'"a"', b'"b"', b"[]"):
            await job.say(piece)
        return Outcome()

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["succeeded"]
    assert await told(job_id) == [("piece", "Hello é"), ("piece", {"n": 1}), ("piece", "ab"), ("piece", [])]


async def test_what_is_said_while_the_store_is_busy_goes_together(make_worker, enqueue, told, seen, stores):
    store = Interposed(stores.jobs)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold_up():
        reached.set()
        await go_on.wait()

    async def run(job):
        await job.say(b'"first"')
        await reached.wait()
        for _ in range(100):
            await job.say(b'"x"')
        go_on.set()
        return Outcome()

    store.before["emit"] = hold_up
    await make_worker(run, store=store)
    (job_id,) = await enqueue(draft())
    await seen.count(1)
    assert await told(job_id) == [("piece", "first"), ("piece", "x" * 100)]
    assert len(store.calls["emit"]) == 2


async def test_an_outage_repeats_nothing_and_loses_nothing(make_worker, enqueue, told, seen, stores):
    store = Interposed(stores.jobs)

    async def run(job):
        store.down = True
        await job.say(b'"a"')
        await asyncio.sleep(0.02)
        await job.say(b'"b"')
        store.down = False
        return Outcome()

    await make_worker(run, store=store)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["succeeded"]
    assert "".join(text for _, text in await told(job_id)) == "ab"


async def test_who_is_far_ahead_of_the_store_waits(make_worker, enqueue, seen, stores, monkeypatch):
    monkeypatch.setattr(pieces_module, "_AHEAD_MAX_BYTES", 100)
    store = Interposed(stores.jobs)
    go_on = asyncio.Event()
    said = []

    async def run(job):
        for number in range(10):
            await job.say(b'{"text":"%s"}' % (b"x" * 50))
            said.append(number)
        return Outcome()

    async def hold_up():
        await go_on.wait()

    store.before["emit"] = hold_up
    await make_worker(run, store=store)
    await enqueue(draft())
    await until(lambda: store.calls["emit"])
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(said) < 5
    go_on.set()
    assert await seen.count(1) == ["succeeded"]
    assert len(said) == 10


async def test_a_new_attempt_says_so_before_it_says_anything_else(make_worker, enqueue, told, seen):
    async def run(job):
        await job.say(b'"half"')
        if job.attempt == 1:
            raise ValueError
        await job.say(b'" and half"')
        return Outcome()

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    assert await told(job_id) == [("piece", "half"), ("attempt", {"attempt": 2}), ("piece", "half and half")]


async def test_progress_is_shown_now_and_then_and_at_last(make_worker, enqueue, told, seen, look):
    async def run(job):
        context = Context("r1")
        job.attach_to(context)
        for percent in range(101):
            await context.progress(percent / 100, f"page {percent}")
        await context.progress(7, "done")
        return Outcome()

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    await seen.count(1)
    events = await told(job_id)
    assert events[0] == ("progress", {"fraction": 0.0, "message": "page 0"})
    assert events[-1] == ("progress", {"fraction": 1.0, "message": "done"})
    assert len(events) < 10
    assert msgspec.json.decode((await look(job_id)).progress) == {"fraction": 1.0, "message": "done"}


async def test_progress_from_a_thread(make_worker, enqueue, told, seen):
    async def run(job):
        await asyncio.to_thread(job.progress, 0.5, "half")
        return Outcome()

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    await seen.count(1)
    assert await told(job_id) == [("progress", {"fraction": 0.5, "message": "half"})]


async def test_what_is_said_after_the_end_is_not_heard(make_worker, enqueue, told, seen):
    jobs = []

    async def run(job):
        jobs.append(job)
        return Outcome()

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    await seen.count(1)
    await jobs[0].say(b'"late"')
    jobs[0].emit("log", b"{}")
    jobs[0].progress(0.5, "late")
    assert await told(job_id) == []


async def test_who_speaks_under_a_lost_claim_is_stopped(make_worker, enqueue, seen, stores):
    class Lossy(Interposed):
        async def emit(self, drafts, **_):
            return [0] * len(drafts)

    async def run(job):
        await job.say(b'"a"')
        await asyncio.Event().wait()

    await make_worker(run, store=Lossy(stores.jobs))
    await enqueue(draft())
    assert await seen.count(1) == ["lost"]
