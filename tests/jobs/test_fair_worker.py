"""A tenant with many jobs does not keep out one with few: counted in jobs, so that a slow machine changes nothing."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from working_scene import draft

from corral.jobs.line import Line
from corral.jobs.running import Outcome

CONCURRENCY = 16


async def test_a_job_of_a_quiet_tenant_waits_for_two_rounds_of_a_loud_one_at_most(make_worker, enqueue, seen):
    begun = []
    is_enough, is_there = asyncio.Event(), asyncio.Event()

    async def note(job):
        begun.append(job.claimed.tenant)
        if job.claimed.tenant == "quiet":
            is_there.set()
        elif len(begun) == 50:
            is_enough.set()
        await asyncio.sleep(0)
        return Outcome()

    await enqueue(*[msgspec.structs.replace(draft(), tenant="loud") for _ in range(400)])
    await make_worker(note, concurrency=CONCURRENCY)
    for _ in range(3):
        async with asyncio.timeout(20):
            await is_enough.wait()
        is_there.clear()
        await enqueue(msgspec.structs.replace(draft(), tenant="quiet"))
        before = len(begun)
        async with asyncio.timeout(20):
            await is_there.wait()
        assert begun.index("quiet", 0) - before <= 2 * CONCURRENCY
        begun[:] = ["loud"] * len(begun)
    await seen.count(403)


def waiting(tenant, priority, number):
    return SimpleNamespace(claimed=SimpleNamespace(tenant=tenant, priority=priority), number=number)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=40))
def test_the_urgent_go_first_tenants_in_turns_and_each_in_its_own_order(arrivals):
    line = Line()
    for number, (tenant, priority) in enumerate(arrivals):
        line.add(waiting(tenant, priority, number))
    assert len(line) == len(arrivals)
    gone = [line.next() for _ in arrivals]
    assert len(line) == 0
    assert sorted(job.number for job in gone) == list(range(len(arrivals)))
    priorities = [job.claimed.priority for job in gone]
    assert priorities == sorted(priorities, reverse=True)
    for priority in set(priorities):
        level = [job for job in gone if job.claimed.priority == priority]
        for tenant in "abc":
            places = [place for place, job in enumerate(level) if job.claimed.tenant == tenant]
            numbers = [level[place].number for place in places]
            assert numbers == sorted(numbers)
            # Between two of one tenant, everybody else who waits goes once.
            assert all(later - earlier <= 3 for earlier, later in itertools.pairwise(places))
