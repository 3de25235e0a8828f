from __future__ import annotations

import asyncio

from working_scene import draft, echo, until

from corral.errors import StoreUnavailable
from corral.jobs import reaper as reaper_module
from corral.jobs.outage import Outage
from corral.jobs.reaper import Reaper
from corral.jobs.store import Reaped
from corral.settings.sections import JobSettings


class Swept:
    """A store that says what it is told to, and notes what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.called = asyncio.Event()

    async def reap(self, **asked):
        self.calls.append(asked)
        self.called.set()
        answer = self.answers.pop(0) if self.answers else Reaped()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def forget(self, *, before, limit):
        self.calls.append(before)
        return limit if len(self.calls) < 4 else 0


def reaper_of(store, *, records=None, chance=lambda: 0.0, **settings):
    return Reaper(store, records, JobSettings(**settings), Outage(chance), chance=chance)


async def test_it_sweeps_until_nothing_is_left():
    store = Swept(Reaped(requeued=1000), Reaped(failed=1000), Reaped(requeued=3))
    reaper = reaper_of(store, ageing_s=7)
    await reaper.start()
    await reaper.start()
    await store.called.wait()
    await reaper.drain()
    await reaper.drain()
    await reaper.stop()
    assert store.calls[0] == {"limit": 1000, "ageing_s": 7}


async def test_it_goes_on_after_an_outage(caplog):
    store = Swept(StoreUnavailable("down"), StoreUnavailable("down"))
    reaper = reaper_of(store)
    await reaper.start()
    await until(lambda: len(store.calls) >= 3)
    await reaper.stop()
    assert caplog.text.count("does not answer") == 1


async def test_it_forgets_what_is_old_enough(monkeypatch):
    monkeypatch.setattr(reaper_module, "_FORGET_S", 0.0)
    store, records = Swept(), Swept()
    reaper = reaper_of(store, records=records, keep_s=100)
    await reaper.start()
    await until(lambda: len(records.calls) >= 4)
    await reaper.stop()


def test_a_dead_workers_jobs_are_picked_up_within_a_second_of_their_lease():
    assert reaper_of(None, lease_s=10)._period_s == 1.0
    assert reaper_of(None, lease_s=2)._period_s == 0.5


async def test_a_job_of_a_dead_worker_is_run_by_another(make_worker, enqueue, look, seen, stores):
    (job_id,) = await enqueue(draft())
    await stores.jobs.claim("dead", queues=[], limit=1, lease_s=0.2)
    await make_worker(echo, lease_s=0.5)
    assert await seen.count(1) == ["succeeded"]
    job = await look(job_id)
    assert (job.attempt, job.failures) == (2, 1)


class Hands:
    """A clock whose hands can be set."""

    def __init__(self):
        self.passed = 100.0
        self.shown = 1_000_000.0

    def now(self):
        return self.shown + self.passed

    def monotonic(self):
        return self.passed


def test_no_lease_counts_as_over_just_after_the_clock_was_set_forward(caplog):
    clock = Hands()
    reaper = Reaper(Swept(), None, JobSettings(lease_s=9), Outage(), clock=clock)
    assert not reaper._is_held()
    clock.passed += 1_000
    clock.shown += 1
    assert not reaper._is_held()
    clock.shown += 30
    assert reaper._is_held()
    clock.passed += 8.9
    assert reaper._is_held()
    clock.passed += 0.2
    assert not reaper._is_held()
    clock.shown -= 60
    assert not reaper._is_held()
    assert caplog.text.count("The clock went forward by 30.0 s") == 1


async def test_it_sweeps_again_when_leases_can_be_believed():
    store, clock = Swept(), Hands()
    reaper = Reaper(store, None, JobSettings(lease_s=0.3), Outage(), clock=clock, chance=lambda: 0.0)
    clock.shown += 60
    await reaper.start()
    await until(lambda: reaper._hold_until > 0)
    assert store.calls == []
    clock.passed += 1
    await store.called.wait()
    await reaper.stop()
