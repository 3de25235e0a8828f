"""Wide inputs lie apart from their jobs in PostgreSQL, each under its tenant and its job's id."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from corral.backends.open import open_stores
from corral.backends.postgres import migrate as on_postgres
from corral.backends.postgres.job_alike import alike_of
from corral.backends.postgres.job_columns import columns_of
from corral.clock import new_time_id
from corral.jobs.job import Ending, JobDraft, JobQuery
from corral.testing.contracts.setting import eventually

BEFORE_TENANTS = 29
"""The last schema in which an input was its job's alone."""


def wide(letter):
    return b'"%s"' % (letter.encode() * 5000)


def draft(**more):
    return JobDraft(**{"id": new_time_id(time.time()), "tenant": "acme", "agent": "main", "input": b"{}", **more})


async def claim(stores):
    return (await stores.jobs.claim("w", queues=[], limit=100, lease_s=60.0)).jobs


async def end(stores, kind="succeeded"):
    return await stores.jobs.settle([Ending(claim=job.claim, kind=kind, result=b"1") for job in await claim(stores)])


async def kept(url):
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tenant, body FROM corral.job_inputs ORDER BY tenant")
    await connection.close()
    return [tuple(row) for row in rows]


def numbers(count):
    return ", ".join(f"${number}" for number in range(1, count + 1))


async def test_who_forgets_a_job_leaves_another_tenants_of_that_id(postgres_stores, postgres_url):
    mine = draft(input=wide("m"))
    await postgres_stores.jobs.enqueue([mine])
    assert await end(postgres_stores) == [True]
    await postgres_stores.jobs.enqueue([draft(id=mine.id, tenant="other", input=wide("t"))])
    assert await kept(postgres_url) == [("acme", wide("m")), ("other", wide("t"))]
    assert await postgres_stores.job_records.forget(before=time.time() + 60) == 1
    assert await kept(postgres_url) == [("other", wide("t"))]
    assert [job.input for job in await claim(postgres_stores)] == [wide("t")]


async def test_of_two_ended_jobs_of_one_id_the_older_one_is_forgotten(postgres_stores, postgres_url):
    mine = draft(input=wide("m"))
    await postgres_stores.jobs.enqueue([mine])
    assert await end(postgres_stores) == [True]
    before = (await postgres_stores.job_records.get("acme", mine.id)).finished_at
    theirs = [draft(id=mine.id, tenant="other", input=wide("t")), draft(tenant="other")]
    await postgres_stores.jobs.enqueue(theirs)
    assert await end(postgres_stores) == [True, True]
    assert await postgres_stores.job_records.forget(before=before) == 1
    assert await postgres_stores.job_records.get("acme", mine.id) is None
    assert bytes((await postgres_stores.job_records.get("other", mine.id)).input) == wide("t")
    assert await kept(postgres_url) == [("other", wide("t"))]


async def test_inputs_of_before_become_their_tenants(fresh_postgres_url):
    connection = await asyncpg.connect(fresh_postgres_url)
    await on_postgres.migrate(connection, "url", known=on_postgres.STEPS[:BEFORE_TENANTS])
    given = [draft(tenant=tenant, input=wide(tenant[0])) for tenant in ("ended", "open")]
    await connection.fetch(f"SELECT corral.enqueue_jobs({numbers(23)})", *columns_of(given))
    claimed = await connection.fetch("SELECT o_id, o_token FROM corral.claim_jobs('w', '{}', 1, 60, '{}', 'call')")
    settled = "SELECT corral.settle_jobs($1, $2, '{succeeded}', '{1}', NULL, NULL, NULL, NULL)"
    assert await connection.fetchval(settled, [claimed[0][0]], [claimed[0][1]]) == [True]
    gone = "INSERT INTO corral.job_inputs (job_id, body) VALUES ($1, '1')"
    await connection.execute(gone, new_time_id(time.time()))  # its job was removed by hand
    await connection.close()
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    assert await kept(fresh_postgres_url) == [("ended", wide("e")), ("open", wide("o"))]
    assert bytes((await stores.job_records.get("ended", given[0].id)).input) == wide("e")
    assert [job.input for job in await claim(stores)] == [wide("o")]
    await stores.stop()


@pytest.mark.parametrize("is_alike", [True, False])
async def test_who_enqueues_while_inputs_become_their_tenants_loses_nothing(fresh_postgres_url, is_alike):
    changing, coming, watching = [await asyncpg.connect(fresh_postgres_url) for _ in range(3)]
    await on_postgres.migrate(changing, "url", known=on_postgres.STEPS[:BEFORE_TENANTS])
    given = [draft(input=wide("x"))]

    async def enqueue():
        if is_alike:
            await coming.fetch(f"SELECT corral.enqueue_alike({numbers(19)})", *alike_of(given))
        else:
            await coming.fetch(f"SELECT corral.enqueue_jobs({numbers(23)})", *columns_of(given))

    async def waits():
        asked = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted"
        return await watching.fetchval(asked, coming.get_server_pid())

    async with changing.transaction():
        await on_postgres.migrate(changing, "url")
        saying = asyncio.create_task(enqueue())
        await eventually(waits)
    try:
        await saying
    except asyncpg.SerializationError:  # after which every process says it again; some versions of PostgreSQL need not
        await enqueue()
    with pytest.raises(asyncpg.SerializationError):  # what those say that do not look again at what they call
        await coming.execute("INSERT INTO corral.job_inputs (job_id, body) VALUES ('a', '1')")
    for connection in (changing, coming, watching):
        await connection.close()
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    assert [job.id for job in (await stores.job_records.find("acme", JobQuery())).items] == [given[0].id]
    assert [job.input for job in await claim(stores)] == [wide("x")]
    await stores.stop()
