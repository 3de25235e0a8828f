"""An open job is one row of the queue in PostgreSQL, and an ended one a row of what is kept: what moves between them, and who looks at both."""

from __future__ import annotations

import asyncio
import os
import time

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corral.backends.open import open_stores
from corral.backends.postgres import migrate as on_postgres
from corral.backends.postgres.job_alike import alike_of
from corral.backends.postgres.job_columns import columns_of
from corral.backends.postgres.job_records import _SQL
from corral.clock import new_time_id
from corral.jobs.job import Callback, Claim, Ending, JobDraft, JobError, JobEventDraft, JobQuery
from corral.testing.contracts.setting import eventually

MANY = 70
"""Jobs of a batch that makes a bundle."""


def draft(**more):
    return JobDraft(**{"id": new_time_id(time.time()), "tenant": "acme", "agent": "main", "input": b"{}", **more})


def drafts(count, **more):
    return [draft(**more) for _ in range(count)]


async def fetch(url, sql, *args):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql, *args)
    finally:
        await connection.close()


async def ask(url, sql, *args):
    return (await fetch(url, sql, *args))[0][0]


async def claim(stores, limit=100):
    return (await stores.jobs.claim("w", queues=[], limit=limit, lease_s=60.0)).jobs


async def finish(stores, jobs, kind="succeeded", **more):
    result = b"1" if kind == "succeeded" else None
    return await stores.jobs.settle([Ending(claim=job.claim, kind=kind, result=result, **more) for job in jobs])


async def found(stores, limit=100, **more):
    """The ids of all pages."""
    ids, cursor = [], None
    while True:
        page = await stores.job_records.find("acme", JobQuery(limit=limit, cursor=cursor, **more))
        ids += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return ids


# -- from one table to the other -----------------------------------------------------------------------------------------


async def tables(url, job_id):
    return [
        await ask(url, f"SELECT count(*) FROM corral.{table} WHERE id = $1", job_id) for table in ("job_queue", "jobs")
    ]


async def test_a_job_is_in_one_table_at_a_time(postgres_stores, postgres_url):
    given = draft(session_id="s", user_id="ann", tags=("t",), deadline_s=60.0, callback=Callback("http://example.com"))
    await postgres_stores.jobs.enqueue([given])
    assert await tables(postgres_url, given.id) == [1, 0]
    before = await postgres_stores.job_records.get("acme", given.id)
    await finish(postgres_stores, await claim(postgres_stores), "failed", error=JobError("x", "y"))
    assert await tables(postgres_url, given.id) == [0, 1]
    failed = await postgres_stores.job_records.get("acme", given.id)
    kept = (
        "session_id",
        "user_id",
        "tags",
        "callback",
        "input",
        "created_at",
        "deadline_at",
        "priority",
        "max_attempts",
    )
    assert [getattr(failed, name) for name in kept] == [getattr(before, name) for name in kept]
    assert await postgres_stores.job_records.redrive("acme", JobQuery(), job_id=given.id) == [given.id]
    assert await tables(postgres_url, given.id) == [1, 0]
    again = await postgres_stores.job_records.get("acme", given.id)
    assert again.deadline_at > before.deadline_at
    await finish(postgres_stores, await claim(postgres_stores))
    ended = await postgres_stores.job_records.get("acme", given.id)
    assert [getattr(ended, name) for name in kept] == [getattr(before, name) for name in kept]
    assert (ended.status, ended.attempt) == ("succeeded", 2)


@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "with another"])
async def test_who_comes_again_while_a_job_is_being_ended_hears_of_its_end(postgres_stores, postgres_url, beside):
    given = [draft(), *drafts(beside, agent="other")]
    await postgres_stores.jobs.enqueue(given[:1])
    (job,) = await claim(postgres_stores)
    connection = await asyncpg.connect(postgres_url)
    ending = connection.transaction()
    await ending.start()
    settled = "SELECT corral.settle_jobs($1, $2, '{succeeded}', $3, NULL, NULL, NULL, NULL)"
    assert await connection.fetchval(settled, [job.id], [job.token], [b"1"]) == [True]
    coming = asyncio.create_task(postgres_stores.jobs.enqueue(given))

    async def waits() -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        return bool(await ask(postgres_url, waiting))

    await eventually(waits)
    await ending.commit()
    await connection.close()
    assert [(one.is_new, one.state) for one in await coming] == [(False, "succeeded"), (True, "queued")][: 1 + beside]
    assert await tables(postgres_url, job.id) == [0, 1]


async def test_who_comes_again_while_jobs_are_let_go_and_who_lets_them_go_do_not_wait_for_each_other(
    postgres_stores, postgres_url
):
    await postgres_stores.jobs.enqueue(given := drafts(2))
    jobs = await claim(postgres_stores)
    coming, settling = [await asyncpg.connect(postgres_url) for _ in range(2)]
    async with coming.transaction():
        await coming.fetch(
            "SELECT 1 FROM corral.job_lanes FOR UPDATE"
        )  # who enqueues has a lane before it writes a job
        settle = "SELECT corral.settle_jobs($1, $2, '{succeeded,retry}', '{1,NULL}', $3, '{0,0}', '{NULL,NULL}', '{NULL,NULL}')"
        errors = [None, b'{"code":"x","message":"y"}']
        saying = asyncio.create_task(
            settling.fetchval(settle, [job.id for job in jobs], [job.token for job in jobs], errors)
        )

        async def waits() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1"
            return bool(await ask(postgres_url, waiting, settling.get_server_pid()))

        await eventually(waits)
        numbers = ", ".join(f"${number}" for number in range(1, 20))
        with pytest.raises(asyncpg.UniqueViolationError):
            async with coming.transaction():
                await coming.fetch(f"SELECT corral.enqueue_alike({numbers})", *alike_of(given))
    assert await saying == [True, True]
    for connection in (coming, settling):
        await connection.close()
    again = await postgres_stores.jobs.enqueue(given)
    assert [(one.is_new, one.state) for one in again] == [(False, "succeeded"), (False, "queued")]


@pytest.mark.parametrize("count", [1, 2, MANY])
async def test_what_ended_does_not_come_anew(postgres_stores, postgres_url, count):
    given = drafts(count)
    for state in ("queued", "succeeded"):
        await postgres_stores.jobs.enqueue(given)
        again = await postgres_stores.jobs.enqueue(given)
        assert {(one.is_new, one.state) for one in again} == {(False, state)}
        await finish(postgres_stores, await claim(postgres_stores))
    assert await ask(postgres_url, "SELECT count(*) FROM corral.job_queue") == 0


async def test_an_end_is_written_once(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    await stores.jobs.enqueue(drafts(10))
    jobs = await claim(stores)
    connection = await asyncpg.connect(fresh_postgres_url)
    written = (
        "SELECT sum(pg_stat_get_xact_tuples_inserted(oid)), sum(pg_stat_get_xact_tuples_updated(oid)) "
        "FROM pg_class WHERE relname LIKE 'jobs_%' AND relkind = 'r'"
    )
    async with connection.transaction():
        await connection.fetch(
            "SELECT corral.settle_jobs($1, $2, $3, $4, NULL, NULL, NULL, NULL)",
            [job.id for job in jobs],
            [job.token for job in jobs],
            ["succeeded"] * 10,
            [b'{"answer": 42}'] * 10,
        )
        assert tuple(await connection.fetchrow(written)) == (10, 0)
    await connection.close()
    await stores.stop()


@pytest.mark.parametrize("more", [{}, {"concurrency_key": "k"}], ids=["alike", "long way"])
async def test_a_wide_input_is_written_once(postgres_stores, postgres_url, more):
    body = b'"%s"' % os.urandom(500_000).hex().encode()
    narrow = draft(**more)
    await postgres_stores.jobs.enqueue([draft(input=body, **more), narrow])
    where = "SELECT job_id, ctid::text, xmin::text, pg_column_toast_chunk_id(body) FROM corral.job_inputs"
    (written,) = await fetch(postgres_url, where)
    assert written[0] != narrow.id
    for kind in ("released", "failed"):
        jobs = [job for job in await claim(postgres_stores) if job.input == body]
        await postgres_stores.jobs.renew([job.claim for job in jobs], lease_s=60.0)
        await postgres_stores.jobs.emit([JobEventDraft(job.claim, "progress", b"1") for job in jobs])
        assert await finish(postgres_stores, jobs, kind) == [True]
        assert await fetch(postgres_url, where) == [written]
        shown = await postgres_stores.job_records.get("acme", written[0])
        assert bytes(shown.input) == body
    again = await postgres_stores.job_records.redrive("acme", JobQuery(), job_id=written[0])
    assert (again, await fetch(postgres_url, where)) == ([written[0]], [written])


async def test_a_job_may_run_again_with_a_wide_input_in_place_of_a_narrow_one_and_back(postgres_stores, postgres_url):
    await postgres_stores.jobs.enqueue([first := draft()])
    for body in (b'"%s"' % (b"x" * 5000), b'"%s"' % (b"y" * 6000), b'"z"'):
        await finish(postgres_stores, await claim(postgres_stores), "failed", error=JobError("x", "y"))
        await postgres_stores.job_records.redrive("acme", JobQuery(), job_id=first.id, new_input=body)
        assert bytes((await postgres_stores.job_records.get("acme", first.id)).input) == body
    assert [job.input for job in await claim(postgres_stores)] == [b'"z"']
    assert await ask(postgres_url, "SELECT count(*) FROM corral.job_inputs") == 0


async def test_a_wide_input_goes_with_its_job(postgres_stores, postgres_url):
    wide = {"input": b'"%s"' % (b"x" * 5000)}
    await postgres_stores.jobs.enqueue([draft(**wide), draft(**wide)])
    await finish(postgres_stores, await claim(postgres_stores, 1))
    assert await postgres_stores.job_records.forget(before=time.time() + 60) == 1
    assert await ask(postgres_url, "SELECT count(*) FROM corral.job_inputs") == 1
    assert [job.input for job in await claim(postgres_stores)] == [wide["input"]]


async def test_what_was_open_before_the_tables_changed_goes_on(fresh_postgres_url):
    connection = await asyncpg.connect(fresh_postgres_url)
    await on_postgres.migrate(connection, "url", known=on_postgres.STEPS[:26])
    given = [
        draft(agent=agent, deadline_s=60.0, tags=("t",), batch_id="b", input=b'"%s"' % (agent.encode() * 500))
        for agent in ("ended", "again", "running", "queued")
    ]
    names = ", ".join(f"${number}" for number in range(1, 24))
    await connection.fetch(f"SELECT corral.enqueue_jobs({names})", *columns_of(given))
    claimed = await connection.fetch("SELECT o_id, o_token FROM corral.claim_jobs('w', '{}', 3, 60, '{}', 'call')")
    tokens = {row[0]: row[1] for row in claimed}
    await connection.fetch(
        "SELECT corral.settle_jobs($1, $2, '{succeeded,failed}', '{1,1}', $3, NULL, NULL, NULL)",
        [one.id for one in given[:2]],
        [tokens[one.id] for one in given[:2]],
        [None, b'{"code":"x","message":"y"}'],
    )
    await connection.fetch("SELECT corral.redrive_jobs('acme', $1, '{failed}', NULL)", [given[1].id])
    await connection.close()
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    shown = {job.agent: job for job in (await stores.job_records.find("acme", JobQuery(batch_id="b"))).items}
    assert {agent: job.status for agent, job in shown.items()} == {
        "ended": "succeeded",
        "again": "queued",
        "running": "running",
        "queued": "queued",
    }
    assert all(job.tags == ("t",) for job in shown.values())
    jobs = await claim(stores)
    assert sorted(job.agent for job in jobs) == ["again", "queued"]
    assert all(job.input == b'"%s"' % (job.agent.encode() * 500) for job in jobs)
    running = Claim(given[2].id, tokens[given[2].id])
    assert await stores.jobs.settle([Ending(claim=running, kind="succeeded", result=b"1")]) == [True]
    ended = [await stores.job_records.get("acme", given[at].id) for at in (0, 2)]
    assert [round(job.deadline_at - job.created_at) for job in ended] == [60, 60]
    assert shown["again"].deadline_at > shown["queued"].deadline_at
    await stores.jobs.enqueue(later := drafts(2))
    place = "SELECT array_agg(id ORDER BY place) FROM corral.job_queue"
    assert (await ask(fresh_postgres_url, place))[-2:] == [one.id for one in later]
    await stores.stop()


@pytest.mark.parametrize("kind", ["succeeded", "failed"])
async def test_who_ends_a_job_while_the_tables_change_ends_it_again(fresh_postgres_url, kind):
    changing, ending, watching = [await asyncpg.connect(fresh_postgres_url) for _ in range(3)]
    await on_postgres.migrate(changing, "url", known=on_postgres.STEPS[:26])
    names = ", ".join(f"${number}" for number in range(1, 24))
    await ending.fetch(f"SELECT corral.enqueue_jobs({names})", *columns_of([given := draft()]))
    ((token, _),) = await ending.fetch(
        "SELECT o_token, o_id FROM corral.claim_jobs('w', '{}', 1, 60, '{}', 'call') WHERE o_id IS NOT NULL"
    )

    async def settle():
        settled = "SELECT corral.settle_jobs($1, $2, $3, '{1}', NULL, NULL, NULL, NULL)"
        return await ending.fetchval(settled, [given.id], [token], [kind])

    async def waits():
        return await watching.fetchval(
            "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted", ending.get_server_pid()
        )

    async with changing.transaction():
        await on_postgres.migrate(changing, "url")
        saying = asyncio.create_task(settle())
        await eventually(waits)
    try:
        said = await saying
    except asyncpg.SerializationError:  # after which every process says it again
        said = await settle()
    assert said == [True]
    assert await watching.fetchval("SELECT state FROM corral.jobs WHERE id = $1", given.id) == kind
    for connection in (changing, ending, watching):
        await connection.close()


# -- bundles -------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    batches=st.lists(
        st.tuples(st.sampled_from([1, 3, MANY, MANY + 9]), st.sampled_from(["a", "b"])), min_size=1, max_size=6
    ),
    is_mixed=st.booleans(),
    claimed=st.integers(0, 150),
    ended=st.integers(0, 100),
    limit=st.sampled_from([7, 64, 100]),
)
async def test_all_are_listed_in_order_however_they_came(
    postgres_stores, postgres_url, batches, is_mixed, claimed, ended, limit
):
    stores = postgres_stores
    await fetch(postgres_url, "TRUNCATE corral.jobs, corral.job_queue, corral.job_bundles")
    ids = iter([new_time_id(time.time()) for _ in range(sum(count for count, _ in batches))])
    given = [[draft(id=next(ids), agent=agent) for _ in range(count)] for count, agent in batches]
    if is_mixed:  # ids of all batches lie among each other
        everyone = sorted(one.id for batch in given for one in batch)
        given = [
            [draft(id=everyone[at], agent=agent) for at in range(which, len(everyone), len(batches))]
            for which, (_, agent) in enumerate(batches)
        ]
    for batch in given:
        if batch:
            await stores.jobs.enqueue(batch)
        await stores.jobs.enqueue([draft(tenant="other")])
    jobs = [job for job in await claim(stores, claimed) if job.tenant == "acme"] if claimed else []
    await finish(stores, jobs[:ended])
    every = {one.id: one.agent for batch in given for one in batch}
    states = (
        dict.fromkeys(every, "queued")
        | {job.id: "running" for job in jobs}
        | {job.id: "succeeded" for job in jobs[:ended]}
    )
    assert await found(stores, limit) == sorted(every, reverse=True)
    assert await found(stores, limit, agent="a") == sorted((one for one in every if every[one] == "a"), reverse=True)
    for state in ("queued", "running", "succeeded"):
        assert await found(stores, limit, status=(state,)) == sorted(
            (one for one in every if states[one] == state), reverse=True
        )
    lowest = sorted(every)
    assert await stores.job_records.named("acme", lowest[0]) == lowest[:1]
    assert await stores.job_records.named("acme", lowest[0][:5]) == lowest[:2]
    left = sorted((one for one in every if states[one] == "queued"), reverse=True)
    assert await stores.jobs.cancel("acme", JobQuery(status=("queued",)), limit=50) == left[:50]
    assert await found(stores, limit, status=("queued",)) == left[50:]


@pytest.mark.parametrize(
    ("wanted", "more"),
    [
        ({"agent": "this"}, {"agent": "this"}),
        ({"queue": "this"}, {"queue": "this"}),
        ({"user_id": "this"}, {"user_id": "this"}),
        ({"tag": "this"}, {"tags": ("one", "this")}),
    ],
)
async def test_who_looks_for_something_else_opens_no_bundle(postgres_stores, postgres_url, wanted, more):
    stores = postgres_stores
    await stores.jobs.enqueue(drafts(MANY))
    args = {"agent": None, "queue": None, "tag": None, "session_id": None, "user_id": None} | wanted
    connection = await asyncpg.connect(postgres_url)
    async with connection.transaction():
        opened = "SELECT pg_stat_get_xact_numscans('corral.job_queue_pkey'::regclass)"
        looked = "SELECT corral.open_ids('acme', '~', 50, NULL, $1, $2, $3, $4, $5, NULL, NULL, NULL)"
        assert await connection.fetchval(looked, *args.values()) == []
        assert await connection.fetchval(opened) == 0
        assert len(await connection.fetchval(looked, *[None] * 5)) == 50
        assert await connection.fetchval(opened) == 1
    await connection.close()
    await stores.jobs.enqueue(mine := drafts(MANY, **more))
    assert await found(stores, **wanted) == sorted((one.id for one in mine), reverse=True)
    await fetch(postgres_url, "UPDATE corral.job_bundles SET agent = NULL, queue = NULL, user_id = NULL, tags = NULL")
    assert await found(stores, **wanted) == sorted((one.id for one in mine), reverse=True)  # as bundles of before are


async def test_bundles_are_found_by_when_they_came(postgres_stores):
    stores = postgres_stores
    await stores.jobs.enqueue(first := drafts(MANY))
    at = (await stores.job_records.get("acme", first[0].id)).created_at
    await stores.jobs.enqueue(second := drafts(MANY))
    later = (await stores.job_records.get("acme", second[0].id)).created_at
    assert await found(stores, since=later) == sorted((one.id for one in second), reverse=True)
    assert await found(stores, until=later) == sorted((one.id for one in first), reverse=True)
    assert len(await found(stores, since=at)) == 2 * MANY


async def test_what_runs_is_found_by_its_state_in_pages(postgres_stores):
    stores = postgres_stores
    await stores.jobs.enqueue(drafts(MANY, agent="a"))
    await stores.jobs.enqueue([*drafts(3, agent="b"), *drafts(2, tenant="other")])
    running = sorted((job.id for job in await claim(stores, MANY + 4) if job.tenant == "acme"), reverse=True)
    for limit in (7, 100):
        assert await found(stores, limit, status=("running",)) == running
    queued = await found(stores, status=("queued",))
    assert len(running) + len(queued) == MANY + 3
    assert await found(stores, status=("running",), agent="nobody") == []
    assert await found(stores, status=("running", "queued")) == sorted([*running, *queued], reverse=True)


async def test_a_plan_for_all_filters_reads_no_ended_jobs_for_who_asks_for_open_ones(postgres_stores, postgres_url):
    for _ in range(2):
        await postgres_stores.jobs.enqueue(drafts(MANY))
        await finish(postgres_stores, await claim(postgres_stores))
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    read = (
        "SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid)) FROM pg_class "
        "WHERE relname LIKE 'jobs\\_%' AND relkind IN ('r', 'i')"
    )
    async with connection.transaction():
        for states, is_read in ((["queued"], False), (["succeeded"], True)):
            await connection.fetch(_SQL["find"], "acme", "~", 50, states, *[None] * 8)
            assert (await connection.fetchval(read) > 0) == is_read
    await connection.close()


async def test_a_bundle_is_forgotten_with_its_last_job(postgres_stores, postgres_url):
    for _ in range(2):
        await postgres_stores.jobs.enqueue(drafts(MANY))
    await postgres_stores.jobs.enqueue(drafts(MANY - 10))
    bundles = "SELECT count(*) FROM corral.job_bundles"
    for taken, left in ((MANY - 1, 2), (1, 1), (MANY, 0)):
        assert all(await finish(postgres_stores, await claim(postgres_stores, taken)))
        await postgres_stores.jobs.reap()
        assert await ask(postgres_url, bundles) == left


async def test_ids_from_different_times_make_no_bundle(postgres_stores, postgres_url):
    now = time.time()
    given = [draft(id=new_time_id(now - age)) for age in range(MANY)]
    await postgres_stores.jobs.enqueue(given)
    await postgres_stores.jobs.enqueue(named := [draft(id=f"mine-{number:03}") for number in range(MANY)])
    assert await ask(postgres_url, "SELECT count(*) FROM corral.job_bundles") == 0
    assert sorted(await found(postgres_stores)) == sorted(one.id for one in [*given, *named])
    again = await postgres_stores.jobs.enqueue(given)
    assert not any(one.is_new for one in again)
