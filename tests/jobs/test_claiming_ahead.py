"""A worker whose jobs are over in no time claims the next ones early; one whose jobs take long keeps nothing from others."""

from __future__ import annotations

import asyncio
import contextvars
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from working_scene import Agent, Interposed, draft, until

from corral.context import Context
from corral.jobs.job import JobQuery
from corral.jobs.line import Line
from corral.jobs.pace import AHEAD_S, Pace
from corral.jobs.running import Outcome, RunningJob

CONCURRENCY = 4
QUICK, SLOW = 9, 1


class TurnedClock:
    def __init__(self):
        self.at = 0.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.at


def paced(runs, run_s, every_s):
    clock = TurnedClock()
    pace = Pace(clock)
    for _ in range(runs):
        clock.at += every_s
        pace.ended(run_s)
    return pace, clock


def test_nothing_is_claimed_ahead_before_anything_ran():
    assert Pace(TurnedClock()).ahead(64) == 0


def test_of_quick_jobs_as_many_are_claimed_ahead_as_will_begin_soon():
    pace, _ = paced(1000, 0.0005, 0.001)
    assert pace.ahead(64) == pytest.approx(AHEAD_S / 0.001, abs=1)


def test_no_more_than_six_rounds_are_claimed_ahead():
    pace, _ = paced(5000, 0.0001, 0.00005)
    assert pace.ahead(8) == 48


def test_of_jobs_that_take_long_none_is_claimed_ahead_however_many_end():
    pace, _ = paced(5000, 0.02, 0.0002)
    assert pace.ahead(64) == 0


def test_one_long_job_among_short_ones_ends_it_for_a_while():
    pace, clock = paced(1000, 0.0005, 0.001)
    pace.ended(10.0)
    assert pace.ahead(64) == 0
    for _ in range(1000):
        clock.at += 0.001
        pace.ended(0.0005)
    assert pace.ahead(64) > 0


def test_when_nothing_ended_lately_the_rate_is_forgotten():
    pace, clock = paced(1000, 0.0005, 0.001)
    clock.at += 0.1
    assert pace.ahead(64) == 0
    pace.ended(0.0005)
    assert pace.ahead(64) < 10


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=40), st.data())
def test_who_leaves_the_line_is_gone_and_the_others_stay(arrivals, data):
    line = Line()
    jobs = [
        SimpleNamespace(claimed=SimpleNamespace(tenant=tenant, priority=priority), number=number)
        for number, (tenant, priority) in enumerate(arrivals)
    ]
    for job in jobs:
        line.add(job)
    waiting = list(line)
    assert sorted(map(id, waiting)) == sorted(map(id, jobs))
    priorities = [job.claimed.priority for job in waiting]
    assert priorities == sorted(priorities)
    leaving = data.draw(st.lists(st.sampled_from(range(len(jobs))), unique=True))
    for number in leaving:
        line.leave(jobs[number])
    stayed = [job for number, job in enumerate(jobs) if number not in leaving]
    assert len(line) == len(stayed)
    assert sorted(id(line.next()) for _ in stayed) == sorted(map(id, stayed))
    assert not line


class CountedClock:
    """A millisecond later at each look: how fast jobs go is the same on every machine and every disk."""

    def __init__(self):
        self.at = 0.0

    def monotonic(self):
        self.at += 0.001
        return self.at


class Limits(Interposed):
    """How much was claimed for at once."""

    def __init__(self, store):
        super().__init__(store)
        self.limits = []

    def __getattr__(self, name):
        call = super().__getattr__(name)
        if name not in {"claim", "stand_by"}:
            return call

        def noted(*args, **kwargs):
            self.limits.append(kwargs["limit"])
            return call(*args, **kwargs)

        return noted


class Mixed:
    """Quick jobs, and slow ones that are held up. Counts how many run at once."""

    def __init__(self):
        self.running = 0
        self.most = 0
        self.slow = []
        self.go_on = asyncio.Event()

    async def __call__(self, job):
        self.running += 1
        self.most = max(self.most, self.running)
        if job.claimed.priority == SLOW:
            self.slow.append(job.claimed.id)
            await self.go_on.wait()
        else:
            await asyncio.sleep(0)
        self.running -= 1
        return Outcome(job.claimed.input)


async def test_quick_jobs_are_claimed_before_there_is_room_and_no_more_run_at_once_than_may(
    make_worker, enqueue, seen, stores, monkeypatch
):
    monkeypatch.setattr("corral.jobs.pace._QUICK_S", 60.0)  # they are quick, however busy the machine is
    monkeypatch.setattr("corral.jobs.worker.Pace", lambda _: Pace(CountedClock()))
    store, agent = Limits(stores.jobs), Mixed()
    await enqueue(*[draft(number, priority=QUICK) for number in range(300)])
    await make_worker(agent, store=store, concurrency=CONCURRENCY)
    assert await seen.count(300) == ["succeeded"] * 300
    assert agent.most <= CONCURRENCY
    assert CONCURRENCY < max(store.limits) <= 2 * CONCURRENCY


async def test_slow_jobs_are_not_claimed_before_there_is_room(make_worker, enqueue, stores, seen):
    store = Limits(stores.jobs)

    async def slow(job):
        await asyncio.sleep(0.01)
        return Outcome(job.claimed.input)

    await enqueue(*[draft(number) for number in range(60)])
    await make_worker(slow, store=store, concurrency=CONCURRENCY)
    await seen.count(60)
    assert max(store.limits) <= CONCURRENCY


async def test_what_was_claimed_ahead_and_turns_out_slow_is_left_to_who_is_free(
    make_worker, enqueue, seen, look, stores
):
    first, second = Mixed(), Agent()
    await enqueue(*[draft(number, priority=QUICK) for number in range(300)])
    slow = await enqueue(*[draft(number, priority=SLOW) for number in range(3 * CONCURRENCY)])
    store = Limits(stores.jobs)
    await make_worker(first, store=store, concurrency=CONCURRENCY)
    await until(lambda: len(first.slow) == CONCURRENCY)
    await make_worker(second, concurrency=3 * CONCURRENCY)
    await until(lambda: len(second.jobs) == 2 * CONCURRENCY)
    assert sorted([*first.slow, *(job.id for job in second.jobs)]) == sorted(slow)
    assert first.most <= CONCURRENCY
    first.go_on.set()
    second.go_on.set()
    await until(lambda: seen.endings.count("succeeded") == 300 + 3 * CONCURRENCY)
    assert set(seen.endings) <= {"succeeded", "released"}
    assert {(await look(job_id)).attempt for job_id in slow} == {1}


@pytest.fixture
def with_one_too_many(make_worker, enqueue, stores):
    """A worker whose slots are taken, and a job that it has claimed all the same."""

    async def make(agent):
        most = CONCURRENCY
        worker = await make_worker(agent, concurrency=CONCURRENCY, slots=lambda concurrency: min(most, concurrency))
        await enqueue(*[draft(number) for number in range(CONCURRENCY)])
        await until(lambda: len(agent.jobs) == CONCURRENCY)
        (late,) = await enqueue(draft("late"))
        # As if it had been claimed ahead: there is no slot for it.
        (claimed,) = (await stores.jobs.claim(worker.name, queues=(), limit=1, lease_s=10)).jobs
        worker._take([claimed], asyncio.get_running_loop().time())
        assert worker.running == CONCURRENCY + 1
        return worker, late

    return make


async def test_what_is_cancelled_while_it_waits_in_a_worker_was_never_attempted(
    with_one_too_many, seen, look, stores, monkeypatch
):
    monkeypatch.setattr("corral.jobs.worker._LATE_S", 60.0)
    agent = Agent()
    worker, late_id = await with_one_too_many(agent)
    assert await stores.jobs.cancel("acme", JobQuery(), job_id=late_id) == [late_id]
    worker.cancel(late_id)
    await until(lambda: any(job.stop_reason == "cancelled" for job in worker._line))
    agent.go_on.set()
    await seen.count(CONCURRENCY + 1)
    late = await look(late_id)
    assert (late.status, late.attempt, late.started_at) == ("cancelled", 0, None)
    assert late_id not in {job.id for job in agent.jobs}


async def test_what_waits_in_a_worker_goes_back_as_soon_as_it_drains(with_one_too_many, seen, look):
    agent = Agent()
    worker, late_id = await with_one_too_many(agent)
    draining = asyncio.create_task(worker.drain())
    await until(lambda: seen.endings == ["released"])
    late = await look(late_id)
    assert (late.status, late.attempt) == ("queued", 0)
    agent.go_on.set()
    assert await draining
    assert len(agent.jobs) == CONCURRENCY


async def test_the_time_of_an_attempt_is_counted_from_when_it_begins(enqueue, stores):
    await enqueue(msgspec.structs.replace(draft("x"), timeout_s=5.0, deadline_s=60.0))
    (claimed,) = (await stores.jobs.claim("worker", queues=(), limit=1, lease_s=10)).jobs
    clock = TurnedClock()
    job = RunningJob(claimed, None, asyncio.get_running_loop(), clock, taken_at=0.0, timeout_s=900.0)
    clock.at = 3.0
    job.begin(clock.at)
    assert (job.started_at, job.deadline) == (3.0, 8.0)
    assert job.store_now() == pytest.approx(claimed.claimed_at + 3.0)
    job.begin(58.0)
    assert job.deadline == pytest.approx(60.0, abs=5.0)
    assert job.deadline < 58.0 + 5.0


async def test_a_run_that_is_over_keeps_nothing_of_what_it_ran_in(make_worker, enqueue, seen):
    """Else each would lead to itself, and the collector had to look for it."""
    runs = []

    async def enter(job):
        job.attach_to(Context(job.id))
        runs.append((job, job.task))
        return Outcome(job.claimed.input)

    await make_worker(enter, concurrency=CONCURRENCY)
    await enqueue(*[draft(number) for number in range(20)])
    await seen.count(20)
    assert all(task is not None and job.task is None and job.context is None for job, task in runs)


async def test_a_run_finds_nothing_of_what_another_one_has_set_around_itself(make_worker, enqueue, seen):
    set_by = contextvars.ContextVar("set_by", default=None)
    found = []

    async def mark(job):
        found.append(set_by.get())
        set_by.set(job.id)
        await asyncio.sleep(0)
        return Outcome(job.claimed.input)

    await enqueue(*[draft(number) for number in range(300)])
    await make_worker(mark, concurrency=CONCURRENCY)
    await seen.count(300)
    assert found == [None] * 300
