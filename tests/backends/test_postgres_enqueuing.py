"""How batches get into PostgreSQL: the usual one in one statement, others the long way, both to the same end."""

from __future__ import annotations

import time

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corral.backends.postgres.job_alike import alike_of
from corral.backends.postgres.job_depth import Depths
from corral.clock import new_time_id
from corral.errors import JobStateConflict, QueueFull, ValidationFailed
from corral.jobs.job import Backoff, Callback, Ending, JobDraft


def draft(**more):
    return JobDraft(**{"id": new_time_id(time.time()), "tenant": "acme", "agent": "main", "input": b"{}", **more})


async def rows(url, sql, *args):
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(sql, *args)]
    finally:
        await connection.close()


def apart(drafts):
    """The same jobs, in a batch that is not alike: one more with another agent, that comes last."""
    return [*drafts, draft(agent="other", queue="apart")]


FULL = {
    "queue": "gpu",
    "user_id": "ann",
    "batch_id": "b",
    "tags": ("a", "b"),
    "priority": 7,
    "fairness_key": "team",
    "weight": 2.0,
    "deadline_s": 3600.0,
    "timeout_s": 5.0,
    "max_attempts": 7,
    "backoff": Backoff(initial_s=9.0),
    "version": "2",
    "tier": "gold",
    "traceparent": "00-1-2-01",
    "callback": Callback(url="https://example.org/"),
}


@pytest.mark.parametrize("more", [{}, FULL], ids=["plain", "full"])
async def test_both_ways_write_the_same(postgres_stores, postgres_url, more):
    both = []
    for way in (list, apart):
        drafts = [draft(input=b'{"n": %d}' % number, **more) for number in range(3)]
        assert (alike_of(way(drafts)) is not None) == (way is list)
        answers = await postgres_stores.jobs.enqueue(way(drafts))
        assert [answer.id for answer in answers[:3]] == [draft.id for draft in drafts]
        assert all(answer.is_new and answer.state == "queued" for answer in answers)
        written = await rows(
            postgres_url,
            "SELECT to_jsonb(job) - '{id,place,pass,ready_at,aged_at,created_at,deadline_at}'::text[] AS job, "
            "round(deadline_at - created_at) AS late, ready_at = aged_at AS fresh, ready_at = created_at AS at_once "
            "FROM corral.job_queue AS job WHERE id = ANY ($1) ORDER BY place",
            [draft.id for draft in drafts],
        )
        assert len(written) == 3
        both.append(written)
    assert both[0] == both[1]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    batches=st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from(["a", "b"]), st.sampled_from([0.5, 1.0, 3.0])), max_size=6
    )
)
async def test_both_ways_give_the_same_turns(postgres_stores, postgres_url, batches):
    """Passes of every job, when the same batches of several lanes come one after the other."""
    found = []
    for way in (list, apart):
        queue = new_time_id(time.time())
        for count, lane, weight in batches:
            await postgres_stores.jobs.enqueue(
                way([draft(queue=queue, fairness_key=lane, weight=weight) for _ in range(count)])
            )
        found.append(
            [
                row["pass"]
                for row in await rows(
                    postgres_url, "SELECT pass FROM corral.job_queue WHERE queue = $1 ORDER BY place", queue
                )
            ]
        )
    assert found[0] == pytest.approx(found[1])


async def test_what_was_enqueued_before_is_told_again(postgres_stores, postgres_url):
    drafts = [draft() for _ in range(3)]
    await postgres_stores.jobs.enqueue(drafts[:2])
    (job,) = (await postgres_stores.jobs.claim("w", queues=[], limit=1, lease_s=60.0)).jobs
    await postgres_stores.jobs.settle([Ending(claim=job.claim, kind="succeeded", result=b"1")])
    answers = await postgres_stores.jobs.enqueue(drafts)
    assert [answer.is_new for answer in answers] == [False, False, True]
    assert sorted(answer.state for answer in answers) == ["queued", "queued", "succeeded"]
    assert (
        len(await rows(postgres_url, "SELECT FROM corral.jobs_shown WHERE id = ANY ($1)", [one.id for one in drafts]))
        == 3
    )


async def test_an_id_twice_in_a_batch_is_one_job(postgres_stores):
    twice = draft()
    answers = await postgres_stores.jobs.enqueue([twice, draft(), twice])
    assert [answer.is_new for answer in answers] == [True, True, False]


async def test_somebody_elses_id_refuses_the_whole_batch(postgres_stores, postgres_url):
    theirs = draft(tenant="other")
    await postgres_stores.jobs.enqueue([theirs])
    ours = draft()
    with pytest.raises(JobStateConflict):
        await postgres_stores.jobs.enqueue([ours, draft(id=theirs.id)])
    assert not await rows(postgres_url, "SELECT FROM corral.job_queue WHERE id = $1", ours.id)


@pytest.mark.parametrize(
    "more",
    [
        {"session_id": "s"},
        {"concurrency_key": "k"},
        {"idempotency_key": "i"},
        {"run_at": 1.0},
        {"delay_s": 1.0},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_waits_or_was_asked_for_before_goes_the_long_way(more):
    assert alike_of([draft(**more), draft(**more)]) is None


def test_an_odd_one_among_many_goes_the_long_way():
    assert alike_of([draft(), draft(), draft(tags=("a",))]) is None
    with pytest.raises(ValidationFailed):
        alike_of([draft(), draft(id="")])


# -- how full a queue is -----------------------------------------------------------------------------------------------


class CountedEngine:
    """A store that says how many jobs are open, and takes its time."""

    def __init__(self, depth, takes_s):
        self.depth = depth
        self.takes_s = takes_s
        self.now = 100.0
        self.asked = 0

    async def fetch_one(self, _sql, _queue, limit):
        self.asked += 1
        self.now += self.takes_s
        return (min(self.depth, limit),)


def depths_of(engine):
    return Depths(engine, now=lambda: engine.now)


async def asked_in(engine, depths, seconds, depth_max):
    before = engine.asked
    until = engine.now + seconds
    while engine.now < until:
        await depths.check([], depth_max)
        await depths.check(["default"], depth_max)
        engine.now += 0.25
    return engine.asked - before


async def test_a_queue_with_much_room_is_counted_the_rarer_the_longer_it_takes():
    assert await asked_in(quick := CountedEngine(1000, 0.001), depths_of(quick), 20, 1_000_000) >= 16
    assert await asked_in(slow := CountedEngine(100_000, 0.05), depths_of(slow), 20, 1_000_000) <= 5
    assert 2 <= await asked_in(slower := CountedEngine(100_000, 5.0), depths_of(slower), 40, 1_000_000) <= 4


async def test_a_queue_that_fills_up_is_counted_every_second_again():
    engine = CountedEngine(400_000, 0.1)
    depths = depths_of(engine)
    await depths.check(["default"], 1_000_000)
    await depths.check(["default"] * 200_000, 1_000_000)  # Our own: known without counting.
    assert engine.asked == 1
    assert await asked_in(engine, depths, 1.5, 1_000_000) >= 1
    engine.depth = 1_000_000
    engine.now += 10.0
    with pytest.raises(QueueFull):
        await depths.check(["default"], 1_000_000)
