"""Where jobs are handed in: what a request becomes, and how many at once become one write."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from working_scene import TENANT

from corral.errors import IdempotencyKeyReused, NotFound, QueueFull, StoreUnavailable, ValidationFailed
from corral.jobs.desk import JobDesk
from corral.jobs.drafting import Caller
from corral.jobs.hub import JobHub
from corral.jobs.job import Backoff, Ending, Enqueued, JobQuery, QueueStats, Schedule
from corral.jobs.request import BatchRequest, JobRequest, read_request
from corral.settings.sections import JobSettings

ACME = Caller(tenant=TENANT, tier="gold", user_id="ada", traceparent="00-1-2-01")


class Queue:
    """A store that enqueues when it is let, and remembers in which groups."""

    def __init__(self):
        self.groups = []
        self.open = asyncio.Event()
        self.open.set()
        self.refused = {}

    async def enqueue(self, drafts, *, depth_max=None):
        self.groups.append([draft.queue for draft in drafts])
        await self.open.wait()
        for draft in drafts:
            if draft.queue in self.refused:
                raise self.refused[draft.queue]
        return [Enqueued(draft.id, True, "queued") for draft in drafts]


@pytest.fixture
def queue():
    return Queue()


def desk_of(queue, **settings):
    return JobDesk(queue, queue, None, JobSettings(**settings))


async def drafted(request, caller=ACME, **settings):
    queue = Queue()
    kept = []

    async def enqueue(drafts, **options):
        kept.extend(drafts)
        return [Enqueued(draft.id, True, "queued") for draft in drafts]

    queue.enqueue = enqueue
    await desk_of(queue, **settings).submit(caller, read_request(request))
    return kept[0]


async def test_settings_fill_in_what_a_request_leaves_out():
    draft = await drafted({"agent": "a"}, attempts_max=7, retry_initial_s=2.5, retry_jitter=0.1, dedupe_s=60)
    assert (draft.tenant, draft.tier, draft.user_id, draft.traceparent) == (TENANT, "gold", "ada", "00-1-2-01")
    assert (draft.max_attempts, draft.dedupe_s, draft.queue, draft.priority) == (7, 60, "default", 5)
    assert draft.backoff == Backoff(initial_s=2.5, jitter=0.1)
    assert (draft.input, draft.fairness_key, draft.idempotency_key, draft.fingerprint) == (b"null", "", None, "")


async def test_a_request_goes_before_the_settings():
    draft = await drafted(
        {
            "agent": "a",
            "max_attempts": 1,
            "backoff": {"max_s": 9, "jitter": 0},
            "priority": 0,
            "weight": 2,
            "dedupe_s": 5,
        }
    )
    assert (draft.max_attempts, draft.priority, draft.weight, draft.dedupe_s) == (1, 0, 2.0, 5)
    assert draft.backoff == Backoff(max_s=9, jitter=0)


async def test_callbacks_need_a_secret():
    with pytest.raises(ValidationFailed, match="callback_secret"):
        await drafted({"agent": "a", "callback": {"url": "https://example.com"}})


async def test_what_the_key_stands_for():
    keyed = msgspec.structs.replace(ACME, idempotency_key="k")
    same = [
        await drafted(body, keyed)
        for body in ({"agent": "a", "input": {"x": 1, "y": 2}}, {"input": {"y": 2, "x": 1}, "agent": "a"})
    ]
    other = [
        await drafted({"agent": "a", "input": {"x": 1}}, keyed),
        await drafted({"agent": "b", "input": {"x": 1, "y": 2}}, keyed),
        await drafted({"agent": "a", "input": {"x": 1, "y": 2}}, msgspec.structs.replace(keyed, session_id="s")),
    ]
    assert same[0].fingerprint == same[1].fingerprint
    assert len({draft.fingerprint for draft in (*same, *other)}) == 4


async def test_who_comes_meanwhile_goes_together(queue):
    desk = desk_of(queue)
    queue.open.clear()
    waiting = [asyncio.create_task(desk.submit(ACME, JobRequest(agent="a"))) for _ in range(10)]
    await asyncio.sleep(0)
    assert [len(group) for group in queue.groups] == [1]
    queue.open.set()
    answers = await asyncio.gather(*waiting)
    assert [len(group) for group in queue.groups] == [1, 9]
    assert len({answer.id for answer in answers}) == 10
    await desk.submit(ACME, JobRequest(agent="a"))
    assert [len(group) for group in queue.groups] == [1, 9, 1]


async def test_what_one_is_refused_for_hits_nobody_else(queue):
    desk = desk_of(queue)
    queue.refused = {"reused": IdempotencyKeyReused(), "full": QueueFull()}
    queue.open.clear()
    names = ["a", "b", "reused", "full", "full", "full", "c"]
    waiting = [asyncio.create_task(desk.submit(ACME, JobRequest(agent="a", queue=name))) for name in names]
    await asyncio.sleep(0)
    queue.open.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [
        Enqueued,
        Enqueued,
        IdempotencyKeyReused,
        QueueFull,
        QueueFull,
        QueueFull,
        Enqueued,
    ]
    assert queue.groups.count(["full"]) == 1  # the others were refused without asking again
    assert answers[3].retry_after_s >= 1
    assert len({id(answer) for answer in answers}) == len(names)


async def test_a_full_queue_is_asked_again_after_a_moment(queue):
    now = [0.0]
    desk = JobDesk(
        queue, queue, None, JobSettings(), clock=type("Clock", (), {"now": lambda: 0.0, "monotonic": lambda: now[0]})
    )
    queue.refused = {"default": QueueFull()}
    for _ in range(3):
        with pytest.raises(QueueFull):
            await desk.submit(ACME, JobRequest(agent="a"))
    assert len(queue.groups) == 1
    queue.refused = {}
    now[0] = 1.0
    assert (await desk.submit(ACME, JobRequest(agent="a"))).is_new


async def test_an_outage_is_told_to_all(queue):
    desk = desk_of(queue)
    queue.refused = {"default": StoreUnavailable("away")}
    queue.open.clear()
    waiting = [asyncio.create_task(desk.submit(ACME, JobRequest(agent="a"))) for _ in range(5)]
    await asyncio.sleep(0)
    queue.open.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert len(queue.groups) == 2
    queue.refused = {}
    assert (await desk.submit(ACME, JobRequest(agent="a"))).is_new


async def test_one_who_does_not_wait_any_more_holds_up_nobody(queue):
    desk = desk_of(queue)
    queue.open.clear()
    first, second, third = (asyncio.create_task(desk.submit(ACME, JobRequest(agent="a"))) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait([first, second])
    queue.open.set()
    assert (await third).is_new


async def test_unknown_agents_are_refused_before_anything_is_kept(queue):
    def check(agent, value):
        raise NotFound("no such agent")

    desk = JobDesk(queue, queue, None, JobSettings(), check_input=check)
    with pytest.raises(NotFound):
        await desk.submit(ACME, JobRequest(agent="x"))
    with pytest.raises(NotFound):
        await desk.submit_batch(ACME, BatchRequest(agent="x", inputs=[1]))
    schedule = Schedule(tenant=TENANT, name="n", cron="@hourly", job={"agent": "x"}, next_at=None)
    with pytest.raises(NotFound):
        desk.drafts(schedule, 0.0)
    assert queue.groups == []


# -- on both engines --------------------------------------------------------------------------------------------------


@pytest.fixture
async def desk(stores):
    hub = JobHub(stores.jobs, stores.job_records)
    await hub.start()
    yield JobDesk(stores.jobs, stores.job_records, hub, JobSettings())
    await hub.stop()


async def test_a_job_is_handed_in_and_ends(desk, stores):
    from corral.jobs.job import Ending

    job = await desk.submit(ACME, JobRequest(agent="a", input={"text": "ä\0"}))
    waiting = asyncio.create_task(desk.get(TENANT, job.id, wait_s=10))
    (claimed,) = (await stores.jobs.claim("w", queues=[], limit=1, lease_s=60)).jobs
    assert msgspec.json.decode(claimed.input) == {"text": "ä\0"}
    await stores.jobs.settle([Ending(claim=claimed.claim, kind="succeeded", result=b"1")])
    assert bytes((await waiting).result) == b"1"


async def test_who_hands_in_and_waits_hears_the_end(desk, stores):
    waiting = asyncio.create_task(desk.run(ACME, JobRequest(agent="a", input=1), 30.0))
    job = None
    while job is None:
        (job,) = (await stores.jobs.claim("w", queues=(), limit=1, lease_s=30.0)).jobs or (None,)
    await stores.jobs.settle([Ending(claim=job.claim, kind="succeeded", result=b"42")])
    enqueued, info = await waiting
    assert (enqueued.id, enqueued.is_new, info.status, bytes(info.result)) == (job.id, True, "succeeded", b"42")
    assert (len(desk.hub), desk.hub.jobs_followed) == (0, 0)


async def test_who_waits_long_enough_gets_the_job_as_it_is(desk):
    enqueued, info = await desk.run(ACME, JobRequest(agent="a"), 0.0)
    assert (info.id, info.status) == (enqueued.id, "queued")


async def test_the_same_request_again_waits_for_the_first_job(desk, stores):
    asked = msgspec.structs.replace(ACME, idempotency_key="k")
    first = await desk.submit(asked, JobRequest(agent="a"))
    (job,) = (await stores.jobs.claim("w", queues=(), limit=1, lease_s=30.0)).jobs
    await stores.jobs.settle([Ending(claim=job.claim, kind="succeeded", result=b"1")])
    enqueued, info = await desk.run(asked, JobRequest(agent="a"), 30.0)
    assert (enqueued.id, enqueued.is_new, info.status) == (first.id, False, "succeeded")


async def test_a_worker_that_leaves_holds_nobody_who_waits(desk, stores):
    waiting = asyncio.create_task(desk.run(ACME, JobRequest(agent="a"), 30.0))
    async with asyncio.timeout(10):
        while not (await stores.jobs.claim("w", queues=(), limit=1, lease_s=30.0)).jobs:
            pass
    desk.hub.drain()
    async with asyncio.timeout(10):
        _, info = await waiting
    assert info.status in {"queued", "running"}, "as it is by now, or was when it was last looked at"


async def test_a_store_that_goes_away_while_one_waits_loses_no_job(desk, monkeypatch):
    async def away(*_):
        raise StoreUnavailable

    monkeypatch.setattr(desk._records, "get", away)
    enqueued, info = await desk.run(ACME, JobRequest(agent="a"), 30.0)
    assert (enqueued.is_new, info) == (True, None)


async def test_where_too_many_wait_a_job_is_handed_in_all_the_same(stores):
    hub = JobHub(stores.jobs, stores.job_records, followers_max=0)
    desk = JobDesk(stores.jobs, stores.job_records, hub, JobSettings())
    enqueued, info = await desk.run(ACME, JobRequest(agent="a"), 30.0)
    assert (enqueued.is_new, info) == (True, None)


async def test_a_batch_repeated_is_one_batch(desk):
    keyed = msgspec.structs.replace(ACME, idempotency_key="k")
    first = await desk.submit_batch(keyed, BatchRequest(agent="a", inputs=[1, 2, 3]))
    again = await desk.submit_batch(keyed, BatchRequest(agent="a", inputs=[1, 2, 3]))
    assert (first.is_new, again.is_new) == (True, False)
    assert (again.id, again.jobs) == (first.id, first.jobs)
    batch = await desk.batch(TENANT, first.id)
    assert (batch.total, batch.counts["queued"]) == (3, 3)
    with pytest.raises(IdempotencyKeyReused):
        await desk.submit_batch(keyed, BatchRequest(agent="a", inputs=[1, 2]))
    found = await desk.find(TENANT, JobQuery(batch_id=first.id))
    assert {job.id for job in found.items} == set(first.jobs)


async def test_floods_on_both_engines_are_all_kept(desk):
    answers = await asyncio.gather(*(desk.submit(ACME, JobRequest(agent="a", input=n)) for n in range(300)))
    page = await desk.find(TENANT, JobQuery(limit=1000))
    assert {answer.id for answer in answers} == {job.id for job in page.items}


async def test_queues_that_the_settings_name_are_shown_empty(queue):
    async def queues():
        return [QueueStats(queue="used", queued=2)]

    queue.queues = queues
    found = await desk_of(queue, queues=["gpu"]).queues()
    assert [(one.queue, one.queued) for one in found] == [("default", 0), ("gpu", 0), ("used", 2)]


async def test_a_worker_is_shown_for_three_leases(queue):
    asked = []

    async def workers(*, within_s):
        asked.append(within_s)
        return []

    queue.workers = workers
    await desk_of(queue, lease_s=100).workers()
    assert asked == [300]
