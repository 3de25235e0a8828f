from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from corral.backends.open import open_stores
from corral.backends.sqlite import job_watcher as watcher_module
from corral.jobs.job import Callback, Ending, JobDraft, JobEventDraft, JobQuery
from corral.testing.contracts.setting import PATIENCE_S, eventually

PRODUCER = """
import asyncio, sys
from corral.backends.open import open_stores
from corral.jobs.job import JobDraft

async def main(url):
    stores = open_stores(url)
    await stores.start()
    for line in sys.stdin:
        await stores.jobs.enqueue([JobDraft(id=line.strip(), tenant="acme", agent="main", input=b"1")])
        print("done", flush=True)
    await stores.stop()

asyncio.run(main(sys.argv[1]))
"""


class Bell:
    """Something to be woken by, and to wait for."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self.told: list[str] = []

    def __call__(self, told=()) -> None:
        self.told += told
        self.rung.set()

    async def wait(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.rung.wait()
        self.rung.clear()

    async def wait_for(self, *told: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not set(told) <= set(self.told):
                await self.rung.wait()
                self.rung.clear()
        self.told.clear()


def draft(name: str, **more) -> JobDraft:
    return JobDraft(**{"id": name, "tenant": "acme", "agent": "main", "input": b"1", **more})


async def claimed(stores, limit=10):
    return (await stores.jobs.claim("w", queues=(), limit=limit, lease_s=30)).jobs


async def settled(bell: Bell, watcher) -> None:
    """Until the watcher's first look is over, which always hints: what was before it is not known."""
    await bell.wait()
    await eventually(lambda: _true(watcher._tops is not None or watcher._outbox is not None))
    await asyncio.sleep(0)
    bell.rung.clear()


async def _true(value: bool) -> bool:
    return value


async def test_work_that_gets_ready_here_is_told_at_once(sqlite_stores, monkeypatch):
    monkeypatch.setattr(watcher_module.JobWatcher, "_look", lambda *_, **__: None)
    bell = Bell()
    unwatch = sqlite_stores.jobs.watch_work(bell)
    for more in ({}, {"session_id": "s"}, {"delay_s": 60.0}):
        await sqlite_stores.jobs.enqueue([draft(str(more), **more)])
        await bell.wait()
    for job in await claimed(sqlite_stores):
        await sqlite_stores.jobs.settle([Ending(claim=job.claim, kind="released")])
        await bell.wait()
    unwatch()
    await sqlite_stores.jobs.enqueue([draft("unheard")])
    await asyncio.sleep(0)
    assert not bell.rung.is_set()


async def test_work_of_another_instance_is_told(sqlite_stores, other_sqlite_stores):
    bell = Bell()
    unwatch = sqlite_stores.jobs.watch_work(bell)
    await settled(bell, sqlite_stores._engine._job_watcher)
    for name, more in (("ready", {}), ("later", {"delay_s": 60.0}), ("sooner", {"delay_s": 30.0})):
        await other_sqlite_stores.jobs.enqueue([draft(name, **more)])
        await bell.wait()
    (job,) = await claimed(other_sqlite_stores)
    await other_sqlite_stores.jobs.settle([Ending(claim=job.claim, kind="released")])
    await bell.wait()
    unwatch()


async def test_work_of_another_process_is_told_within_milliseconds(sqlite_url, sqlite_stores):
    bell = Bell()
    unwatch = sqlite_stores.jobs.watch_work(bell)
    producer = subprocess.Popen(  # noqa: ASYNC220 - it talks through pipes that are read in a thread
        [sys.executable, "-c", PRODUCER, sqlite_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def produce(name: str) -> float:
        producer.stdin.write(f"{name}\n")
        producer.stdin.flush()
        assert producer.stdout.readline() == "done\n"
        return time.monotonic()

    await asyncio.to_thread(produce, "first")
    await bell.wait()
    pauses = []
    for number in range(5):
        assert len(await claimed(sqlite_stores)) in {0, 1}
        bell.rung.clear()
        committed = asyncio.create_task(asyncio.to_thread(produce, f"{number}"))
        await bell.wait()
        heard = time.monotonic()
        pauses.append(heard - await committed)
    unwatch()
    await asyncio.to_thread(producer.communicate)
    assert min(pauses) < 0.05
    assert producer.returncode == 0


async def test_followed_jobs_are_told_of_here_and_elsewhere(sqlite_stores, other_sqlite_stores):
    here, there = Bell(), Bell()
    one, other = sqlite_stores.jobs.watch_jobs(here), other_sqlite_stores.jobs.watch_jobs(there)
    await sqlite_stores.jobs.enqueue([draft("a"), draft("b"), draft("unfollowed")])
    for watch in (one, other):
        watch.follow("a")
        watch.follow("b")
        watch.follow("b")
    (a, b, unfollowed) = await claimed(sqlite_stores)
    await here.wait_for("a", "b")
    await there.wait_for("a", "b")
    events = [JobEventDraft(job.claim, "piece", b"1") for job in (a, b, unfollowed)]
    assert await sqlite_stores.jobs.emit(events) == [1, 1, 1]
    await here.wait_for("a", "b")
    await there.wait_for("a", "b")
    await other_sqlite_stores.jobs.cancel("acme", JobQuery(), job_id="a")
    await here.wait_for("a")
    await there.wait_for("a")
    one.unfollow("b")
    await sqlite_stores.jobs.settle([Ending(claim=job.claim, kind="succeeded") for job in (a, b)])
    await here.wait_for("a", "b")
    await there.wait_for("a", "b")
    assert "unfollowed" not in here.told + there.told
    one.close()
    other.close()
    other.unfollow("a")
    assert not sqlite_stores._engine.job_hints.watched


async def test_what_this_process_said_itself_is_told_once(sqlite_stores):
    bell = Bell()
    await sqlite_stores.jobs.enqueue([draft("a"), draft("last")])
    (job, last) = await claimed(sqlite_stores)
    watch = sqlite_stores.jobs.watch_jobs(bell)
    watch.follow("a")
    watch.follow("last")
    await sqlite_stores.jobs.settle([Ending(claim=last.claim, kind="succeeded")])
    watcher = sqlite_stores._engine._job_watcher
    await eventually(lambda: _true(watcher._known.get("last", ("",))[0] == "succeeded"))
    await asyncio.sleep(0)
    bell.told.clear()
    for seq in range(1, 6):
        await sqlite_stores.jobs.emit([JobEventDraft(job.claim, "piece", b"1")])
        await eventually(lambda seq=seq: _true(watcher._known["a"][1] == seq))
    await asyncio.sleep(0)
    assert bell.told == ["a"] * 5
    watch.close()


async def test_callbacks_are_told_of_here_and_elsewhere(sqlite_stores, other_sqlite_stores):
    here, there = Bell(), Bell()
    unwatch = [sqlite_stores.outbox.watch(here), other_sqlite_stores.outbox.watch(there)]
    await settled(there, other_sqlite_stores._engine._job_watcher)
    for name in "ab":
        await sqlite_stores.jobs.enqueue([draft(name, callback=Callback("https://example.com"))])
        (job,) = await claimed(sqlite_stores)
        await sqlite_stores.jobs.settle([Ending(claim=job.claim, kind="succeeded")])
        await here.wait()
        await there.wait()
    for end in unwatch:
        end()


async def test_the_watcher_sleeps_while_nobody_waits_and_ends_with_the_engine(sqlite_url, monkeypatch):
    monkeypatch.setattr(watcher_module, "_PARK_AFTER_S", 0.01)
    stores = open_stores(sqlite_url)
    bell = Bell()
    unwatch = stores.jobs.watch_work(bell)  # before the start
    await stores.start()
    await bell.wait()
    watcher = stores._engine._job_watcher
    unwatch()
    await eventually(lambda: _true(watcher.parked))
    unwatch = stores.jobs.watch_work(bell)
    bell.rung.clear()
    await bell.wait()
    unwatch()
    await stores.stop()
    assert not watcher._thread.is_alive()


@pytest.mark.parametrize("jobs", [1200])
async def test_many_followed_jobs_are_looked_at_in_chunks(sqlite_stores, other_sqlite_stores, jobs):
    names = [f"{number}" for number in range(jobs)]
    await sqlite_stores.jobs.enqueue([draft(name) for name in names])
    bell = Bell()
    watch = other_sqlite_stores.jobs.watch_jobs(bell)
    for name in names:
        watch.follow(name)
    await claimed(sqlite_stores, jobs)
    await bell.wait_for(*names)
    watch.close()


async def test_a_claim_that_waits_takes_what_another_process_brings(sqlite_stores, other_sqlite_stores):
    bell = Bell()
    unwatch = sqlite_stores.jobs.watch_work(bell)
    await settled(bell, sqlite_stores._engine._job_watcher)
    standing = sqlite_stores.jobs.stand_by("w", queues=(), limit=5, lease_s=30)
    await other_sqlite_stores.jobs.enqueue([draft("a"), draft("b")])
    async with asyncio.timeout(PATIENCE_S):
        taken = (await standing.claimed).jobs
    assert [job.id for job in taken] == ["a", "b"]
    assert await claimed(sqlite_stores) == []
    unwatch()


async def test_what_a_claim_that_waits_does_not_want_is_told_to_the_others(sqlite_stores, other_sqlite_stores):
    bell = Bell()
    unwatch = sqlite_stores.jobs.watch_work(bell)
    await settled(bell, sqlite_stores._engine._job_watcher)
    standing = sqlite_stores.jobs.stand_by("w", queues=("other",), limit=5, lease_s=30)
    await other_sqlite_stores.jobs.enqueue([draft("a")])
    async with asyncio.timeout(PATIENCE_S):
        assert (await standing.claimed).jobs == []
    await bell.wait()
    assert [job.id for job in await claimed(sqlite_stores)] == ["a"]
    unwatch()


async def test_work_that_comes_while_the_store_closes_is_left_to_others(sqlite_url, other_sqlite_stores):
    stores = open_stores(sqlite_url)
    await stores.start()
    standing = stores.jobs.stand_by("w", queues=(), limit=5, lease_s=30)
    engine = stores._engine
    engine._writer.finish()
    engine._came({("default", 5): 1.0})
    await stores.stop()
    engine._came({("default", 5): 2.0})
    assert not standing.claimed.done()
    await other_sqlite_stores.jobs.enqueue([draft("a")])
    assert [job.id for job in await claimed(other_sqlite_stores)] == ["a"]
