from __future__ import annotations

import asyncio
import itertools
import sqlite3
from pathlib import Path

import pytest

from corral.backends.queries import read_queries
from corral.backends.sqlite import job_moves
from corral.backends.sqlite import migrate as on_sqlite
from corral.backends.sqlite.stores import SqliteStores
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

FOLDER = Path(job_moves.__file__).parent
LEASE_S = 10.0
BROKEN = JobError("agent_error", "It broke.")


class Turned:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def clock():
    return Turned()


@pytest.fixture
async def stores(sqlite_url, clock):
    stores = SqliteStores(sqlite_url, clock=clock)
    await stores.start()
    yield stores
    await stores.stop()


_numbers = itertools.count(1)


def draft(name: str = "", **more) -> JobDraft:
    return JobDraft(**{"id": name or f"job-{next(_numbers)}", "tenant": "acme", "agent": "main", "input": b"1", **more})


async def enqueued(stores, *drafts: JobDraft) -> None:
    await stores.jobs.enqueue(drafts)


async def claimed(stores, limit: int = 100, **more):
    return (await stores.jobs.claim("w", **{"queues": (), "limit": limit, "lease_s": LEASE_S, **more})).jobs


async def names(stores, limit: int = 100, **more) -> list[str]:
    return [job.id for job in await claimed(stores, limit, **more)]


async def end(stores, job, kind="succeeded", **more) -> bool:
    return (await stores.jobs.settle([Ending(claim=job.claim, kind=kind, **more)]))[0]


async def status(stores, name: str) -> str:
    return (await stores.job_records.get("acme", name)).status


# -- slots -----------------------------------------------------------------------------------------------------------------


async def test_jobs_of_one_session_run_one_by_one_in_order(stores):
    await enqueued(stores, *(draft(name, session_id="s") for name in "abc"), draft("other"))
    order = []
    while jobs := await claimed(stores):
        order.append([job.id for job in jobs])
        for job in jobs:
            assert await end(stores, job)
    assert order == [["a", "other"], ["b"], ["c"]]


async def test_a_key_has_as_many_slots_as_its_limit(stores):
    await enqueued(stores, *(draft(name, concurrency_key="k", concurrency_limit=2) for name in "abcd"))
    first, second = await claimed(stores)
    assert await names(stores) == []
    await end(stores, second)
    assert await names(stores) == ["c"]
    await end(stores, first, "failed", error=BROKEN)
    assert await names(stores) == ["d"]


async def test_a_parked_job_that_goes_makes_way_for_one_with_a_higher_limit(stores):
    await enqueued(stores, draft("a", concurrency_key="k"), draft("b", concurrency_key="k"))
    await enqueued(stores, draft("c", concurrency_key="k", concurrency_limit=2))
    assert await names(stores) == ["a"]
    await stores.jobs.cancel("acme", JobQuery(), job_id="b")
    assert await names(stores) == ["c"]


async def test_tenants_do_not_share_slots(stores):
    await enqueued(stores, draft("a", concurrency_key="k"), draft("b", concurrency_key="k", tenant="other"))
    assert sorted(await names(stores)) == ["a", "b"]


async def test_a_more_urgent_job_takes_the_slot_of_one_that_does_not_run_yet(stores):
    await enqueued(stores, draft("low", concurrency_key="k"))
    await enqueued(stores, draft("high", concurrency_key="k", priority=9))
    (job,) = await claimed(stores)
    assert job.id == "high"
    await enqueued(stores, draft("highest", concurrency_key="k", priority=10))
    assert await names(stores) == []  # whoever runs keeps the slot
    await end(stores, job)
    assert await names(stores) == ["highest"]


@pytest.mark.parametrize(
    ("kind", "more"),
    [("retry", {"error": BROKEN, "delay_s": 5.0}), ("waiting", {"awaits": "signal:x#1"}), ("cancelled", {})],
)
async def test_whoever_does_not_run_gives_the_slot_on(stores, kind, more):
    await enqueued(stores, draft("a", session_id="s"), draft("b", session_id="s"))
    (job,) = await claimed(stores)
    assert await end(stores, job, kind, **more)
    assert await names(stores) == ["b"]


async def test_what_was_handed_back_goes_before_what_came_later(stores):
    await enqueued(stores, draft("a", session_id="s"), draft("b", session_id="s"))
    (job,) = await claimed(stores)
    assert await end(stores, job, "released")
    assert await names(stores) == ["a"]


async def test_a_scheduled_job_holds_no_slot(stores, clock):
    await enqueued(stores, draft("later", session_id="s", delay_s=5), draft("now", session_id="s"))
    (job,) = await claimed(stores)
    clock.time += 6
    assert (job.id, await names(stores)) == ("now", [])
    await end(stores, job)
    assert await names(stores) == ["later"]


async def test_slots_of_dead_workers_and_cancelled_jobs_are_given_on(stores, clock):
    await enqueued(stores, *(draft(name, session_id="s", max_attempts=1) for name in "abc"))
    assert await names(stores) == ["a"]
    clock.time += LEASE_S + 1
    assert (await stores.jobs.reap()).failed == 1
    assert await stores.jobs.cancel("acme", JobQuery(), job_id="b") == ["b"]
    assert await names(stores) == ["c"]


# -- lanes -----------------------------------------------------------------------------------------------------------------


async def test_tenants_take_turns(stores):
    await enqueued(stores, *(draft(f"a{n}") for n in range(6)))
    await enqueued(stores, *(draft(f"b{n}", tenant="b") for n in range(3)))
    assert (await names(stores))[:6] == ["a0", "a1", "b0", "a2", "b1", "a3"]


async def test_a_newcomer_goes_next_and_is_owed_nothing(stores):
    await enqueued(stores, *(draft(f"a{n}") for n in range(50)))
    assert len(await claimed(stores, 40)) == 40
    await enqueued(stores, *(draft(f"b{n}", tenant="b") for n in range(5)))
    assert await names(stores, 4) == ["a40", "a41", "b0", "a42"]


async def test_who_worked_alone_pays_nothing_back(stores):
    await enqueued(stores, *(draft(f"a{n}") for n in range(50)))
    assert len(await claimed(stores)) == 50
    await enqueued(stores, *(draft(tenant=tenant) for tenant in ("b", "acme", "b", "acme")))
    assert [job.tenant for job in await claimed(stores)] == ["b", "acme", "b", "acme"]


async def test_weights_divide_turns(stores):
    await enqueued(
        stores,
        *(draft(fairness_key="light", tags=("light",)) for _ in range(30)),
        *(draft(fairness_key="heavy", weight=2.0, tags=("heavy",)) for _ in range(30)),
    )
    first = [job.tags[0] for job in await claimed(stores, 30)]
    assert 18 <= first.count("heavy") <= 21


async def test_urgent_ranks_go_first_and_queues_of_one_rank_share(stores):
    await enqueued(
        stores,
        *(draft(f"a{n}", queue="a") for n in range(9)),
        *(draft(f"b{n}", queue="b") for n in range(2)),
        draft("urgent", queue="b", priority=8),
        draft("idle", queue="c", priority=0),
    )
    got = await names(stores, 6)
    assert got[0] == "urgent"
    assert sorted(got[1:]) == ["a0", "a1", "a2", "b0", "b1"]
    assert await names(stores, queues=["c"]) == ["idle"]
    assert await names(stores, 3, exclude=["main"]) == []
    assert len(await names(stores)) == 6


async def test_what_waits_for_long_rises_by_one_rank_at_a_time(stores, clock):
    await enqueued(stores, draft("old", priority=0))
    clock.time += 61
    await enqueued(stores, *(draft(priority=1) for _ in range(3)))
    assert (await stores.jobs.reap(ageing_s=60)).aged == 1
    assert (await stores.jobs.reap(ageing_s=60)).aged == 0
    await enqueued(stores, draft("late", priority=1))
    assert (await names(stores))[3:] == ["old", "late"]
    assert (await stores.job_records.get("acme", "old")).priority == 0


# -- the rest of a life ------------------------------------------------------------------------------------------------------


async def test_a_token_fences_and_is_fresh_each_time(stores, clock):
    await enqueued(stores, draft("a"))
    (first,) = await claimed(stores)
    clock.time += LEASE_S + 1
    assert (await stores.jobs.reap()).requeued == 1
    (second,) = await claimed(stores)
    assert (second.attempt, second.failures, first.token == second.token) == (2, 1, False)
    step = Step(key="x#1", ordinal=1)
    assert await stores.jobs.journal([StepWrite(first.claim, step), StepWrite(second.claim, step)]) == [False, True]
    assert await stores.jobs.emit([JobEventDraft(first.claim, "log", b"1")]) == [0]
    assert not await end(stores, first)
    forged = [Claim("a", "nonsense"), Claim("b", second.token), Claim("a", f"x{second.token}"), Claim("a", "\ud800.1")]
    assert len((await stores.jobs.renew(forged, lease_s=1)).lost) == 4
    assert await stores.jobs.settle([Ending(claim=second.claim, kind="succeeded", result=b"2")] * 2) == [True, False]
    assert [attempt.error.code for attempt in await stores.job_records.attempts("acme", "a")] == ["worker_lost"]


async def test_a_wait_ends_with_its_signal_or_its_time(stores, clock):
    await enqueued(stores, draft("a"))
    (job,) = await claimed(stores)
    await end(stores, job, "waiting", awaits="signal:yes#1", wait_until=clock.time + 60)
    found = await stores.job_records.get("acme", "a")
    assert (found.status, found.awaits, found.run_at) == ("waiting", "signal:yes#1", clock.time + 60)
    assert await stores.jobs.signal("acme", "a", "no", b"1")
    assert await names(stores) == []
    assert await stores.jobs.signal("acme", "a", "yes", b"1")
    (job,) = await claimed(stores)
    assert job.has_journal
    assert [step.key for step in await stores.jobs.steps("a")] == ["signal:no#1", "signal:yes#1"]
    await end(stores, job, "waiting", awaits="signal:yes#2", wait_until=clock.time + 60)
    clock.time += 61
    assert await names(stores) == ["a"]


async def test_what_came_due_is_ready_at_the_next_claim(stores, clock):
    await enqueued(stores, draft("a", delay_s=5), draft("b", run_at=clock.time + 7, delay_s=1), draft("c", delay_s=-1))
    answer = await stores.jobs.claim("w", queues=(), limit=9, lease_s=LEASE_S)
    assert ([job.id for job in answer.jobs], answer.next_due_s) == (["c"], 5.0)
    clock.time += 6
    answer = await stores.jobs.claim("w", queues=(), limit=9, lease_s=LEASE_S)
    assert ([job.id for job in answer.jobs], answer.next_due_s) == (["a"], 1.0)


async def test_a_job_past_its_deadline_is_never_claimed(stores, clock):
    await enqueued(stores, draft("a", deadline_s=5), draft("b", deadline_s=5, delay_s=60), draft("c"))
    clock.time += 6
    assert await names(stores) == ["c"]
    assert (await stores.jobs.reap()).failed == 2
    assert (await stores.job_records.get("acme", "b")).error.code == "deadline_exceeded"


async def test_idempotency_keys_and_ids_make_one_job_of_many(stores, clock):
    once = draft("a", idempotency_key="k", fingerprint="f", dedupe_s=60)
    (first, again, other) = await stores.jobs.enqueue([once, draft("b", idempotency_key="k", fingerprint="f"), once])
    assert [(one.id, one.is_new) for one in (first, again, other)] == [("a", True), ("a", False), ("a", False)]
    assert [one.is_new for one in await stores.jobs.enqueue([once, draft("c")])] == [False, True]
    with pytest.raises(JobStateConflict):
        await stores.jobs.enqueue([draft("a", tenant="other")])
    clock.time += 61
    assert (await stores.jobs.reap()).removed == 2  # the key, and the lane of who has nothing ready before others
    assert (await stores.jobs.enqueue([draft("d", idempotency_key="k", fingerprint="g")]))[0].is_new


async def test_a_full_queue_takes_none(stores):
    await stores.jobs.enqueue([draft(), draft()], depth_max=2)
    with pytest.raises(QueueFull):
        await stores.jobs.enqueue([draft("late"), draft(queue="other")], depth_max=2)
    assert await stores.job_records.get("acme", "late") is None
    (job, _) = await claimed(stores)
    await end(stores, job)
    await stores.jobs.enqueue([draft()], depth_max=2)
    (found,) = await stores.job_records.queues()
    assert (found.queued, found.running, await stores.job_records.depth("default", limit=9)) == (1, 1, 2)


@pytest.mark.parametrize(
    "wrong",
    [{"id": "a\0"}, {"tenant": ""}, {"tags": ("\ud800",)}, {"priority": 11}, {"weight": 0.0}, {"max_attempts": 0},
     {"concurrency_limit": 0}, {"delay_s": float("nan")}, {"run_at": float("inf")}, {"session_id": ""}],
)  # fmt: skip
async def test_what_cannot_be_kept_is_refused_whole(stores, wrong):
    with pytest.raises(ValidationFailed):
        await stores.jobs.enqueue([draft("fine"), draft(**wrong)])
    assert await stores.job_records.get("acme", "fine") is None


async def test_what_was_redriven_goes_on_from_its_journal_or_afresh(stores):
    await enqueued(stores, draft("a", max_attempts=1, session_id="s"), draft("b", max_attempts=1))
    for job in await claimed(stores):
        await stores.jobs.journal([StepWrite(job.claim, Step(key="x#1", ordinal=1))])
        await stores.jobs.emit([JobEventDraft(job.claim, "progress", b"0.5")])
        await end(stores, job, "failed", error=BROKEN)
    assert {job.id for job in (await stores.job_records.find("acme", JobQuery(status=("failed",)))).items} == {"a", "b"}
    assert await stores.job_records.redrive("acme", JobQuery()) == ["a", "b"]
    jobs = await claimed(stores)
    assert [(job.attempt, job.failures, job.has_journal) for job in jobs] == [(2, 0, True)] * 2
    assert await stores.jobs.emit([JobEventDraft(jobs[0].claim, "log", b"1")]) == [2]
    for job in jobs:
        await end(stores, job, "failed", error=BROKEN)
    assert await stores.job_records.discard("acme", JobQuery(), job_id="b") == ["b"]
    assert await stores.job_records.redrive("acme", JobQuery(), job_id="b") == []
    assert await stores.job_records.redrive("acme", JobQuery(), job_id="a", new_input=b"2") == ["a"]
    (job,) = await claimed(stores)
    assert (job.input, job.has_journal, await stores.jobs.steps("a")) == (b"2", False, [])


async def test_forgetting_leaves_nothing_behind_but_open_jobs(stores, clock):
    await stores.job_records.create_batch("acme", "b", 1)
    callback = Callback("https://example.com")
    await enqueued(stores, draft("a", batch_id="b", callback=callback), draft("b", delay_s=1e6))
    (job,) = await claimed(stores)
    await stores.jobs.journal([StepWrite(job.claim, Step(key="x#1", ordinal=1))])
    await stores.jobs.emit([JobEventDraft(job.claim, "progress", b"0.5")])
    await stores.blobs.put("acme", f"a/{job.token}/1", b"large")
    await end(stores, job, "failed", error=BROKEN)
    assert len(await stores.outbox.deliveries("acme", job_id="a")) == 1
    assert await stores.job_records.forget(before=clock.time) == 0
    assert await stores.job_records.forget(before=clock.time + 1) == 1
    left = {"jobs": 1, "job_queue": 1}
    for table in ("jobs", "job_queue", "job_steps", "job_events", "job_progress", "job_attempts", "job_outbox",
                  "blobs", "job_batches"):  # fmt: skip
        query = f"SELECT count(*) FROM {table}"
        (rows,) = await stores._engine.read(lambda view, query=query: view.execute(query).fetchone())
        assert rows == left.get(table, 0), table


async def test_logs_are_bounded(stores):
    await enqueued(stores, draft("a"))
    (job,) = await claimed(stores)
    for _ in range(10):
        await stores.jobs.emit([JobEventDraft(job.claim, "piece", b"1")] * 50, keep=100)
    seqs = [event.seq for event in await stores.job_records.events("acme", "a")]
    assert seqs[-1] == 500
    assert 100 <= len(seqs) <= 164
    assert len(await stores.job_records.events("acme", "a", after=495)) == 5


# -- cost ------------------------------------------------------------------------------------------------------------------------

HOT = [
    ("job_moves", ("rank", "lane", "slots", "first_parked", "worst_ready", "leave", "keep", "queue", "unpark")),
    ("job_claiming", ("running", "first_due", "due", "groups", "walk", "walk_excluding", "take")),
    ("job_enqueuing", ("by_ids", "request", "open", "last_number")),
    ("job_sweeping", ("lapsed", "late", "ranks", "old", "forget_requests")),
    ("job_log", ("steps", "open_job", "signals", "trim", "move_log")),
    ("job_records", ("get", "events", "attempts", "depth", "oldest")),
    ("job_watcher", ("first_due", "outbox", "looks")),
    ("outbox", ("take", "first_due", "settle")),
    ("schedules", ("due", "next")),
]
CHEAP = ("(subquery", "job_ranks", "asked", "json_each", "CONSTANT ROW")


@pytest.mark.parametrize(("file", "query"), [(file, query) for file, queries in HOT for query in queries])
def test_no_hot_query_looks_at_more_rows_than_it_needs(file, query):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    on_sqlite.migrate(connection, "url", 0.0)
    sql = read_queries(FOLDER / f"{file}.sql")[query]
    values = [1] * max(
        (int(part[: len(part) - len(part.lstrip("0123456789"))] or 0) for part in sql.split("?")), default=0
    )
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    connection.close()
    for *_, step in plan:
        assert "TEMP B-TREE" not in step or query in {"groups", "ranks", "steps"}, step
        ordered = "USING INDEX" in step or "COVERING INDEX" in step or query in {"oldest", "last_number", "outbox"}
        assert not step.startswith("SCAN") or ordered or any(name in step for name in CHEAP), step


async def test_a_file_of_the_first_version_takes_jobs_in(tmp_path):
    def as_it_was() -> None:
        connection = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
        on_sqlite.migrate(connection, "url", 0.0, known=on_sqlite.STEPS[:1])
        connection.close()

    await asyncio.to_thread(as_it_was)
    stores = SqliteStores(f"sqlite:///{tmp_path}/old.db")
    await stores.start()
    await enqueued(stores, draft("a"))
    assert await names(stores) == ["a"]
    await stores.stop()


async def test_schedules_fire_once_and_callbacks_are_leased(stores, clock):
    await enqueued(stores, draft("called", callback=Callback("https://example.com", {"x": "y"})))
    (job,) = await claimed(stores)
    await end(stores, job)
    schedule = Schedule(tenant="acme", name="n", cron="@hourly", job={"agent": "main"}, next_at=clock.time)
    await stores.schedules.save(schedule)
    assert await stores.schedules.due() == ([schedule], None)
    assert await stores.schedules.fire(schedule, [draft("fired")], next_at=clock.time + 60)
    assert not await stores.schedules.fire(schedule, [draft("twice")], next_at=clock.time + 60)
    assert (await names(stores), await stores.schedules.due()) == (["fired"], ([], 60.0))
    (delivery,), next_s = await stores.outbox.take(limit=9, lease_s=30)
    assert (delivery.callback.headers, delivery.attempts, next_s) == ({"x": "y"}, 1, 30.0)
    assert await stores.outbox.take(limit=9, lease_s=30) == ([], 30.0)
    clock.time += 31
    ((again,), _) = await stores.outbox.take(limit=9, lease_s=30)
    outcomes = [Delivered(id=one.id, token=one.token, ok=True, answer="204") for one in (delivery, again)]
    assert await stores.outbox.settle(outcomes) == [False, True]
    assert await stores.outbox.replay("acme", delivery.id)
    assert not await stores.outbox.replay("other", delivery.id)
    assert [one.status for one in await stores.outbox.deliveries("acme")] == ["pending"]


async def test_blobs_are_kept_by_tenant_and_removed_by_prefix(stores):
    for tenant, name in (("acme", "a/1"), ("acme", "a/2"), ("acme", "A/1"), ("acme", "a%1"), ("other", "a/1")):
        await stores.blobs.put(tenant, name, b"1")
    await stores.blobs.put("acme", "a/2", b"2")
    assert (await stores.blobs.get("acme", "a/2"), await stores.blobs.get("acme", "b")) == (b"2", None)
    assert await stores.blobs.delete("acme", "a/") == 2
    assert await stores.blobs.get("other", "a/1") == b"1"
