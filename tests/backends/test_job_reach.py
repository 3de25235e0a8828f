"""Jobs that lie out of the usual way are reached all the same, and what watches them does not pile up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from corral.backends.postgres import job_watch
from corral.clock import new_time_id
from corral.jobs.job import Callback
from corral.testing.contracts.job_setting import ALL, TENANT, claim, draft, end, enqueue, info, names, status
from corral.testing.contracts.setting import eventually

if TYPE_CHECKING:
    from corral.backends.stores import Stores

DAY_S = 86_400.0
HOOK = Callback("https://example.com/hook")


async def ask(url: str, sql: str, *args: Any) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close()


async def long_past_id(url: str, days: int) -> str:
    """An id of a day that is over, has partitions, and may be forgotten."""
    day = int(time.time() / DAY_S) - days
    for table in ("jobs", "job_inputs", "job_steps", "job_events", "job_attempts"):
        bounds = [await ask(url, "SELECT corral.id_at($1)", at * DAY_S) for at in (day, day + 1)]
        await ask(
            url,
            f"CREATE TABLE corral.{table}_{day} PARTITION OF corral.{table} "
            f"FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')",
        )
    return new_time_id(day * DAY_S + 60)


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest) -> Stores:
    stores: Stores = request.getfixturevalue(f"{request.param}_stores")
    return stores


async def test_a_job_that_waits_for_its_key_rises_as_well(either: Stores) -> None:
    await enqueue(either, draft("runs", concurrency_key="k", priority=9))
    (runs,) = await claim(either)
    await enqueue(either, draft("low", concurrency_key="k", priority=0))
    for _ in range(12):
        await asyncio.sleep(0.002)  # ageing counts time that passed
        await either.jobs.reap(ageing_s=0.001)
    assert (await either.jobs.reap(ageing_s=0.0)).aged == 0
    await enqueue(either, draft("high", concurrency_key="k", priority=9))
    await end(either, runs)
    assert await names(either) == ["low"]


async def test_a_callback_that_is_still_to_be_sent_keeps_its_job(either: Stores) -> None:
    (job_id,) = await enqueue(either, draft(callback=HOOK))
    await end(either, (await claim(either))[0])
    created_at = (await info(either, job_id)).created_at
    ended_at = (await info(either, job_id)).finished_at
    assert ended_at is not None
    await either.job_records.forget(before=(created_at + ended_at) / 2)
    assert await either.job_records.get(TENANT, job_id) is not None
    assert len(await either.outbox.deliveries(TENANT, job_id=job_id)) == 1


async def test_a_job_of_a_long_past_day_is_not_forgotten_before_its_callback(
    postgres_stores: Stores, postgres_url: str
) -> None:
    stores = postgres_stores
    (job_id,) = await enqueue(stores, draft(id=await long_past_id(postgres_url, 20), callback=HOOK))
    await end(stores, (await claim(stores))[0])
    before = time.time() - 7 * DAY_S
    await stores.job_records.forget(before=before)
    assert await status(stores, job_id) == "succeeded"
    await ask(postgres_url, "UPDATE corral.job_outbox SET status = 'delivered'")
    assert await stores.job_records.forget(before=before) == 1


async def test_a_job_that_is_run_again_while_its_day_is_being_forgotten_stays(
    postgres_stores: Stores, postgres_url: str
) -> None:
    stores = postgres_stores
    (job_id,) = await enqueue(stores, draft(id=await long_past_id(postgres_url, 30)))
    await end(stores, (await claim(stores))[0], "failed")
    redriving = await asyncpg.connect(postgres_url)
    try:
        async with redriving.transaction():
            await redriving.execute(f"SELECT corral.redrive_jobs('{TENANT}', ARRAY['{job_id}'], ARRAY['failed'], NULL)")
            forgetting = asyncio.create_task(ask(postgres_url, "SELECT corral.forget_day($1)", time.time() - 7 * DAY_S))
            await eventually(lambda: redriving.fetchval("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"))
        assert await forgetting is None
    finally:
        await redriving.close()
    assert await status(stores, job_id) == "queued"
    assert [job.id for job in await claim(stores)] == [job_id]


@pytest.mark.parametrize("how", ["due", "lapsed", "late"])
async def test_a_job_whose_key_was_swept_away_is_still_reached(
    postgres_stores: Stores, postgres_url: str, how: str
) -> None:
    stores = postgres_stores
    more: dict[str, Any] = {"due": {"delay_s": 0.02}, "lapsed": {}, "late": {"deadline_s": 0.02}}[how]
    (job_id,) = await enqueue(stores, draft("a", concurrency_key="k", **more))
    if how == "lapsed":
        await claim(stores, lease_s=0.01)
    await ask(postgres_url, "DELETE FROM corral.job_slots")
    await asyncio.sleep(0.03)  # until its time has come
    await stores.jobs.reap()
    assert await status(stores, job_id) == ("failed" if how == "late" else "queued")


async def test_queues_that_nobody_uses_any_more_leave_no_heads(postgres_stores: Stores, postgres_url: str) -> None:
    stores = postgres_stores
    await enqueue(stores, draft(queue="used-once"))
    await end(stores, (await claim(stores))[0])
    await enqueue(stores, draft("stays"))
    await ask(postgres_url, "UPDATE corral.job_lanes SET moved_at = 0")
    await stores.jobs.reap()
    assert await ask(postgres_url, "SELECT string_agg(queue, ' ') FROM corral.job_heads") == "default"
    await enqueue(stores, draft("again", queue="used-once"))
    assert sorted(await names(stores)) == ["again", "stays"]


async def test_a_job_whose_head_was_swept_away_is_still_claimed(postgres_stores: Stores, postgres_url: str) -> None:
    stores = postgres_stores
    await enqueue(stores, draft("a"), draft("urgent", priority=10))
    await ask(postgres_url, "DELETE FROM corral.job_heads")
    await stores.jobs.reap()
    assert await names(stores) == ["urgent", "a"]


async def test_following_again_and_again_leaves_no_timers_behind(
    postgres_stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "_SECOND_LOOK_S", 0.0)
    watch: Any = postgres_stores.jobs.watch_jobs(lambda _: None)
    for _ in range(100):
        watch.follow("job")
        watch.unfollow("job")
    await asyncio.sleep(0.05)  # what was told late was told
    try:
        assert len(watch._timers) <= 2
    finally:
        watch.close()


async def test_a_job_that_runs_again_has_the_time_it_was_given_each_time(either: Stores) -> None:
    (job_id,) = await enqueue(either, draft(deadline_s=50.0))
    for _ in range(3):
        (job,) = await claim(either)
        await end(either, job, "failed")
        assert await either.job_records.redrive(TENANT, ALL, job_id=job_id) == [job_id]
        await asyncio.sleep(0.02)  # so that what would add up can be seen
    again = await claim(either)
    left_s = (again[0].deadline_at or 0.0) - again[0].claimed_at
    assert left_s <= 50.0
