"""Many followers of many jobs in one process, on both engines."""

from __future__ import annotations

import asyncio
import json

import pytest
from working_scene import TENANT, draft, until

from corral.errors import JobNotFound, Overloaded, StoreUnavailable
from corral.jobs.bell import Bell
from corral.jobs.follower import NOTHING
from corral.jobs.hub import JobHub
from corral.jobs.job import Ending, JobEvent, JobEventDraft, JobInfo
from corral.jobs.topic import KEPT_BYTES, KEPT_EVENTS, Topic


@pytest.fixture
async def hub(stores):
    made = JobHub(stores.jobs, stores.job_records)
    await made.start()
    await made.start()
    yield made
    await made.stop()
    await made.stop()


@pytest.fixture
async def running(stores):
    """A job that a worker has."""
    await stores.jobs.enqueue([draft({"prompt": "hi"})])
    return (await stores.jobs.claim("w", queues=[], limit=1, lease_s=60)).jobs[0]


class Listener:
    """One who follows, and what it has heard."""

    def __init__(self, hub, job_id, tenant=TENANT, **options):
        self.hub, self.job_id, self.tenant, self.options = hub, job_id, tenant, options
        self.bell = Bell()
        self.seqs, self.states = [], []

    async def __aenter__(self):
        self.follower = await self.hub.follow(self.tenant, self.job_id, self.bell.ring, **self.options)
        return self

    async def __aexit__(self, *error):
        self.follower.close()
        self.follower.close()

    async def listen(self, *, seq=None, state=None):
        """Until an event of this number, or that state, was told."""
        async with asyncio.timeout(10):
            while not (seq in self.seqs or state in self.states):
                news = await self.follower.take()
                if news is NOTHING:
                    await self.bell.wait()
                assert not (self.states and self.states[-1] in {"succeeded", "failed"} and news.events)
                self.seqs += [event.seq for event in news.events]
                if news.info is not None:
                    self.states.append(news.info.status)
        return self


async def say(stores, job, *pieces):
    await stores.jobs.emit([JobEventDraft(job.claim, "piece", json.dumps(piece).encode()) for piece in pieces])


async def succeed(stores, job):
    await stores.jobs.settle([Ending(claim=job.claim, kind="succeeded", result=b'"done"')])


async def test_followers_hear_all_in_order_and_the_end_last(hub, stores, running):
    async with Listener(hub, running.id) as early, Listener(hub, running.id) as other:
        for number in range(50):
            await say(stores, running, number)
        async with Listener(hub, running.id, after=20) as late:
            await succeed(stores, running)
            for listener in (early, other, late):
                await listener.listen(state="succeeded")
            assert hub.jobs_followed == 1
            assert len(hub) == 3
    assert early.seqs == other.seqs == list(range(1, 51))
    assert late.seqs == list(range(21, 51))
    assert early.states[-1] == "succeeded"
    assert (len(hub), hub.jobs_followed) == (0, 0)


async def test_who_wants_no_events_hears_of_states_alone(hub, stores, running):
    async with Listener(hub, running.id, events=False) as listener:
        await say(stores, running, "a")
        await succeed(stores, running)
        await listener.listen(state="succeeded")
        assert listener.seqs == []


async def test_who_comes_to_hear_events_where_others_only_wait(hub, stores, running):
    async with Listener(hub, running.id, events=False) as waiting:
        await waiting.listen(state="running")
        await say(stores, running, "a", "b")
        async with Listener(hub, running.id) as listener:
            await listener.listen(seq=2)
            await say(stores, running, "c")
            await listener.listen(seq=3)
            assert listener.seqs == [1, 2, 3]


async def test_waiting_for_the_end(hub, stores, running):
    waiting = [asyncio.create_task(hub.wait(TENANT, running.id, 10)) for _ in range(5)]
    await until(lambda: len(hub) == 5)
    await succeed(stores, running)
    for info in await asyncio.gather(*waiting):
        assert bytes(info.result) == b'"done"'
        assert bytes(info.input).replace(b" ", b"") == b'{"prompt":"hi"}'
    assert (await hub.wait(TENANT, running.id, 10)).status == "succeeded"
    assert len(hub) == 0


async def test_nobody_waits_longer_than_it_was_asked_to(hub, stores, running):
    assert (await hub.wait(TENANT, running.id, 0.01)).status == "running"
    assert (await hub.wait(TENANT, running.id, 0)).status == "running"
    waiting = asyncio.create_task(hub.wait(TENANT, running.id, 10))
    await until(lambda: len(hub) == 1)
    hub.drain()
    assert (await waiting).status == "running"


async def test_a_job_of_another_tenant_cannot_be_followed(hub, stores, running):
    with pytest.raises(JobNotFound):
        await hub.follow("other", running.id, print)
    async with Listener(hub, running.id):
        with pytest.raises(JobNotFound):
            await hub.follow("other", running.id, print)
    assert hub.jobs_followed == 0
    assert not hub._looked_up


async def test_a_number_that_never_was_is_brought_back_to_the_newest(hub, stores, running):
    await say(stores, running, "a", "b")
    async with Listener(hub, running.id, after=10**15) as listener:
        await say(stores, running, "c")
        await listener.listen(seq=3)
        assert listener.seqs == [3]


async def test_an_end_that_was_taken_back_is_no_end(hub, stores, running):
    await stores.jobs.settle([Ending(claim=running.claim, kind="cancelled")])
    async with Listener(hub, running.id) as first:
        await first.listen(state="cancelled")
        await stores.job_records.redrive(TENANT, _everything(), job_id=running.id)
        async with Listener(hub, running.id) as second:
            await second.listen(state="queued")


async def test_what_moved_while_a_job_was_looked_up_is_not_missed(hub, stores, running):
    get = stores.job_records.get

    async def slow_get(tenant, job_id):
        info = await get(tenant, job_id)
        if info is not None and info.status == "running" and not settled.is_set():
            settled.set()
            await succeed(stores, running)
            await until(lambda: hub._looked_up.get(running.id))
        return info

    settled = asyncio.Event()
    hub._records = type("Slow", (), {"get": staticmethod(slow_get), "events": stores.job_records.events})
    hub._poll_s = 1000
    async with Listener(hub, running.id) as listener:
        await listener.listen(state="succeeded")


async def test_one_who_leaves_while_a_job_is_looked_up_leaves_nothing(hub, stores, running):
    tasks = [asyncio.create_task(hub.follow(TENANT, running.id, print)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result().close()
    assert (hub.jobs_followed, len(hub), hub._looked_up) == (0, 0, {})


async def test_a_store_that_fails_is_asked_again(hub, stores, running):
    records, answers = stores.job_records, ["down", "broken"]

    class Failing:
        async def get(self, *args):
            if answers:
                raise StoreUnavailable if answers.pop(0) == "down" else ValueError("broken")
            return await records.get(*args)

        events = staticmethod(records.events)

    hub._poll_s = 0.02
    async with Listener(hub, running.id) as listener:
        await listener.listen(state="running")
        hub._records = Failing()
        await succeed(stores, running)
        for _ in range(100):
            hub._moved([running.id])
            if not answers:
                break
            await asyncio.sleep(0.01)
        hub._moved([running.id])
        await listener.listen(state="succeeded")


async def test_followers_are_bounded(stores, running):
    hub = JobHub(stores.jobs, stores.job_records, followers_max=1)
    follower = await hub.follow(TENANT, running.id, print)
    with pytest.raises(Overloaded):
        await hub.follow(TENANT, running.id, print)
    follower.close()
    (await hub.follow(TENANT, running.id, print)).close()


async def test_what_a_drain_tells(hub):
    heard = []
    hub.on_drain(lambda: heard.append("a"))
    forget = hub.on_drain(lambda: heard.append("b"))
    forget()
    hub.drain()
    assert heard == ["a"]


# -- a topic ----------------------------------------------------------------------------------------------------------


def info_of(**changes):
    import msgspec

    fields = dict.fromkeys(JobInfo.__struct_fields__) | {"status": "running", "id": "x", "tags": (), "last_seq": 0}
    fields |= {"attempt": 1, "cancel_requested": False, "awaits": "", "input": msgspec.Raw(b"null")}
    return JobInfo(**{**fields, **changes})


def event_of(seq, size=1):
    import msgspec

    return JobEvent(seq, 1, "piece", 0.0, msgspec.Raw(b'"' + b"x" * size + b'"'))


class Still:
    def __init__(self, seq):
        self.seq, self.wants_events = seq, True

    def woken(self):
        pass


def test_a_topic_keeps_what_somebody_has_not_heard_and_is_bounded():
    topic = Topic(TENANT, info_of(), 0.0)
    behind = Still(0)
    topic.followers |= {behind, Still(10**9)}
    topic.listeners = 2
    topic.add([event_of(seq) for seq in range(1, 11)])
    assert [event.seq for event in topic.since(4)] == [5, 6, 7, 8, 9, 10]
    behind.seq = 8
    topic.add([event_of(11)])
    assert (topic.floor, len(topic.since(8))) == (8, 3)
    topic.add([event_of(seq) for seq in range(12, 12 + KEPT_EVENTS)])
    assert len(topic._kept) <= KEPT_EVENTS
    assert topic.floor == topic._kept[0].seq - 1 > behind.seq
    topic.add([event_of(2000 + number, 100_000) for number in range(10)])
    assert topic._kept_bytes <= KEPT_BYTES
    assert topic._kept_bytes == sum(len(bytes(event.data)) for event in topic._kept)
    topic.add([event_of(3000, 10 * KEPT_BYTES)])
    assert topic._kept == []
    assert topic.floor == topic.seq == 3000


def test_a_large_input_is_not_kept_while_nobody_asks_for_it():
    import msgspec

    large = msgspec.Raw(b'"' + b"x" * 10_000 + b'"')
    assert bytes(Topic(TENANT, info_of(input=large), 0.0).info.input) == b"null"
    assert bytes(Topic(TENANT, info_of(input=large, status="failed"), 0.0).info.input) == bytes(large)


def _everything():
    from corral.jobs.job import JobQuery

    return JobQuery()
