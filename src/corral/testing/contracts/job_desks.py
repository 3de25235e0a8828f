"""What people and operators may rely on: filters, pages, counts, queues, retention, callbacks and schedules, to the letter."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral.clock import new_time_id
from corral.errors import CursorNotFound
from corral.jobs.job import (
    Callback,
    Delivered,
    JobEventDraft,
    JobQuery,
    QueueStats,
    Schedule,
    Step,
    StepWrite,
    WorkerInfo,
)
from corral.testing.contracts.job_setting import (
    ALL,
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
    from corral.jobs.job import Delivery

HOOK = Callback("https://example.com/hook")
_BEGAN = time.time()


def numbered(number: int, **more: Any) -> Any:
    """A job whose id sorts by that number."""
    return draft(f"{number}", id=new_time_id(_BEGAN + number / 100), **more)


async def found(stores: Stores, **query: Any) -> list[str]:
    """The names of what a query finds, newest first."""
    page = await stores.job_records.find(TENANT, JobQuery(**query))
    return [job.tags[0] for job in page.items]


class SearchContract(Contract):
    """Finding jobs."""

    async def test_everything_given_must_hold(self, stores: Stores) -> None:
        await enqueue(stores, numbered(1, agent="x", queue="q"), numbered(2, agent="x", user_id="u"),
                      numbered(3, queue="q", user_id="u", delay_s=900.0))  # fmt: skip
        assert await found(stores, agent="x") == ["2", "1"]
        assert await found(stores, agent="x", queue="q") == ["1"]
        assert await found(stores, queue="q", status=("scheduled", "running")) == ["3"]
        assert await found(stores, queue="q", user_id="u", agent="x") == []
        assert await found(stores, tag="2", status=("queued",)) == ["2"]

    async def test_states_are_those_that_people_see(self, stores: Stores) -> None:
        await enqueue(stores, numbered(1, session_id="s"), numbered(2, session_id="s"), numbered(3, session_id="s"))
        (job,) = await claim(stores)
        assert await found(stores, status=("queued",)) == ["3", "2"]
        assert await end(stores, job)
        assert await found(stores, status=("queued", "succeeded"), session_id="s") == ["3", "2", "1"]

    @pytest.mark.parametrize("odd", ["", "%", "_", "x' OR 1=1", "nul\0", "\ud800", "x" * 5000, '["1"]'])
    async def test_odd_words_find_nothing(self, stores: Stores, odd: str) -> None:
        await enqueue(stores, numbered(1, session_id="s", user_id="u", batch_id="b"))
        for word in ("agent", "queue", "tag", "session_id", "user_id", "batch_id"):
            query = msgspec.structs.replace(ALL, **{word: odd})
            assert (await stores.job_records.find(TENANT, query)).items == []
            assert await stores.jobs.cancel(TENANT, query) == []
        assert await stores.job_records.get(TENANT, odd) is None
        assert await stores.job_records.events(TENANT, odd) == []
        assert await stores.job_records.attempts(TENANT, odd) == []
        assert await stores.job_records.batch(TENANT, odd) is None
        assert await names(stores) == ["1"]

    async def test_times_include_the_first_and_exclude_the_last(self, stores: Stores) -> None:
        (first,) = await enqueue(stores, numbered(1))
        at = (await info(stores, first)).created_at
        assert await found(stores, since=at) == ["1"]
        assert await found(stores, until=at) == []
        assert await found(stores, since=at, until=at + 0.001) == ["1"]
        assert await found(stores, since=at + 0.001) == []

    @pytest.mark.parametrize("query", [{}, {"tag": "odd"}, {"status": ("queued", "scheduled")}])
    async def test_pages_lose_nothing_while_more_comes(self, stores: Stores, query: dict[str, Any]) -> None:
        drafts = [numbered(n, tags=(f"{n}", "odd" if n % 2 else "even")) for n in range(12)]
        await enqueue(stores, *drafts)
        got, cursor = [], None
        for n in range(99):
            page = await stores.job_records.find(TENANT, JobQuery(limit=2, cursor=cursor, **query))
            got += [job.tags[0] for job in page.items]
            await enqueue(stores, numbered(100 + n, tags=("new", "odd")))
            if (cursor := page.next_cursor) is None:
                break
        step = 2 if "tag" in query else 1
        assert got == [f"{n}" for n in range(11, -1, -step)]

    async def test_a_last_page_that_is_full_is_the_last(self, stores: Stores) -> None:
        await enqueue(stores, numbered(1), numbered(2))
        page = await stores.job_records.find(TENANT, JobQuery(limit=2))
        assert (len(page.items), page.next_cursor) == (2, None)
        assert (await stores.job_records.find("nobody", ALL)).items == []

    @pytest.mark.parametrize("cursor", ["nonsense", "", "nul\0", "ü", "x" * 5000])
    async def test_a_cursor_that_was_not_given_out_is_refused(self, stores: Stores, cursor: str) -> None:
        await enqueue(stores, numbered(1))
        with pytest.raises(CursorNotFound):
            await stores.job_records.find(TENANT, JobQuery(cursor=cursor))

    async def test_cancelling_many_does_not_stop_at_a_page(self, stores: Stores) -> None:
        ids = await enqueue(stores, *(numbered(n) for n in range(60)))
        some = await stores.jobs.cancel(TENANT, ALL, limit=7)
        assert len(some) == 7
        rest = await stores.jobs.cancel(TENANT, JobQuery(limit=1, cursor="whatever"))
        assert sorted([*some, *rest]) == sorted(ids)
        assert await stores.jobs.cancel(TENANT, ALL) == []


class CountsContract(Contract):
    """Queues, workers and batches."""

    async def test_the_age_is_that_of_the_job_that_is_ready_the_longest(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"), draft("later", queue="later", delay_s=900.0))
        await asyncio.sleep(0.03)  # to be that old
        await enqueue(stores, draft("b", priority=9))
        stats = {one.queue: one for one in await stores.job_records.queues()}
        assert 0.02 <= stats["default"].oldest_queued_s < 20
        assert stats["later"].oldest_queued_s == 0
        await claim(stores)
        stats = {one.queue: one for one in await stores.job_records.queues()}
        assert (stats["default"].running, stats["default"].oldest_queued_s) == (2, 0)

    async def test_all_tenants_count(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"), draft("b", tenant="b"), draft("c", tenant="c", session_id="s"),
                      draft("d", tenant="c", session_id="s"))  # fmt: skip
        stats = {one.queue: one for one in await stores.job_records.queues()}
        assert stats["default"].queued == 4

    async def test_a_queue_that_was_used_lately_is_shown_empty(self, stores: Stores, other_stores: Stores) -> None:
        await enqueue(stores, draft("a", queue="gpu"))
        for job in await claim(stores):
            assert await end(stores, job)
        for _ in range(2):
            await stores.jobs.reap()
            stats = {one.queue: one for one in await other_stores.job_records.queues()}
            assert stats["gpu"] == QueueStats(queue="gpu")

    async def test_a_worker_that_left_is_not_shown(self, stores: Stores, other_stores: Stores) -> None:
        for name in ("stays", "leaves"):
            worker = WorkerInfo(worker=name, queues=(), slots=1, running=0, finished=0, failed=0, per_s=1.5,
                                started_at=5.0, seen_at=5.0)  # fmt: skip
            await stores.jobs.renew([], lease_s=1.0, worker=worker)
        for _ in range(2):
            await other_stores.jobs.forget_worker("leaves")
        assert [one.worker for one in await stores.job_records.workers(within_s=60.0)] == ["stays"]

    async def test_ids_are_found_by_how_they_begin(self, stores: Stores) -> None:
        ids = [f"01a1fd7d-0000-7000-8000-00000000000{number}" for number in range(3)]
        await enqueue(stores, *(draft(id=one) for one in ids), draft(id=f"01a1fd7e{ids[0][8:]}", tenant="other"))
        assert await stores.job_records.named(TENANT, "01a1fd7d") == ids[:2]
        assert await stores.job_records.named(TENANT, ids[1]) == [ids[1]]
        for nobodys in ("01a1fd7e", "01a1fd7c", "01a1fd7d-1", "a\0b"):
            assert await stores.job_records.named(TENANT, nobodys) == []

    async def test_the_latest_word_of_a_worker_counts_at_the_stores_time(self, stores: Stores) -> None:
        def worker(name: str, finished: int) -> WorkerInfo:
            return WorkerInfo(worker=name, queues=(), slots=1, running=0, finished=finished, failed=0, per_s=1.5,
                              started_at=5.0, seen_at=5.0)  # fmt: skip

        for name, finished in (("w1", 1), ("w2", 2), ("w1", 3)):
            await stores.jobs.renew([], lease_s=1.0, worker=worker(name, finished))
        seen = {one.worker: one for one in await stores.job_records.workers(within_s=60.0)}
        assert {name: one.finished for name, one in seen.items()} == {"w1": 3, "w2": 2}
        assert abs(seen["w1"].seen_at - time.time()) < 60
        assert (seen["w1"].started_at, seen["w1"].per_s, seen["w1"].queues) == (5.0, 1.5, ())

        async def forgotten() -> bool:
            return await stores.job_records.workers(within_s=0.001) == []

        await eventually(forgotten)

    async def test_a_batch_counts_every_state(self, stores: Stores) -> None:
        await stores.job_records.create_batch(TENANT, "b", 6)
        await stores.job_records.create_batch("other", "b", 1)
        await enqueue(stores, *(draft("a", batch_id="b") for _ in range(5)), draft("c", batch_id="b", delay_s=900.0),
                      draft("d", batch_id="b", tenant="other"), draft("e"))  # fmt: skip
        jobs = [job for job in await claim(stores) if job.tags[0] == "a"]
        assert await end(stores, jobs[0])
        assert await end(stores, jobs[1], "failed")
        assert await end(stores, jobs[2], "cancelled")
        assert await end(stores, jobs[3], "waiting")
        batch = await stores.job_records.batch(TENANT, "b")
        assert batch is not None
        assert batch.total == 6
        assert {state: n for state, n in batch.counts.items() if n} == dict.fromkeys(
            ("succeeded", "failed", "cancelled", "waiting", "running", "scheduled"), 1
        )
        empty = await stores.job_records.batch(TENANT, "none")
        assert empty is None

    async def test_forgetting_takes_all_that_an_ended_job_left_and_nothing_else(self, stores: Stores) -> None:
        (gone, stays) = await enqueue(stores, draft("a", max_attempts=1), draft("b"))
        for job in await claim(stores):
            await stores.jobs.journal([StepWrite(job.claim, Step(key="x#1", ordinal=1))])
            await stores.jobs.emit([JobEventDraft(job.claim, "log", b"1")])
            if job.id == gone:
                assert await end(stores, job, "failed")
        assert await stores.job_records.forget(before=time.time() + 900) >= 1
        assert await stores.job_records.forget(before=time.time() + 900) == 0
        assert await stores.job_records.get(TENANT, gone) is None
        assert await stores.jobs.steps(gone) == []
        assert await stores.job_records.events(TENANT, gone) == []
        assert await stores.job_records.attempts(TENANT, gone) == []
        assert await stores.job_records.redrive(TENANT, ALL, job_id=gone) == []
        assert (await stores.job_records.find(TENANT, ALL)).items[0].id == stays
        assert len(await stores.jobs.steps(stays)) == len(await stores.job_records.events(TENANT, stays)) == 1
        assert await status(stores, stays) == "running"


class DeliveryContract(Contract):
    """Callbacks, to the letter."""

    async def test_attempts_are_counted_and_the_id_stays(self, stores: Stores) -> None:
        job_id = await failed_one(stores, callback=HOOK)
        ids, tokens = set(), set()
        for attempt in range(1, 4):
            (one,) = await self._taken(stores)
            assert (one.job_id, one.tenant, one.callback) == (job_id, TENANT, HOOK)
            ids.add(one.id)
            tokens.add(one.token)
            again = Delivered(id=one.id, token=one.token, ok=False, answer=f"50{attempt}", retry_in_s=0.0)
            assert await stores.outbox.settle([again]) == [True]
            (told,) = await stores.outbox.deliveries(TENANT)
            assert (told.status, told.attempts, told.answer) == ("pending", attempt, f"50{attempt}")
        assert (len(ids), len(tokens)) == (1, 3)

    async def _taken(self, stores: Stores, *, lease_s: float = 900.0) -> list[Delivery]:
        taken: list[Delivery] = []

        async def some() -> bool:
            taken.extend((await stores.outbox.take(limit=9, lease_s=lease_s))[0])
            return bool(taken)

        await eventually(some)
        return taken

    async def test_nothing_to_send_is_never_due(self, stores: Stores) -> None:
        assert await stores.outbox.take(limit=9, lease_s=1.0) == ([], None)
        await failed_one(stores, callback=HOOK)
        (one,) = await self._taken(stores)
        assert await stores.outbox.settle([Delivered(id=one.id, token=one.token, ok=True, answer="204")]) == [True]
        assert await stores.outbox.take(limit=9, lease_s=1.0) == ([], None)
        assert await stores.outbox.settle([]) == []

    async def test_what_is_taken_is_due_when_its_lease_is_over(self, stores: Stores, other_stores: Stores) -> None:
        await failed_one(stores, callback=HOOK)
        await self._taken(stores, lease_s=100.0)
        left, next_s = await other_stores.outbox.take(limit=9, lease_s=1.0)
        assert left == []
        assert next_s is not None
        assert 50 < next_s <= 100

    async def test_a_late_word_counts_while_nobody_else_took_it(self, stores: Stores) -> None:
        await failed_one(stores, callback=HOOK)
        (one,) = await self._taken(stores, lease_s=0.0)
        told = Delivered(id=one.id, token=one.token, ok=True, answer="200 \0 \ud800 ü")
        forged = [Delivered(id=one.id, token=odd, ok=False, answer="x") for odd in ("", "nul\0", "x")]
        assert await stores.outbox.settle([*forged, told]) == [False, False, False, True]
        (known,) = await stores.outbox.deliveries(TENANT)
        assert (known.status, known.answer[:3], known.answer[-1]) == ("delivered", "200", "ü")

    async def test_a_limit_leaves_the_rest_to_others(self, stores: Stores, other_stores: Stores) -> None:
        for _ in range(5):
            await failed_one(stores, callback=HOOK)
        both = (stores, other_stores)
        taken = await asyncio.gather(*(both[n % 2].outbox.take(limit=2, lease_s=900.0) for n in range(4)))
        ids = [one.id for some, _ in taken for one in some]
        more, _ = await stores.outbox.take(limit=9, lease_s=900.0)
        ids += [one.id for one in more]
        assert len(ids) == len(set(ids)) == 5

    async def test_what_was_delivered_may_be_sent_once_more(self, stores: Stores) -> None:
        job_id = await failed_one(stores, callback=HOOK)
        (one,) = await self._taken(stores)
        assert await stores.outbox.settle([Delivered(id=one.id, token=one.token, ok=True, answer="200")]) == [True]
        assert await stores.outbox.replay(TENANT, one.id)
        (again,) = await self._taken(stores)
        assert (again.id, again.job_id, again.status) == (one.id, job_id, "pending")
        for unknown in ("nobody", "nul\0", "", job_id):
            assert not await stores.outbox.replay(TENANT, unknown)

    async def test_a_word_said_before_changes_nothing(self, stores: Stores) -> None:
        await failed_one(stores, callback=HOOK)
        (one,) = await self._taken(stores)
        said_before = Delivered(id=one.id, token=one.token, ok=True, answer="200")
        assert await stores.outbox.settle([said_before]) == [True]
        await stores.outbox.settle([Delivered(id=one.id, token=one.token, ok=False, answer="500")])
        (told,) = await stores.outbox.deliveries(TENANT)
        assert (told.status, told.answer) == ("delivered", "200")
        assert await stores.outbox.replay(TENANT, one.id)
        await stores.outbox.settle([said_before])
        (told,) = await stores.outbox.deliveries(TENANT)
        assert told.status == "pending"

    async def test_listed_newest_first_and_each_to_its_own(self, stores: Stores) -> None:
        ids = [await failed_one(stores, callback=HOOK) for _ in range(3)]
        (theirs,) = await enqueue(stores, draft("x", tenant="other", callback=HOOK))
        await stores.jobs.cancel("other", ALL, job_id=theirs)
        assert {one.job_id for one in await stores.outbox.deliveries(TENANT)} == set(ids)
        assert len(await stores.outbox.deliveries(TENANT, limit=2)) == 2
        assert await stores.outbox.deliveries(TENANT, job_id=theirs) == []
        assert await stores.outbox.deliveries(TENANT, job_id="nul\0") == []
        times = [one.created_at for one in await stores.outbox.deliveries(TENANT)]
        assert times == sorted(times, reverse=True)


class TimetableContract(Contract):
    """Schedules, to the letter."""

    def _schedule(self, **more: Any) -> Schedule:
        return Schedule(**{"tenant": TENANT, "name": "n", "cron": "@hourly", "job": {"agent": "main", "ü": [1, None]},
                           "next_at": time.time() - 5, **more})  # fmt: skip

    async def test_kept_as_it_was(self, stores: Stores, other_stores: Stores) -> None:
        wanted = self._schedule(timezone="Europe/Berlin", catch_up="all", paused=True, next_at=12345.5)
        await stores.schedules.save(wanted)
        assert await other_stores.schedules.schedules(TENANT) == [wanted]
        for name in ("b", "a", "ä"):
            await stores.schedules.save(self._schedule(name=name))
        listed = [one.name for one in await stores.schedules.schedules(TENANT)]
        assert listed == sorted(listed)
        assert await stores.schedules.schedules("nul\0") == []
        assert not await stores.schedules.remove(TENANT, "nul\0")

    async def test_only_what_is_due_and_when_the_next_one_is(self, stores: Stores) -> None:
        now = time.time()
        for name, next_at in (("due", now - 5), ("soon", now + 300), ("later", now + 900), ("never", None)):
            await stores.schedules.save(self._schedule(name=name, next_at=next_at))
        await stores.schedules.save(self._schedule(name="due too", tenant="other", next_at=now - 9))
        due, next_s = await stores.schedules.due()
        assert {(one.tenant, one.name) for one in due} == {(TENANT, "due"), ("other", "due too")}
        assert next_s is None or next_s <= 300
        for one in due:
            assert await stores.schedules.fire(one, [], next_at=None)
        due, next_s = await stores.schedules.due()
        assert due == []
        assert next_s is not None
        assert 200 < next_s <= 300

    async def test_firing_moves_on_and_enqueues_together(self, stores: Stores) -> None:
        await stores.schedules.save(self._schedule())
        ((due,), _) = await stores.schedules.due()
        assert await stores.schedules.fire(due, [draft("a"), draft("b")], next_at=due.next_at and due.next_at + 1)
        assert sorted(await names(stores)) == ["a", "b"]
        ((again,), _) = await stores.schedules.due()
        assert again.last_at == due.next_at
        assert again.next_at == pytest.approx((due.next_at or 0) + 1)
        assert not await stores.schedules.fire(due, [draft("c")], next_at=None)
        assert await stores.schedules.fire(again, [], next_at=None)
        assert await claim(stores) == []

    async def test_what_was_changed_or_removed_meanwhile_does_not_fire(self, stores: Stores) -> None:
        await stores.schedules.save(self._schedule())
        ((due,), _) = await stores.schedules.due()
        for changed in ({"next_at": (due.next_at or 0) + 1}, {"paused": True}, {"job": {"agent": "other"}}):
            await stores.schedules.save(msgspec.structs.replace(due, **changed))
            assert not await stores.schedules.fire(due, [draft("a")], next_at=None)
        assert await stores.schedules.remove(TENANT, "n")
        assert not await stores.schedules.fire(due, [draft("a")], next_at=None)
        assert await claim(stores) == []


class LargeValueContract(Contract):
    """Blobs, to the letter."""

    async def test_any_bytes_under_any_name(self, stores: Stores, other_stores: Stores) -> None:
        for name, body in (("a", b""), ("ä/🌍", bytes(range(256))), ("big", b"\0" * 2_000_000), ("a/b/c", b"1")):
            await stores.blobs.put(TENANT, name, b"before")
            await stores.blobs.put(TENANT, name, body)
            assert await other_stores.blobs.get(TENANT, name) == body
        assert await stores.blobs.get(TENANT, "nul\0") is None
        assert await stores.blobs.get("other", "a") is None

    async def test_a_prefix_is_taken_as_it_is(self, stores: Stores) -> None:
        for name in ("j1/a", "j1/\U000fffff", "j1", "j10/a", "j1_a", "J1/a", "j%/a", "j1/"):
            await stores.blobs.put(TENANT, name, b"1")
        assert await stores.blobs.delete("other", "j1/") == 0
        assert await stores.blobs.delete(TENANT, "j%/") == 1
        assert await stores.blobs.delete(TENANT, "j1/") == 3
        assert await stores.blobs.delete(TENANT, "j1/") == 0
        left = [name for name in ("j1", "j10/a", "j1_a", "J1/a") if await stores.blobs.get(TENANT, name)]
        assert left == ["j1", "j10/a", "j1_a", "J1/a"]
