from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from corral.backends.open import open_stores
from corral.backends.postgres import migrate as on_postgres
from corral.backends.postgres.connections import Connections
from corral.clock import new_time_id
from corral.errors import JobStateConflict, QueueFull, ValidationFailed
from corral.jobs.job import (
    Callback,
    Claim,
    Delivered,
    Ending,
    JobDraft,
    JobError,
    JobEventDraft,
    JobQuery,
    Schedule,
    Step,
    StepWrite,
)
from corral.testing.contracts.setting import PATIENCE_S, eventually

DAY_S = 86_400.0


def draft(**more):
    return JobDraft(**{"id": new_time_id(time.time()), "tenant": "acme", "agent": "main", "input": b"{}", **more})


def days_ago(days, **more):
    return draft(id=new_time_id(time.time() - days * DAY_S), **more)


async def enqueue(stores, *drafts):
    return [job.id for job in await stores.jobs.enqueue(drafts or [draft()])]


async def claim(stores, limit=100, *, worker="w", queues=(), lease_s=60.0, exclude=()):
    claimed = await stores.jobs.claim(worker, queues=queues, limit=limit, lease_s=lease_s, exclude=exclude)
    return claimed.jobs


def ended(job, kind="succeeded", **more):
    return Ending(claim=job.claim, kind=kind, **{"result": b"1" if kind == "succeeded" else None, **more})


async def finish(stores, jobs, kind="succeeded", **more):
    return await stores.jobs.settle([ended(job, kind, **more) for job in jobs])


async def ask(url, sql, *args):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close()


async def status(stores, job_id):
    info = await stores.job_records.get("acme", job_id)
    return info and info.status


# -- partitions --------------------------------------------------------------------------------------------------------


async def partitions(url):
    names = await ask(
        url,
        "SELECT array_agg(relname::text) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = 'corral.jobs'::regclass",
    )
    return set(names)


async def make_day(url, day):
    """A partition of a day long ago, as it would be there."""
    connection = await asyncpg.connect(url)
    for table in ("jobs", "job_inputs", "job_steps", "job_events", "job_attempts"):
        await connection.execute(
            f"CREATE TABLE corral.{table}_{day} PARTITION OF corral.{table} "
            f"FOR VALUES FROM ('{new_time_id(day * DAY_S)[:13]}') TO ('{new_time_id((day + 1) * DAY_S)[:13]}')"
        )
    await connection.close()


async def test_the_coming_week_has_partitions(postgres_stores, postgres_url):
    today = int(time.time() // DAY_S)
    assert {f"jobs_{day}" for day in range(today, today + 7)} < await partitions(postgres_url)
    await enqueue(postgres_stores, draft(), draft())
    await finish(postgres_stores, await claim(postgres_stores))
    assert await ask(postgres_url, f"SELECT count(*) FROM corral.jobs_{today}") == 2


async def test_an_id_that_is_not_ours_is_kept_all_the_same(postgres_stores, postgres_url):
    await enqueue(postgres_stores, draft(id="my-job"))
    (job,) = await claim(postgres_stores)
    assert await finish(postgres_stores, [job]) == [True]
    assert await ask(postgres_url, "SELECT count(*) FROM corral.jobs_default") == 1
    assert await status(postgres_stores, "my-job") == "succeeded"


async def test_days_that_are_over_are_dropped_as_a_whole(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    old = int(time.time() // DAY_S) - 10
    await make_day(fresh_postgres_url, old)
    gone = days_ago(10, callback=Callback("http://example.com"))
    await enqueue(stores, gone)
    (job,) = await claim(stores)
    await stores.blobs.put("acme", f"{job.id}/x", b"large")
    await stores.jobs.journal([StepWrite(job.claim, Step(key="a#1", ordinal=1))])
    await finish(stores, [job])
    (told,), _ = await stores.outbox.take(limit=1, lease_s=60.0)
    await stores.outbox.settle([Delivered(id=told.id, token=told.token, ok=True, answer="200")])
    assert f"jobs_{old}" in await partitions(fresh_postgres_url)
    assert await stores.job_records.forget(before=time.time() - 5 * DAY_S) == 1
    assert f"jobs_{old}" not in await partitions(fresh_postgres_url)
    assert await stores.job_records.get("acme", gone.id) is None
    assert await stores.jobs.steps(gone.id) == []
    assert await stores.blobs.get("acme", f"{gone.id}/x") is None
    assert await stores.outbox.deliveries("acme") == []
    await stores.stop()


@pytest.mark.parametrize("is_dropped", [True, False])
async def test_a_day_whose_tables_somebody_took_away_is_forgotten_all_the_same(fresh_postgres_url, is_dropped):
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    old, kinds = int(time.time() // DAY_S) - 10, ("job_inputs", "job_steps", "job_events", "job_attempts")
    await make_day(fresh_postgres_url, old)
    for table in kinds:
        taken = f"DROP TABLE corral.{table}_{old}"
        detached = f"ALTER TABLE corral.{table} DETACH PARTITION corral.{table}_{old}"
        await ask(fresh_postgres_url, taken if is_dropped else detached)
    gone, after = (days_ago(days, input=b'"%s"' % (b"x" * 5000)) for days in (10, 9))
    await enqueue(stores, gone, after)
    jobs = await claim(stores)
    await stores.jobs.journal([StepWrite(job.claim, Step(key="a#1", ordinal=1)) for job in jobs])
    await stores.jobs.emit([JobEventDraft(job.claim, "log", b"1") for job in jobs])
    await finish(stores, jobs, "failed", error=JobError("x", "y"))
    assert await stores.job_records.forget(before=time.time() - 5 * DAY_S) == 1
    assert f"jobs_{old}" not in await partitions(fresh_postgres_url)
    assert await status(stores, gone.id) is None
    for table in kinds:
        assert await ask(fresh_postgres_url, f"SELECT array_agg(job_id) FROM corral.{table}") == [after.id]
        is_there = await ask(fresh_postgres_url, f"SELECT to_regclass('corral.{table}_{old}') IS NOT NULL")
        assert is_there != is_dropped  # what was detached is his who did that
    await stores.stop()


async def test_a_day_with_an_open_job_stays_and_loses_the_others(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    old = int(time.time() // DAY_S) - 10
    await make_day(fresh_postgres_url, old)
    waits, done = days_ago(10, delay_s=1000), days_ago(10)
    await enqueue(stores, waits, done)
    await finish(stores, await claim(stores))
    # What is asked for is when a job was enqueued, and that was just now.
    assert await stores.job_records.forget(before=time.time() - 5 * DAY_S) == 0
    assert await stores.job_records.forget(before=time.time() + 1) == 1
    assert await status(stores, waits.id) == "scheduled"
    assert await status(stores, done.id) is None
    assert f"jobs_{old}" in await partitions(fresh_postgres_url)
    await stores.stop()


async def test_today_is_swept_job_by_job(postgres_stores):
    done, waits = draft(), draft(delay_s=1000)
    await enqueue(postgres_stores, done, draft(id="odd"), waits)
    await finish(postgres_stores, await claim(postgres_stores))
    assert await postgres_stores.job_records.forget(before=time.time() + 1, limit=1) == 1
    assert await postgres_stores.job_records.forget(before=time.time() + 1) == 1
    assert await status(postgres_stores, waits.id) == "scheduled"


async def test_a_guest_who_may_not_make_partitions_starts_all_the_same(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    await stores.stop()
    today = int(time.time() // DAY_S)
    connection = await asyncpg.connect(fresh_postgres_url)
    role = f"guest_{hash(fresh_postgres_url) & 0xFFFFFF:x}_jobs"
    await connection.execute(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA corral TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA corral TO {role};"
        f"DROP TABLE corral.jobs_{today + 7}, corral.job_steps_{today + 7}, corral.job_events_{today + 7},"
        f"corral.job_attempts_{today + 7}"
    )
    guest = open_stores(fresh_postgres_url.replace("corral@", f"{role}@"))
    await guest.start()
    await enqueue(guest)
    assert await finish(guest, await claim(guest)) == [True]
    assert await guest.job_records.forget(before=time.time() + 1) == 1
    await guest.stop()
    await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await connection.close()


async def test_a_database_of_version_one_learns_of_jobs(fresh_postgres_url):
    connection = await asyncpg.connect(fresh_postgres_url)
    await on_postgres.migrate(connection, "url", known=on_postgres.STEPS[:1])
    await connection.close()
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    await enqueue(stores)
    assert await finish(stores, await claim(stores)) == [True]
    await stores.stop()


# -- claims ------------------------------------------------------------------------------------------------------------


async def test_claimers_never_share_a_job(postgres_stores, other_postgres_stores):
    ids = await enqueue(postgres_stores, *(draft(session_id=f"s{n}" if n % 5 == 0 else None) for n in range(300)))
    taken = []

    async def work(stores):
        while jobs := await claim(stores, 7):
            taken.extend(job.id for job in jobs)
            assert await finish(stores, jobs) == [True] * len(jobs)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(work(stores) for stores in (postgres_stores, other_postgres_stores) for _ in range(4)))
    assert sorted(taken) == sorted(ids)


async def test_settling_and_enqueueing_the_same_keys_from_many_sides_ends(postgres_stores, other_postgres_stores):
    def keyed(n):
        return draft(concurrency_key=f"k{n % 3}", concurrency_limit=2, fairness_key=f"f{n % 4}", priority=n % 11)

    ids = []

    async def produce(stores):
        for _ in range(10):
            ids.extend(await enqueue(stores, *(keyed(n) for n in range(6))))

    async def work(stores):
        while True:
            if jobs := await claim(stores, 3):
                await finish(stores, jobs[1:], "released")
                await finish(stores, jobs[:1])
            elif producers.done() and await stores.job_records.depth("default", limit=1) == 0:
                return
            else:
                await asyncio.sleep(0)

    both = (postgres_stores, other_postgres_stores)
    async with asyncio.timeout(PATIENCE_S):
        producers = asyncio.gather(*(produce(stores) for stores in both))
        await asyncio.gather(producers, *(work(stores) for stores in both for _ in range(2)))
    assert len(ids) == 120
    for job_id in ids:
        assert await status(postgres_stores, job_id) == "succeeded"


async def test_what_was_claimed_lately_is_jumped_over_and_nothing_below_is_forgotten(postgres_stores, postgres_url):
    late, first, second = draft(), draft(), draft()
    await enqueue(postgres_stores, late)
    await enqueue(postgres_stores, first, second)
    await ask(
        postgres_url, "UPDATE corral.job_heads SET floor = 2, next_floor = 2, moved_at = corral.now(), check_at = 0"
    )
    assert [job.id for job in await claim(postgres_stores, 1)] == [first.id]
    await ask(postgres_url, "UPDATE corral.job_heads SET moved_at = 0")
    assert [job.id for job in await claim(postgres_stores)] == [late.id, second.id]


async def test_floors_rise_and_new_work_lines_up_behind_them(postgres_stores, postgres_url):
    for _ in range(3):
        await enqueue(postgres_stores, *(draft() for _ in range(5)))
        assert len(await claim(postgres_stores)) == 5
        await ask(postgres_url, "UPDATE corral.job_heads SET moved_at = 0")
    assert await claim(postgres_stores) == []
    assert await ask(postgres_url, "SELECT floor FROM corral.job_heads") >= 5
    (job_id,) = await enqueue(postgres_stores)
    await postgres_stores.jobs.reap()
    assert [job.id for job in await claim(postgres_stores)] == [job_id]


async def test_a_plan_made_for_an_empty_table_serves_a_full_one(postgres_stores, postgres_url):
    plan = (
        "SELECT id FROM corral.job_queue WHERE queue = 'default' AND rank = 5 AND state = 'queued' AND pass >= 0 "
        "ORDER BY queue, rank, pass, place LIMIT 10"
    )
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
    lines = [row[0] for row in await connection.fetch(f"EXPLAIN {plan}")]
    assert any("job_queue_ready" in line for line in lines)
    assert not any("Sort" in line for line in lines)
    settings = await connection.fetchval("SELECT proconfig FROM pg_proc WHERE proname = 'claim_jobs'")
    assert {"enable_seqscan=off", "enable_sort=off", "plan_cache_mode=force_generic_plan"} <= set(settings)
    await connection.close()


async def test_jobs_are_found_by_id_whatever_the_planner_believes(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url, pool_max=1)
    await stores.start()
    await ask(fresh_postgres_url, "ANALYZE corral.job_queue")  # Empty: no index looks smaller than that of what runs.
    await enqueue(stores, *(draft(session_id=f"{n}" if n % 2 else None, delay_s=n % 3 / 1e6) for n in range(300)))
    jobs = await claim(stores, 1000)
    assert len(jobs) == 300
    for start in range(0, 300, 50):
        some = jobs[start : start + 50]
        await stores.jobs.renew([job.claim for job in some], lease_s=60)
        await stores.jobs.journal([StepWrite(job.claim, Step(key="a#1")) for job in some])
        await stores.jobs.emit([JobEventDraft(job.claim, "piece", b"1") for job in some])
        await finish(stores, some)
    await stores.stop()
    read = (
        "SELECT indexrelname, idx_tup_read FROM pg_stat_all_indexes WHERE schemaname = 'corral' "
        "AND indexrelname IN ('job_queue_leases', 'job_queue_slots', 'job_queue_due', 'job_queue_deadlines')"
    )
    connection = await asyncpg.connect(fresh_postgres_url)

    async def is_counted() -> bool:  # Which happens when a connection ends.
        return (
            await connection.fetchval("SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = 'job_queue_pkey'")
            > 0
        )

    await eventually(is_counted)
    rows = dict(await connection.fetch(read))
    await connection.close()
    assert max(rows.values()) < 3000, rows


async def test_jobs_of_many_queues_are_taken_in_turns(postgres_stores):
    await enqueue(postgres_stores, *(draft(queue=queue) for queue in ("a", "a", "a", "b", "b", "b")))
    assert sorted(job.queue for job in await claim(postgres_stores, 2)) == ["a", "b"]
    assert [job.queue for job in await claim(postgres_stores, 4, queues=["b"])] == ["b", "b"]
    assert [job.queue for job in await claim(postgres_stores, 4, queues=["none"])] == []


# -- what was kept is not known ----------------------------------------------------------------------------------------


@pytest.fixture
def losing(monkeypatch):
    """Makes connections break after the statement that says so was kept, once."""
    lend = Connections.lend
    lost = []

    def lose(word):
        async def lend_and_lose(self, use):
            broken = None

            async def used(connection):
                nonlocal broken
                fetch = connection.fetch

                class Cut:
                    async def fetch(self, sql, *args):
                        rows = await fetch(sql, *args)
                        if word in sql and word not in lost:
                            lost.append(word)
                            raise ConnectionResetError("cut")
                        return rows

                return await use(Cut())

            return await lend(self, used)

        monkeypatch.setattr(Connections, "lend", lend_and_lose)
        return lost

    return lose


@pytest.mark.parametrize(("way", "more"), [("enqueue_alike", {}), ("enqueue_jobs", {"concurrency_key": "k"})])
async def test_enqueued_once_although_the_answer_was_lost(postgres_stores, losing, way, more):
    lost = losing(way)
    (job_id,) = await enqueue(postgres_stores, draft(**more))
    assert lost
    assert [job.id for job in await claim(postgres_stores)] == [job_id]


async def test_a_claim_whose_answer_was_lost_is_found_again(postgres_stores, losing):
    ids = await enqueue(postgres_stores, draft(), draft(), draft())
    lost = losing("corral.claim_jobs")
    jobs = await claim(postgres_stores, 2)
    assert lost
    assert [job.id for job in jobs] == ids[:2]
    assert await finish(postgres_stores, jobs) == [True, True]
    assert [job.id for job in await claim(postgres_stores)] == ids[2:]


@pytest.mark.parametrize("kind", ["succeeded", "failed", "cancelled", "retry", "released", "waiting"])
async def test_settled_once_and_told_so_although_the_answer_was_lost(postgres_stores, losing, kind):
    await enqueue(postgres_stores)
    jobs = await claim(postgres_stores)
    lost = losing("settle_jobs")
    error = JobError("x", "y") if kind in {"failed", "retry"} else None
    assert await finish(postgres_stores, jobs, kind, error=error, delay_s=60, awaits="signal:a#1") == [True]
    assert lost
    assert len(await postgres_stores.job_records.attempts("acme", jobs[0].id)) == (kind in {"failed", "retry"})
    other = "failed" if kind == "succeeded" else "succeeded"
    assert await finish(postgres_stores, jobs, other) == [False]


async def test_events_and_steps_and_signals_are_written_once(postgres_stores, losing):
    await enqueue(postgres_stores)
    (job,) = await claim(postgres_stores)
    lost = losing("emit_events")
    drafts = [JobEventDraft(job.claim, "piece", b"1"), JobEventDraft(job.claim, "piece", b"2")]
    assert await postgres_stores.jobs.emit(drafts) == [1, 2]
    assert await postgres_stores.jobs.emit(drafts) == [3, 4]
    lost += losing("journal_steps")
    assert await postgres_stores.jobs.journal([StepWrite(job.claim, Step(key="a#1", ordinal=1))]) == [True]
    lost += losing("signal_job")
    assert await postgres_stores.jobs.signal("acme", job.id, "go", b"1")
    assert len(lost) >= 3
    assert [step.key for step in await postgres_stores.jobs.steps(job.id)] == ["a#1", "signal:go#1"]
    assert [event.seq for event in await postgres_stores.job_records.events("acme", job.id)] == [1, 2, 3, 4]


async def test_a_schedule_fires_once_and_is_told_so(postgres_stores, losing):
    schedule = Schedule(tenant="acme", name="n", cron="* * * * *", job={}, next_at=time.time() - 1)
    await postgres_stores.schedules.save(schedule)
    ((due,), _) = await postgres_stores.schedules.due()
    lost = losing("fire_schedule")
    assert await postgres_stores.schedules.fire(due, [draft()], next_at=time.time() + 60)
    assert lost
    assert not await postgres_stores.schedules.fire(due, [draft()], next_at=time.time() + 60)
    assert len(await claim(postgres_stores)) == 1


async def test_a_delivery_is_settled_once_and_told_so(postgres_stores, losing):
    await enqueue(postgres_stores, draft(callback=Callback("http://example.com")))
    await finish(postgres_stores, await claim(postgres_stores))
    ((delivery,), _) = await postgres_stores.outbox.take(limit=1, lease_s=60)
    lost = losing("job_outbox AS delivery SET\n    status")
    outcome = Delivered(id=delivery.id, token=delivery.token, ok=True, answer="200")
    assert await postgres_stores.outbox.settle([outcome]) == [True]
    assert lost
    assert [one.status for one in await postgres_stores.outbox.deliveries("acme")] == ["delivered"]


# -- notifications ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def heard(postgres_url):
    connection = await asyncpg.connect(postgres_url)
    payloads = []
    await connection.add_listener("corral_jobs", lambda *told: payloads.append(told[3]))

    async def after_all():
        before = len(payloads)
        await connection.execute("SELECT pg_notify('corral_jobs', 'x')")
        await eventually(lambda: asyncio.sleep(0, "x" in payloads[before:]))
        told, payloads[:] = [payload for payload in payloads if payload != "x"], []
        return told

    yield after_all
    await connection.close()


async def test_many_jobs_are_one_notification_and_a_backlog_none(postgres_stores, heard):
    await enqueue(postgres_stores, *(draft(queue=queue) for queue in "ab" for _ in range(70)))
    assert await heard() == ['w["a","b"]']
    await enqueue(postgres_stores, draft(queue="a"), draft(queue="b"))
    assert await heard() == []
    jobs = await claim(postgres_stores, 1000)
    await finish(postgres_stores, jobs)
    assert await heard() == []
    await enqueue(postgres_stores, draft(queue="a"))
    assert await heard() == ['w["a"]']


async def test_only_followed_jobs_are_notified_about(postgres_stores, other_postgres_stores, heard):
    mine, other = await enqueue(postgres_stores, draft(), draft())
    moved = asyncio.Queue()
    watch = other_postgres_stores.jobs.watch_jobs(moved.put_nowait)
    watch.follow(mine)
    async with asyncio.timeout(PATIENCE_S):
        assert await moved.get() == [mine]  # It is written down from now on.
        await heard()
        jobs = await claim(postgres_stores)
        assert await heard() == [f'j["{mine}"]']
        await finish(postgres_stores, jobs)
        while await status(postgres_stores, mine) != "succeeded":
            assert await moved.get() == [mine]
    assert other not in {job_id for payload in await heard() for job_id in payload}
    watch.unfollow(mine)
    watch.close()


async def test_too_many_for_one_payload_are_told_as_all(postgres_stores, heard):
    ids = await enqueue(postgres_stores, *(draft() for _ in range(300)))
    moved = set()
    watch = postgres_stores.jobs.watch_jobs(moved.update)
    for job_id in ids:
        watch.follow(job_id)
    await eventually(lambda: asyncio.sleep(0, len(moved) == 300))
    await heard()
    await claim(postgres_stores, 1000)
    assert await heard() == ["j"]
    watch.close()


async def test_work_and_callbacks_wake_another_process(postgres_stores, other_postgres_stores, postgres_url):
    work, callbacks = asyncio.Event(), asyncio.Event()
    unwatch = [other_postgres_stores.jobs.watch_work(work.set), other_postgres_stores.outbox.watch(callbacks.set)]
    async with asyncio.timeout(PATIENCE_S):
        await work.wait()  # Listening begins with a hint, for what was told before.
        await callbacks.wait()
        work.clear()
        callbacks.clear()
        await enqueue(postgres_stores, draft(callback=Callback("http://example.com")))
        await work.wait()
        await finish(postgres_stores, await claim(postgres_stores))
        await callbacks.wait()
    for end in unwatch:
        end()
    listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN \"corral_jobs%'"
    assert await ask(postgres_url, listening) == 1


async def test_a_foreign_notification_about_jobs_is_harmless(postgres_stores, postgres_url):
    woken = asyncio.Event()
    unwatch = postgres_stores.jobs.watch_work(woken.set)
    async with asyncio.timeout(PATIENCE_S):
        await woken.wait()
        woken.clear()
        for payload in ("hello?", "j[1", 'w["a"]'):
            await ask(postgres_url, "SELECT pg_notify('corral_jobs', $1)", payload)
        await woken.wait()
    unwatch()


# -- the rest -----------------------------------------------------------------------------------------------------------


async def test_a_full_queue_takes_back_what_it_knows(postgres_stores):
    known = draft(idempotency_key="k", fingerprint="f")
    await postgres_stores.jobs.enqueue([known], depth_max=1)
    with pytest.raises(QueueFull):
        await postgres_stores.jobs.enqueue([draft()], depth_max=1)
    (again,) = await postgres_stores.jobs.enqueue([draft(idempotency_key="k", fingerprint="f")], depth_max=1)
    assert (again.id, again.is_new) == (known.id, False)


async def test_an_id_of_another_tenant_is_refused(postgres_stores):
    mine = draft()
    await enqueue(postgres_stores, mine)
    with pytest.raises(JobStateConflict):
        await postgres_stores.jobs.enqueue([draft(id=mine.id, tenant="other", idempotency_key="k")])
    await postgres_stores.jobs.enqueue([draft(tenant="other", idempotency_key="k", fingerprint="f")])


@pytest.mark.parametrize(
    "odd",
    [
        {"priority": 11},
        {"weight": 0.0},
        {"weight": float("nan")},
        {"concurrency_limit": 0},
        {"max_attempts": 0},
        {"delay_s": float("inf")},
        {"agent": "a\0b"},
        {"tags": ("\ud800",)},
        {"queue": ""},
    ],
)
async def test_a_draft_that_cannot_be_kept_is_refused(postgres_stores, odd):
    with pytest.raises(ValidationFailed):
        await postgres_stores.jobs.enqueue([draft(), draft(**odd)])
    assert await claim(postgres_stores) == []


async def test_a_lost_claim_changes_nothing(postgres_stores):
    await enqueue(postgres_stores)
    (job,) = await claim(postgres_stores, lease_s=0.0)
    await postgres_stores.jobs.reap()
    late = Claim(job.id, job.token)
    assert await postgres_stores.jobs.journal([StepWrite(late, Step(key="a#1"))]) == [False]
    assert await postgres_stores.jobs.emit([JobEventDraft(late, "piece", b"1")]) == [0]
    assert (await postgres_stores.jobs.renew([late], lease_s=5)).lost == [job.token]
    assert await finish(postgres_stores, [job]) == [False]
    (again,) = await claim(postgres_stores)
    assert (again.attempt, again.failures) == (2, 1)


async def test_the_log_of_a_job_keeps_about_the_newest(postgres_stores):
    await enqueue(postgres_stores)
    (job,) = await claim(postgres_stores)
    for _ in range(30):
        await postgres_stores.jobs.emit([JobEventDraft(job.claim, "piece", b"1")] * 2, keep=20)
    seqs = [event.seq for event in await postgres_stores.job_records.events("acme", job.id)]
    assert seqs == list(range(seqs[0], 61))
    assert 20 <= len(seqs) <= 24


async def test_dead_letters_are_found_by_their_own_index(postgres_stores):
    ids = await enqueue(postgres_stores, draft(tags=("t",)), draft())
    await finish(postgres_stores, await claim(postgres_stores), "failed", error=JobError("x", "y"))
    page = await postgres_stores.job_records.find("acme", JobQuery(status=("failed",), tag="t"))
    assert [job.id for job in page.items] == ids[:1]
    assert await postgres_stores.job_records.discard("acme", JobQuery(tag="t")) == ids[:1]
    assert await postgres_stores.job_records.redrive("acme", JobQuery()) == ids[1:]
    assert [job.id for job in await claim(postgres_stores)] == ids[1:]
