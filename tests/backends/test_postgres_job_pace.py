"""What claiming, ending and sweeping may cost in PostgreSQL, and that the short ways end as the long ones do."""

from __future__ import annotations

import time

import asyncpg
import pytest

from corral.backends.open import open_stores
from corral.clock import new_time_id
from corral.jobs.job import Callback, Claim, Ending, JobDraft, JobError, JobQuery
from corral.testing.contracts.setting import eventually

MANY = 1500
ROUNDS = 20


def draft(**more):
    return JobDraft(**{"id": new_time_id(time.time()), "tenant": "acme", "agent": "main", "input": b"{}", **more})


async def claim(stores, limit):
    return (await stores.jobs.claim("w", queues=[], limit=limit, lease_s=60.0)).jobs


def ended(job, kind="succeeded", **more):
    return Ending(claim=job.claim, kind=kind, **({"result": b"1"} if kind == "succeeded" else {}), **more)


async def fetch(url, sql, *args):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql, *args)
    finally:
        await connection.close()


async def reads(url, index):
    """Entries of an index (or of those of all partitions) that were read, once all connections have said so."""

    async def is_counted():
        (row,) = await fetch(url, "SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = 'job_queue_pkey'")
        return row[0] > 0

    await eventually(is_counted)
    (row,) = await fetch(url, "SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE indexrelname LIKE $1", index)
    return int(row[0])


@pytest.mark.parametrize("kind", ["succeeded", "failed"])
async def test_old_and_new_jobs_end_together_without_reading_those_between(fresh_postgres_url, kind):
    stores = open_stores(fresh_postgres_url, pool_max=1)
    await stores.start()
    now = time.time()

    def at(age_s, **more):
        return draft(id=new_time_id(now - age_s), **more)

    # The plan is made for the first pair, when all tables are empty, and kept.
    for number in range(ROUNDS + 1):
        await stores.jobs.enqueue([at(60 + number / 100, priority=9), at(number / 100, priority=9)])
        if number == 0:
            await stores.jobs.settle([ended(job) for job in await claim(stores, 2)])
            await stores.jobs.enqueue([at(30 + n / 1000) for n in range(MANY)])
    for _ in range(ROUNDS):
        error = JobError("agent_error", "no") if kind == "failed" else None
        assert all(await stores.jobs.settle([ended(job, kind, error=error) for job in await claim(stores, 2)]))
    await stores.stop()
    assert await reads(fresh_postgres_url, "jobs\\_%pkey") < MANY * 2


async def test_sweeping_does_not_read_the_queue(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url, pool_max=1)
    await stores.start()
    await stores.jobs.enqueue([draft() for _ in range(MANY)])
    assert all(await stores.jobs.settle([ended(job) for job in await claim(stores, 1)]))
    await fetch(fresh_postgres_url, "ANALYZE corral.job_queue")
    before = await fetch(fresh_postgres_url, "SELECT seq_tup_read FROM pg_stat_all_tables WHERE relname = 'job_queue'")
    for _ in range(ROUNDS):
        await stores.jobs.reap(limit=10)
    await stores.stop()
    assert await reads(fresh_postgres_url, "job\\_queue\\_ready") < MANY * ROUNDS / 2
    after = await fetch(fresh_postgres_url, "SELECT seq_tup_read FROM pg_stat_all_tables WHERE relname = 'job_queue'")
    assert after[0][0] - before[0][0] < MANY * ROUNDS / 2


async def test_a_page_of_a_list_reads_little_more_than_itself(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url, pool_max=1)
    await stores.start()
    for _ in range(20):
        await stores.jobs.enqueue([draft() for _ in range(MANY // 20)])
        await stores.jobs.enqueue([draft(tenant="other") for _ in range(MANY // 20)])
    for _ in range(ROUNDS):
        for status in ((), ("queued",)):
            assert len((await stores.job_records.find("acme", JobQuery(limit=10, status=status))).items) == 10
        assert not (await stores.job_records.find("acme", JobQuery(limit=10, status=("succeeded",)))).items
    await stores.stop()
    assert await reads(fresh_postgres_url, "job\\_queue\\_pkey") < MANY


async def test_idle_heads_are_swept_and_those_with_work_stay(postgres_stores, postgres_url):
    await postgres_stores.jobs.enqueue([draft(queue=queue) for queue in ("idle", "busy")])
    (job,) = (await postgres_stores.jobs.claim("w", queues=["idle"], limit=1, lease_s=60.0)).jobs
    await postgres_stores.jobs.settle([ended(job)])
    await fetch(postgres_url, "DELETE FROM corral.job_lanes")  # As a minute later.
    await postgres_stores.jobs.reap()
    assert [row[0] for row in await fetch(postgres_url, "SELECT queue FROM corral.job_heads")] == ["busy"]


async def test_some_of_a_batch_lost_their_claims(postgres_stores, postgres_url):
    await postgres_stores.jobs.enqueue([draft(callback=Callback(url="https://example.org/")) for _ in range(5)])
    jobs = await claim(postgres_stores, 5)
    await postgres_stores.jobs.settle([ended(jobs[1])])
    await fetch(postgres_url, "UPDATE corral.job_queue SET token = 'other.1:acme' WHERE id = $1", jobs[2].id)
    stale = Ending(claim=Claim(jobs[3].id, "nobody"), kind="succeeded", result=b"2")
    said = await postgres_stores.jobs.settle([ended(jobs[4]), stale, ended(jobs[2]), ended(jobs[1]), ended(jobs[0])])
    assert said == [True, False, False, True, True]  # The second one said so before: its answer may have got lost.
    open_now = await fetch(postgres_url, "SELECT id FROM corral.job_queue ORDER BY id")
    assert {row[0] for row in open_now} == {jobs[2].id, jobs[3].id}
    called = await fetch(postgres_url, "SELECT job_id, count(*) FROM corral.job_outbox GROUP BY job_id")
    assert dict(called) == {jobs[0].id: 1, jobs[1].id: 1, jobs[4].id: 1}


async def test_a_success_beats_a_wish_to_cancel_and_gives_its_slot_on(postgres_stores):
    await postgres_stores.jobs.enqueue([draft(concurrency_key="k") for _ in range(2)])
    await postgres_stores.jobs.enqueue([draft()])
    first, other = sorted(await claim(postgres_stores, 5), key=lambda job: not job.token.endswith("k:acme"))
    assert await postgres_stores.jobs.cancel("acme", JobQuery(), job_id=other.id) == [other.id]
    assert await postgres_stores.jobs.settle([ended(first), ended(other)]) == [True, True]
    found = await postgres_stores.job_records.get("acme", other.id)
    assert found is not None
    assert found.status == "succeeded"
    assert len(await claim(postgres_stores, 5)) == 1
