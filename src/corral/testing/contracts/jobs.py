"""What a `JobStore` promises: every job is claimed by one worker at a time, in a fair order, and ends once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral.context import Scope
from corral.errors import IdempotencyKeyReused, JobNotFound, QueueFull, ValidationFailed
from corral.jobs.job import Claim, Ending, JobEventDraft, JobQuery, Step, StepWrite, WorkerInfo
from corral.testing.contracts.job_setting import (
    ALL,
    BROKEN,
    LEASE_S,
    TENANT,
    claim,
    draft,
    end,
    enqueue,
    info,
    names,
    status,
)
from corral.testing.contracts.setting import Contract, eventually

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.jobs.job import EndingKind


class EnqueueContract(Contract):
    """Handing in."""

    async def test_what_was_asked_for_is_what_a_worker_gets(self, stores: Stores) -> None:
        wanted = draft("a", session_id="s", user_id="ada", tier="gold", queue="gpu", priority=7, version="v2",
                       max_attempts=5, timeout_s=9.0, traceparent="00-a-b-01", deadline_s=900.0, roles=("clerk", "senior"),
                       scope=Scope(agents=("main",), models=("sim/*", "äöü ?")))  # fmt: skip
        ((enqueued,), (job,)) = (await stores.jobs.enqueue([wanted]), await claim(stores))
        assert (enqueued.id, enqueued.is_new, enqueued.state) == (wanted.id, True, "queued")
        for field in ("id", "tenant", "agent", "input", "version", "session_id", "user_id", "tier", "queue", "priority",
                      "max_attempts", "timeout_s", "traceparent", "tags", "backoff", "roles", "scope"):  # fmt: skip
            assert getattr(job, field) == getattr(wanted, field), field
        assert (job.attempt, job.failures, job.has_journal) == (1, 0, False)
        assert job.deadline_at == pytest.approx(job.created_at + 900.0)
        assert abs(job.claimed_at - time.time()) < 60

    async def test_all_or_none(self, stores: Stores) -> None:
        fine = draft("fine")
        with pytest.raises(ValidationFailed):
            await enqueue(stores, fine, draft("odd\0"))
        assert await stores.job_records.get(TENANT, fine.id) is None
        assert await claim(stores) == []

    async def test_the_same_draft_twice_is_one_job(self, stores: Stores, other_stores: Stores) -> None:
        once = draft("a")
        assert [job.is_new for job in await stores.jobs.enqueue([once])] == [True]
        assert [(job.id, job.is_new) for job in await other_stores.jobs.enqueue([once])] == [(once.id, False)]
        assert await names(stores) == ["a"]

    async def test_an_idempotency_key_is_one_job(self, stores: Stores, other_stores: Stores) -> None:
        first, second = (draft(name, idempotency_key="k", fingerprint="f") for name in "ab")
        await enqueue(stores, first)
        (found,) = await other_stores.jobs.enqueue([second])
        assert (found.id, found.is_new) == (first.id, False)
        with pytest.raises(IdempotencyKeyReused):
            await enqueue(stores, draft("c", idempotency_key="k", fingerprint="else"))
        await enqueue(stores, draft("d", idempotency_key="k", fingerprint="else", tenant="other"))
        assert sorted(await names(stores)) == ["a", "d"]

    async def test_a_key_is_forgotten_after_its_time(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", idempotency_key="k", fingerprint="f", dedupe_s=0.001))

        async def is_new() -> bool:
            try:
                job = draft("b", idempotency_key="k", fingerprint="g", dedupe_s=0.001)
                return (await stores.jobs.enqueue([job]))[0].is_new
            except IdempotencyKeyReused:
                return False

        await eventually(is_new)

    async def test_a_full_queue_takes_none(self, stores: Stores) -> None:
        await stores.jobs.enqueue([draft("a"), draft("b")], depth_max=2)

        async def refused() -> bool:
            try:
                await stores.jobs.enqueue([draft("late")], depth_max=2)
            except QueueFull:
                return True
            return False

        await eventually(refused)
        await stores.jobs.enqueue([draft("elsewhere", queue="other")], depth_max=2)

    async def test_many_at_once_from_two_processes(self, stores: Stores, other_stores: Stores) -> None:
        drafts = [draft(f"{n}", tenant=f"t{n % 3}") for n in range(60)]
        both = (stores, other_stores)
        await asyncio.gather(*(both[n % 2].jobs.enqueue([one]) for n, one in enumerate(drafts)))
        found = await asyncio.gather(*(claim(both[n % 2], 7) for n in range(20)))
        ids = [job.id for jobs in found for job in jobs]
        assert sorted(ids) == sorted(one.id for one in drafts)


class OrderContract(Contract):
    """Who goes first."""

    async def test_first_come_first_served(self, stores: Stores) -> None:
        await enqueue(stores, *(draft(name) for name in "abc"))
        await enqueue(stores, draft("d"))
        assert await names(stores) == ["a", "b", "c", "d"]

    async def test_the_urgent_go_first(self, stores: Stores) -> None:
        await enqueue(stores, *(draft(f"{priority}", priority=priority) for priority in (0, 10, 5, 7)))
        assert await names(stores) == ["10", "7", "5", "0"]

    async def test_tenants_take_turns(self, stores: Stores) -> None:
        await enqueue(stores, *(draft("a") for _ in range(40)))
        await enqueue(stores, *(draft("b", tenant="b") for _ in range(5)))
        assert (await names(stores, 12)).count("b") >= 4

    async def test_a_newcomer_is_not_owed_what_others_had(self, stores: Stores) -> None:
        await enqueue(stores, *(draft("a") for _ in range(60)))
        assert len(await claim(stores, 40)) == 40
        await enqueue(stores, *(draft("b", tenant="b") for _ in range(20)))
        got = await names(stores, 10)
        assert 4 <= got.count("b") <= 6

    async def test_weights_divide_turns(self, stores: Stores) -> None:
        await enqueue(
            stores,
            *(draft("light", fairness_key="light") for _ in range(30)),
            *(draft("heavy", fairness_key="heavy", weight=2.0) for _ in range(30)),
        )
        assert 18 <= (await names(stores, 30)).count("heavy") <= 22

    async def test_queues_are_chosen_and_agents_left_alone(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", queue="a"), draft("b", queue="b"), draft("c", queue="a", agent="other"))
        assert await names(stores, queues=["b", "none"]) == ["b"]
        assert await names(stores, exclude=["main"]) == ["c"]
        assert await names(stores) == ["a"]

    async def test_what_waits_for_long_rises(self, stores: Stores) -> None:
        await enqueue(stores, draft("old", priority=0))
        await eventually(lambda: self._aged(stores))
        await enqueue(stores, *(draft("new", priority=1) for _ in range(3)))
        assert await names(stores, 1) == ["old"]

    async def _aged(self, stores: Stores) -> bool:
        return (await stores.jobs.reap(ageing_s=0.001)).aged > 0

    async def test_a_later_time_comes_later(self, stores: Stores) -> None:
        await enqueue(stores, draft("soon", delay_s=0.5), draft("never", delay_s=900.0), draft("now"))
        claimed = await stores.jobs.claim("w", queues=(), limit=9, lease_s=LEASE_S)
        assert [job.tags[0] for job in claimed.jobs] == ["now"]
        assert claimed.next_due_s is not None
        assert claimed.next_due_s <= 0.5
        got: list[str] = []

        async def came() -> bool:
            got.extend(await names(stores))
            return bool(got)

        await eventually(came)
        assert got == ["soon"]


class KeyContract(Contract):
    """At most so many of one key at once."""

    async def test_jobs_of_one_session_run_one_by_one_in_order(self, stores: Stores) -> None:
        await enqueue(stores, *(draft(name, session_id="s") for name in "abc"), draft("other"))
        order = []
        while jobs := await claim(stores):
            order.append(sorted(job.tags[0] for job in jobs))
            for job in jobs:
                assert await end(stores, job)
        assert order == [["a", "other"], ["b"], ["c"]]

    async def test_a_key_has_as_many_slots_as_its_limit(self, stores: Stores) -> None:
        await enqueue(stores, *(draft(name, concurrency_key="k", concurrency_limit=2) for name in "abcd"))
        first, second = await claim(stores)
        assert await names(stores) == []
        await end(stores, second)
        assert await names(stores) == ["c"]
        await end(stores, first, "failed")
        assert await names(stores) == ["d"]

    async def test_tenants_do_not_share_slots(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", concurrency_key="k"), draft("b", concurrency_key="k", tenant="other"))
        assert sorted(await names(stores)) == ["a", "b"]

    @pytest.mark.parametrize(
        ("kind", "more"),
        [("retry", {"delay_s": 900.0}), ("waiting", {"awaits": "signal:x#1"}), ("cancelled", {}), ("failed", {})],
    )
    async def test_whoever_does_not_run_gives_the_slot_on(
        self, stores: Stores, kind: EndingKind, more: dict[str, Any]
    ) -> None:
        await enqueue(stores, draft("a", session_id="s"), draft("b", session_id="s"))
        (job,) = await claim(stores)
        assert await end(stores, job, kind, **more)
        assert await names(stores) == ["b"]

    async def test_the_dead_and_the_cancelled_give_their_slots_on(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", session_id="s", max_attempts=1))
        cancelled, _ = await enqueue(stores, draft("b", session_id="s"), draft("c", session_id="s"))
        assert await names(stores, lease_s=0.0) == ["a"]
        await eventually(lambda: _reaped(stores))
        assert await stores.jobs.cancel(TENANT, ALL, job_id=cancelled) == [cancelled]
        assert await names(stores) == ["c"]


async def _reaped(stores: Stores) -> bool:
    done = await stores.jobs.reap()
    return done.failed + done.requeued + done.cancelled > 0


class FenceOfJobsContract(Contract):
    """Nothing that a worker writes counts once somebody else has its job."""

    async def test_one_worker_has_a_job(self, stores: Stores, other_stores: Stores) -> None:
        await enqueue(stores, draft("a"))
        both = await asyncio.gather(claim(stores), claim(other_stores))
        assert sum(map(len, both)) == 1

    async def test_a_lapsed_claim_counts_until_it_is_taken_away(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"))
        (job,) = await claim(stores, lease_s=0.0)
        assert (await stores.jobs.renew([job.claim], lease_s=LEASE_S)).lost == []
        assert (await stores.jobs.reap()).requeued == 0
        assert await end(stores, job)

    async def test_who_lost_a_job_can_change_nothing(self, stores: Stores, other_stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (lost,) = await claim(stores, lease_s=0.0)
        await eventually(lambda: _reaped(other_stores))
        (held,) = await claim(other_stores)
        assert (held.id, held.attempt, held.failures) == (job_id, 2, 1)
        assert held.token != lost.token
        step = Step(key="x#1", ordinal=1)
        assert await stores.jobs.journal([StepWrite(lost.claim, step), StepWrite(held.claim, step)]) == [False, True]
        said = JobEventDraft(lost.claim, "log", b"1")
        assert await stores.jobs.emit([said]) == [0]
        for kind in ("succeeded", "failed", "cancelled", "retry", "released", "waiting"):
            assert not await end(stores, lost, kind)
        assert (await stores.jobs.renew([lost.claim, held.claim], lease_s=LEASE_S)).lost == [lost.token]
        assert (await status(stores, job_id), await end(stores, held)) == ("running", True)
        (attempt,) = await stores.job_records.attempts(TENANT, job_id)
        assert (attempt.attempt, attempt.error.code) == (1, "worker_lost")

    async def test_what_was_never_claimed_holds_nothing(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        for forged in (Claim(job_id, "nonsense"), Claim("nobody", job.token), Claim(job_id, f"{job.token}1")):
            assert not (await stores.jobs.settle([Ending(claim=forged, kind="cancelled")]))[0]
            assert (await stores.jobs.renew([forged], lease_s=1.0)).lost == [forged.token]
        assert await end(stores, job)

    async def test_a_job_that_kills_its_workers_is_given_up(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a", max_attempts=2))
        for _ in range(2):
            assert await names(stores, lease_s=0.0) == ["a"]
            await eventually(lambda: _reaped(stores))
        found = await info(stores, job_id)
        assert (found.status, found.failures) == ("failed", 2)
        assert found.error is not None
        assert found.error.code == "worker_lost"

    async def test_handing_back_costs_nothing(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", max_attempts=1))
        for attempt in range(1, 4):
            (job,) = await claim(stores)
            assert (job.attempt, job.failures) == (attempt, 0)
            assert await end(stores, job, "released")

    async def test_some_may_fail_to_settle_and_others_not(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"), draft("b"))
        first, second = await claim(stores)
        assert await end(stores, second)
        more = [Ending(claim=one.claim, kind="retry", error=BROKEN) for one in (second, first)]
        assert await stores.jobs.settle(more) == [False, True]


class LifeOfJobsContract(Contract):
    """From running to an end, or to another run."""

    async def test_a_result_is_kept(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await end(stores, job, result=b'{"x": [1, 2]}')
        found = await info(stores, job_id)
        assert found.result is not None
        assert (found.status, msgspec.json.decode(found.result)) == ("succeeded", {"x": [1, 2]})
        assert found.finished_at is not None
        assert await claim(stores) == []

    async def test_a_retry_comes_again_and_its_error_is_told(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await end(stores, job, "retry", delay_s=900.0)
        found = await info(stores, job_id)
        assert (found.status, found.failures, found.run_at is not None) == ("scheduled", 1, True)
        (attempt,) = await stores.job_records.attempts(TENANT, job_id)
        assert (attempt.error, attempt.worker) == (BROKEN, "w")
        assert await claim(stores) == []

    async def test_a_deadline_ends_what_does_not_run(self, stores: Stores) -> None:
        ids = await enqueue(stores, draft("a", deadline_s=0.001), draft("b", deadline_s=0.001, delay_s=900.0))
        failed = 0

        async def both() -> bool:
            nonlocal failed
            failed += (await stores.jobs.reap()).failed
            return failed == 2

        await eventually(both)
        assert [(await info(stores, job_id)).status for job_id in ids] == ["failed", "failed"]
        assert await claim(stores) == []

    async def test_a_journal_is_there_for_the_next_attempt(self, stores: Stores, other_stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        steps = [Step(key=f"x#{n}", ordinal=n, value=b'"%d"' % n) for n in (1, 2)]
        assert await stores.jobs.journal([StepWrite(job.claim, step) for step in steps]) == [True, True]
        again = Step(key="x#1", ordinal=1, value=b'"else"')
        assert await stores.jobs.journal([StepWrite(job.claim, again)]) == [True]
        await end(stores, job, "retry")
        (job,) = await claim(other_stores)
        assert (job.has_journal, await other_stores.jobs.steps(job_id)) == (True, steps)

    async def test_a_wait_ends_with_its_signal(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await end(stores, job, "waiting", awaits="signal:yes#1")
        found = await info(stores, job_id)
        assert (found.status, found.awaits, await claim(stores)) == ("waiting", "signal:yes#1", [])
        assert await stores.jobs.signal(TENANT, job_id, "no", b"1")
        assert await claim(stores) == []
        assert await stores.jobs.signal(TENANT, job_id, "yes", b"2")
        (job,) = await claim(stores)
        assert (job.attempt, job.failures, job.has_journal) == (2, 0, True)
        signals = {step.key: step.value for step in await stores.jobs.steps(job_id)}
        assert signals == {"signal:no#1": b"1", "signal:yes#1": b"2"}

    async def test_a_signal_that_came_before_the_wait_ends_it_at_once(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await stores.jobs.signal(TENANT, job_id, "yes", b"1")
        assert await end(stores, job, "waiting", awaits="signal:yes#1")
        assert await names(stores) == ["a"]

    async def test_a_wait_ends_with_its_time(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        await end(stores, job, "waiting", awaits="signal:x#1", wait_until=job.claimed_at + 0.02)

        async def came() -> bool:
            return await names(stores) == ["a"]

        await eventually(came)

    async def test_who_has_ended_hears_no_signal(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        await end(stores, job)
        assert not await stores.jobs.signal(TENANT, job_id, "yes", b"1")
        with pytest.raises(JobNotFound):
            await stores.jobs.signal("other", job_id, "yes", b"1")

    async def test_events_are_numbered(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        said = [JobEventDraft(job.claim, "piece", b'"%d"' % n) for n in range(3)]
        assert await stores.jobs.emit(said) == [1, 2, 3]
        assert await stores.jobs.emit([JobEventDraft(job.claim, "progress", b'{"fraction":0.5}')]) == [4]
        events = await stores.job_records.events(TENANT, job_id, after=1)
        assert [(event.seq, event.kind, event.attempt) for event in events] == [
            (2, "piece", 1),
            (3, "piece", 1),
            (4, "progress", 1),
        ]
        found = await info(stores, job_id)
        assert found.progress is not None
        assert (found.last_seq, msgspec.json.decode(found.progress)) == (4, {"fraction": 0.5})

    async def test_a_log_keeps_about_the_newest(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        for _ in range(10):
            await stores.jobs.emit([JobEventDraft(job.claim, "piece", b"1")] * 100, keep=100)
        seqs = [event.seq for event in await stores.job_records.events(TENANT, job_id, limit=2000)]
        assert seqs[-1] == 1000
        assert 100 <= len(seqs) <= 300


class CancelContract(Contract):
    """Cancelling."""

    async def test_what_does_not_run_is_cancelled_at_once(self, stores: Stores) -> None:
        ids = await enqueue(stores, draft("a"), draft("b", delay_s=900.0), draft("c", session_id="s"))
        for job_id in ids:
            assert await stores.jobs.cancel(TENANT, ALL, job_id=job_id) == [job_id]
            assert await status(stores, job_id) == "cancelled"
            assert await stores.jobs.cancel(TENANT, ALL, job_id=job_id) == []
        assert await claim(stores) == []

    async def test_what_runs_is_asked_to_stop(self, stores: Stores, other_stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await other_stores.jobs.cancel(TENANT, ALL, job_id=job_id) == [job_id]
        assert (await info(stores, job_id)).cancel_requested
        assert (await stores.jobs.renew([job.claim], lease_s=LEASE_S)).cancelled == [job.token]
        assert await end(stores, job, "retry")
        assert await status(stores, job_id) == "cancelled"

    async def test_a_result_that_was_there_first_counts(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        await stores.jobs.cancel(TENANT, ALL, job_id=job_id)
        assert await end(stores, job)
        assert await status(stores, job_id) == "succeeded"

    async def test_the_job_of_a_dead_worker_is_cancelled_by_whoever_sweeps(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        await claim(stores, lease_s=0.0)
        await stores.jobs.cancel(TENANT, ALL, job_id=job_id)
        await eventually(lambda: _reaped(stores))
        assert await status(stores, job_id) == "cancelled"

    async def test_many_by_what_they_are(self, stores: Stores) -> None:
        some = await enqueue(stores, draft("x"), draft("x", queue="q"))
        await enqueue(stores, draft("y"), draft("x", tenant="other"))
        assert sorted(await stores.jobs.cancel(TENANT, JobQuery(tag="x"))) == sorted(some)
        assert sorted(await names(stores)) == ["x", "y"]


class WakeOfJobsContract(Contract):
    """Hints."""

    async def test_work_wakes_every_process(self, stores: Stores, other_stores: Stores) -> None:
        woken = [asyncio.Event(), asyncio.Event()]
        ends = [one.jobs.watch_work(event.set) for one, event in zip((stores, other_stores), woken, strict=True)]
        await asyncio.sleep(0)
        await eventually(lambda: self._enqueued_until(stores, woken))
        for stop in ends:
            stop()

    async def _enqueued_until(self, stores: Stores, woken: list[asyncio.Event]) -> bool:
        """A hint may be lost, so more than one is given."""
        await enqueue(stores, draft("a"))
        await claim(stores)
        await asyncio.sleep(0.05)
        return all(event.is_set() for event in woken)

    async def test_followers_hear_in_every_process(self, stores: Stores, other_stores: Stores) -> None:
        heard: list[set[str]] = [set(), set()]
        (job_id, other_id) = await enqueue(stores, draft("a"), draft("b"))
        watches = [
            one.jobs.watch_jobs(names_.update) for one, names_ in zip((stores, other_stores), heard, strict=True)
        ]
        for watch in watches:
            watch.follow(job_id)
        job = next(one for one in await claim(stores) if one.id == job_id)

        async def both() -> bool:
            await stores.jobs.emit([JobEventDraft(job.claim, "log", b"1")])
            await asyncio.sleep(0.02)
            return all(job_id in ids for ids in heard)

        await eventually(both)
        assert all(other_id not in ids for ids in heard)
        for watch in watches:
            watch.unfollow(job_id)
            watch.close()

    async def test_a_worker_is_known_while_it_renews(self, stores: Stores, other_stores: Stores) -> None:
        seen = WorkerInfo(worker="w1", queues=("a",), slots=4, running=1, finished=2, failed=3, per_s=0.5,
                          started_at=1.0, seen_at=2.0)  # fmt: skip
        await stores.jobs.renew([], lease_s=1.0, worker=seen)
        (found,) = await other_stores.job_records.workers(within_s=60.0)
        assert (found.worker, found.queues, found.slots, found.finished) == ("w1", ("a",), 4, 2)
