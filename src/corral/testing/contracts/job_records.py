"""What `JobRecords`, `OutboxStore`, `ScheduleStore` and `BlobStore` promise: people find what is theirs, once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral.clock import new_time_id
from corral.errors import CorralError
from corral.jobs.job import Callback, Delivered, Delivery, JobQuery, Schedule, Step, StepWrite
from corral.testing.contracts.job_setting import (
    ALL,
    BROKEN,
    TENANT,
    claim,
    draft,
    end,
    enqueue,
    failed_one,
    info,
    names,
    status,
)
from corral.testing.contracts.setting import Contract, eventually

if TYPE_CHECKING:
    from corral.backends.stores import Stores

CALLBACK = Callback("https://example.com/hook", {"x-a": "b"})


class FindContract(Contract):
    """Asking."""

    async def test_newest_first_page_by_page(self, stores: Stores) -> None:
        ids = []
        for n in range(5):
            ids += await enqueue(stores, draft(f"{n}"))
            await asyncio.sleep(0.002)  # ids sort by the millisecond
        page = await stores.job_records.find(TENANT, JobQuery(limit=2))
        found = [job.id for job in page.items]
        while page.next_cursor:
            page = await stores.job_records.find(TENANT, JobQuery(limit=2, cursor=page.next_cursor))
            found += [job.id for job in page.items]
        assert found == ids[::-1]

    async def test_a_cursor_that_was_not_given_out(self, stores: Stores) -> None:
        with pytest.raises(CorralError):
            await stores.job_records.find(TENANT, JobQuery(cursor="nonsense"))

    @pytest.mark.parametrize(
        "query",
        [{"agent": "special"}, {"queue": "special"}, {"tag": "special"}, {"session_id": "special"},
         {"user_id": "special"}, {"batch_id": "special"}, {"status": ("scheduled",)}],
    )  # fmt: skip
    async def test_by_what_they_are(self, stores: Stores, query: dict[str, Any]) -> None:
        await enqueue(stores, draft("a"))
        special = draft("special", agent="special", queue="special", session_id="special", user_id="special",
                        batch_id="special", delay_s=900.0)  # fmt: skip
        await enqueue(stores, special)
        page = await stores.job_records.find(TENANT, JobQuery(**query))
        assert [job.id for job in page.items] == [special.id]

    async def test_by_state_and_time(self, stores: Stores) -> None:
        failed = await failed_one(stores)
        (queued,) = await enqueue(stores, draft("queued"))
        found = await stores.job_records.find(TENANT, JobQuery(status=("failed", "succeeded")))
        assert [job.id for job in found.items] == [failed]
        now = time.time()
        assert (await stores.job_records.find(TENANT, JobQuery(until=now - 900))).items == []
        since = await stores.job_records.find(TENANT, JobQuery(since=now - 900, status=("queued",)))
        assert [job.id for job in since.items] == [queued]

    async def test_lists_leave_the_large_parts_out(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        await end(stores, job)
        (listed,) = (await stores.job_records.find(TENANT, ALL)).items
        assert (bytes(listed.input), listed.result) == (b"null", None)
        whole = await info(stores, job_id)
        assert msgspec.json.decode(whole.input) == {"x": 1}
        assert whole.result is not None

    async def test_what_is_another_tenants_is_not_there(self, stores: Stores) -> None:
        job_id = await failed_one(stores, idempotency_key="k", callback=CALLBACK)
        records = stores.job_records
        assert await records.get("other", job_id) is None
        assert (await records.find("other", ALL)).items == []
        assert await records.attempts("other", job_id) == []
        assert await records.redrive("other", ALL, job_id=job_id) == []
        assert await records.discard("other", ALL, job_id=job_id) == []
        assert await stores.jobs.cancel("other", ALL, job_id=job_id) == []
        assert await stores.outbox.deliveries("other") == []
        assert await status(stores, job_id) == "failed"

    async def test_queues_say_how_full_they_are(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"), draft("b"), draft("c", delay_s=900.0), draft("d", queue="other"))
        await claim(stores, 1, queues=["default"])
        found = {one.queue: one for one in await stores.job_records.queues()}
        first = found["default"]
        assert (first.queued, first.scheduled, first.running, first.waiting) == (1, 1, 1, 0)
        assert 0 <= first.oldest_queued_s < 60
        assert found["other"].queued == 1
        assert await stores.job_records.depth("default", limit=2) == 2

    async def test_a_batch_is_as_far_as_its_jobs(self, stores: Stores) -> None:
        await stores.job_records.create_batch(TENANT, "b", 3)
        await stores.job_records.create_batch(TENANT, "b", 3)
        await enqueue(stores, *(draft("a", batch_id="b") for _ in range(3)))
        (job,) = await claim(stores, 1)
        await end(stores, job)
        batch = await stores.job_records.batch(TENANT, "b")
        assert batch is not None
        assert (batch.total, {state: n for state, n in batch.counts.items() if n}) == (
            3,
            {"succeeded": 1, "queued": 2},
        )
        assert await stores.job_records.batch("other", "b") is None


class DeadLetterContract(Contract):
    """What failed stays until somebody cares."""

    async def test_redriven_it_goes_on_from_its_journal(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a", max_attempts=1))
        (job,) = await claim(stores)
        await stores.jobs.journal([StepWrite(job.claim, Step(key="x#1", ordinal=1))])
        await end(stores, job, "failed")
        assert (await info(stores, job_id)).error == BROKEN
        assert await stores.job_records.redrive(TENANT, ALL) == [job_id]
        (job,) = await claim(stores)
        assert (job.attempt, job.failures, job.has_journal) == (2, 0, True)
        await end(stores, job)
        assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id) == []

    async def test_with_a_new_input_it_begins_afresh(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        await stores.jobs.journal([StepWrite(job.claim, Step(key="x#1", ordinal=1))])
        await end(stores, job, "failed")
        assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id, new_input=b"2") == [job_id]
        (job,) = await claim(stores)
        assert (job.input, job.has_journal, list(await stores.jobs.steps(job_id))) == (b"2", False, [])

    async def test_discarded_it_is_put_away(self, stores: Stores) -> None:
        first, second = await failed_one(stores), await failed_one(stores)
        assert await stores.job_records.discard(TENANT, ALL, job_id=first) == [first]
        assert await status(stores, first) == "discarded"
        assert await stores.job_records.redrive(TENANT, ALL) == [second]

    async def test_cancelled_ones_are_redriven_by_name_only(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        await stores.jobs.cancel(TENANT, ALL, job_id=job_id)
        assert await stores.job_records.redrive(TENANT, ALL) == []
        assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id) == [job_id]
        assert await names(stores) == ["a"]

    async def test_forgetting_takes_what_has_ended(self, stores: Stores) -> None:
        ended = await failed_one(stores)
        (waits,) = await enqueue(stores, draft("a", delay_s=900.0))
        assert await stores.job_records.forget(before=time.time() - 900) == 0
        assert await stores.job_records.get(TENANT, ended) is not None
        await stores.job_records.forget(before=time.time() + 900)
        assert await stores.job_records.get(TENANT, ended) is None
        assert await status(stores, waits) == "scheduled"


class OutboxContract(Contract):
    """Callbacks."""

    async def _ended(self, stores: Stores) -> str:
        (job_id,) = await enqueue(stores, draft("a", callback=CALLBACK))
        (job,) = await claim(stores)
        assert await end(stores, job)
        return job_id

    async def test_every_end_has_its_callback(self, stores: Stores) -> None:
        ids = [await self._ended(stores), await failed_one(stores, callback=CALLBACK)]
        ids += await enqueue(stores, draft("b", callback=CALLBACK, delay_s=900.0))
        await stores.jobs.cancel(TENANT, ALL, job_id=ids[2])
        assert {one.job_id for one in await stores.outbox.deliveries(TENANT)} == set(ids)
        assert [one.callback for one in await stores.outbox.deliveries(TENANT, job_id=ids[0])] == [CALLBACK]

    async def test_one_at_a_time_takes_it(self, stores: Stores, other_stores: Stores) -> None:
        await self._ended(stores)
        both = await asyncio.gather(*(one.outbox.take(limit=9, lease_s=900.0) for one in (stores, other_stores)))
        assert sum(len(deliveries) for deliveries, _ in both) == 1

    async def test_a_lapsed_delivery_is_taken_again_and_the_first_is_fenced(self, stores: Stores) -> None:
        await self._ended(stores)
        ((first,), _) = await stores.outbox.take(limit=9, lease_s=0.0)
        found: list[Delivery] = []

        async def again() -> bool:
            found.extend((await stores.outbox.take(limit=9, lease_s=900.0))[0])
            return bool(found)

        await eventually(again)
        late, held = (Delivered(id=one.id, token=one.token, ok=True, answer="200") for one in (first, found[0]))
        assert await stores.outbox.settle([late]) == [False]
        assert await stores.outbox.settle([held]) == [True]
        (told,) = await stores.outbox.deliveries(TENANT)
        assert (told.status, told.answer, told.token) == ("delivered", "200", "")

    async def test_again_later_given_up_and_once_more(self, stores: Stores) -> None:
        await self._ended(stores)
        ((one,), _) = await stores.outbox.take(limit=9, lease_s=900.0)
        again = Delivered(id=one.id, token=one.token, ok=False, answer="503", retry_in_s=900.0)
        assert await stores.outbox.settle([again]) == [True]
        taken, next_s = await stores.outbox.take(limit=9, lease_s=900.0)
        assert taken == []
        assert next_s is not None
        assert 0 < next_s <= 900
        assert not await stores.outbox.replay("other", one.id)
        assert await stores.outbox.replay(TENANT, one.id)
        ((one,), _) = await stores.outbox.take(limit=9, lease_s=900.0)
        given_up = Delivered(id=one.id, token=one.token, ok=False, answer="410")
        assert await stores.outbox.settle([given_up]) == [True]
        (told,) = await stores.outbox.deliveries(TENANT)
        assert told.status == "failed"


class ScheduleContract(Contract):
    """Jobs that come again."""

    def _schedule(self, **more: Any) -> Schedule:
        at = {"next_at": time.time() - 1}
        return Schedule(**{"tenant": TENANT, "name": "n", "cron": "@hourly", "job": {"agent": "main"}, **at, **more})

    async def test_kept_replaced_and_removed(self, stores: Stores) -> None:
        far = self._schedule(next_at=None)
        await stores.schedules.save(far)
        await stores.schedules.save(msgspec.structs.replace(far, cron="@daily"))
        await stores.schedules.save(msgspec.structs.replace(far, tenant="other"))
        assert [one.cron for one in await stores.schedules.schedules(TENANT)] == ["@daily"]
        assert await stores.schedules.remove(TENANT, "n")
        assert not await stores.schedules.remove(TENANT, "n")
        assert len(await stores.schedules.schedules("other")) == 1

    async def test_one_of_many_fires_it(self, stores: Stores, other_stores: Stores) -> None:
        await stores.schedules.save(self._schedule())
        ((due,), _) = await stores.schedules.due()
        both = (stores, other_stores)
        fired = await asyncio.gather(
            *(both[n % 2].schedules.fire(due, [draft(f"{n}")], next_at=time.time() + 900) for n in range(6))
        )
        assert sum(fired) == 1
        assert len(await claim(stores)) == 1
        left, next_s = await stores.schedules.due()
        assert left == []
        assert next_s is not None
        assert 0 < next_s <= 900

    async def test_paused_ones_are_never_due(self, stores: Stores) -> None:
        await stores.schedules.save(self._schedule(paused=True))
        assert await stores.schedules.due() == ([], None)


class BlobContract(Contract):
    """Large values."""

    async def test_kept_by_tenant_and_removed_by_prefix(self, stores: Stores) -> None:
        for tenant, name in ((TENANT, "a/1"), (TENANT, "a/2"), (TENANT, "A/1"), (TENANT, "a%1"), ("other", "a/1")):
            await stores.blobs.put(tenant, name, b"1")
        await stores.blobs.put(TENANT, "a/2", b"2" * 300_000)
        assert await stores.blobs.get(TENANT, "a/2") == b"2" * 300_000
        assert await stores.blobs.get(TENANT, "b") is None
        assert await stores.blobs.delete(TENANT, "a/") == 2
        assert await stores.blobs.get("other", "a/1") == b"1"

    async def test_values_of_before_a_time_go(self, stores: Stores) -> None:
        old, new = new_time_id(1_000.0), new_time_id(3_000.0)
        for tenant in (TENANT, "other"):
            for name in (f"memory/x/{old}", f"memory/y/{new}", f"else/{old}"):
                await stores.blobs.put(tenant, name, b"1")
        before = new_time_id(2_000.0)
        assert await stores.blobs.expire("memory/", before=before, limit=1) == 1
        assert await stores.blobs.expire("memory/", before=before) == 1
        assert await stores.blobs.expire("memory/", before=before) == 0
        for tenant in (TENANT, "other"):
            assert await stores.blobs.get(tenant, f"memory/x/{old}") is None
            assert await stores.blobs.get(tenant, f"memory/y/{new}") == b"1"
            assert await stores.blobs.get(tenant, f"else/{old}") == b"1"
