"""What a `JobStore` promises about the ways of a job: every ending, every wait, every sweep, and what people see then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral.errors import JobNotFound
from corral.jobs.job import Callback, Ending, JobError, JobEventDraft, JobQuery, Step, StepWrite
from corral.testing.contracts.job_setting import (
    ALL,
    BROKEN,
    LEASE_S,
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
from corral.testing.contracts.job_tokens import reaped
from corral.testing.contracts.setting import Contract, eventually

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.jobs.job import EndingKind

HOOK = Callback("https://example.com/hook")


class EndingContract(Contract):
    """How a run ends."""

    async def test_each_ends_as_it_says(self, stores: Stores) -> None:
        kinds: dict[EndingKind, tuple[str, int]] = {
            "succeeded": ("succeeded", 0), "failed": ("failed", 1), "cancelled": ("cancelled", 0),
            "retry": ("scheduled", 1), "released": ("queued", 0), "waiting": ("waiting", 0),
        }  # fmt: skip
        await enqueue(stores, *(draft(kind) for kind in kinds))
        jobs = await claim(stores)
        endings = [
            Ending(claim=job.claim, kind=kind, error=BROKEN if kind in {"failed", "retry"} else None,
                   result=b"7" if kind == "succeeded" else None, delay_s=900.0, awaits="signal:x#1")
            for job, kind in zip(jobs, kinds, strict=True)
        ]  # fmt: skip
        assert await stores.jobs.settle(endings) == [True] * 6
        for job, (state, failures) in zip(jobs, kinds.values(), strict=True):
            found = await info(stores, job.id)
            assert (found.status, found.failures, found.attempt) == (state, failures, 1), job.tags
            assert (found.finished_at is not None) == (state in {"succeeded", "failed", "cancelled"})
            assert found.error == (BROKEN if state == "failed" else None)
            assert found.awaits == ("signal:x#1" if state == "waiting" else "")
            assert (found.run_at is not None) == (state == "scheduled")

    async def test_the_latest_attempt_is_what_people_see(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (first,) = await claim(stores)
        found = await info(stores, job_id)
        assert (found.worker, found.attempt, found.run_at) == ("w", 1, None)
        assert found.started_at == pytest.approx(first.claimed_at)
        assert await end(stores, first, "retry")
        (second,) = (await stores.jobs.claim("w2", queues=(), limit=1, lease_s=LEASE_S)).jobs
        assert (second.attempt, second.failures) == (2, 1)
        assert await end(stores, second)
        found = await info(stores, job_id)
        assert (found.worker, found.attempt, found.failures, found.error) == ("w2", 2, 1, None)
        assert found.finished_at is not None
        assert found.created_at <= first.claimed_at <= second.claimed_at <= found.finished_at

    async def test_every_attempt_that_failed_is_kept(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a", max_attempts=9))
        errors = [
            JobError("agent_error", f"No {n}: ü\n", "ValueError", "Traceback …", retryable=n == 1) for n in (1, 3)
        ]
        steps: list[tuple[EndingKind, JobError | None]] = [
            ("retry", errors[0]), ("released", None), ("retry", errors[1]), ("waiting", None),
        ]  # fmt: skip
        for kind, error in steps:
            (job,) = await claim(stores)
            assert await end(stores, job, kind, error=error, wait_until=1.0)
        (job,) = await claim(stores, lease_s=0.0)
        await reaped(stores, job_id)
        (job,) = await claim(stores)
        assert await end(stores, job, "failed", error=BROKEN)
        found = await stores.job_records.attempts(TENANT, job_id)
        assert [one.attempt for one in found] == [1, 3, 5, 6]
        assert [one.error for one in (found[0], found[1], found[3])] == [*errors, BROKEN]
        assert found[2].error.code == "worker_lost"
        assert all(one.worker == "w" and one.started_at <= one.ended_at for one in found)

    async def test_a_claim_that_was_handed_back_without_a_beginning_is_no_attempt(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a", max_attempts=9))
        tokens = set()
        for _ in range(3):
            (job,) = await claim(stores)
            assert (job.attempt, job.failures) == (1, 0)
            tokens.add(job.token)
            assert await end(stores, job, "released", begun=False)
            found = await info(stores, job_id)
            assert (found.status, found.attempt, found.failures, found.started_at) == ("queued", 0, 0, None)
            # Said again, as after an answer that got lost: it is not taken away twice, and nothing is written any more.
            await end(stores, job, "released", begun=False)
            assert not await end(stores, job)
            assert (await info(stores, job_id)).attempt == 0
        (job,) = await claim(stores)
        assert (job.attempt, len(tokens | {job.token})) == (1, 4)
        assert await end(stores, job, "retry", error=BROKEN)
        (job,) = await claim(stores)
        assert await end(stores, job, "released", begun=False)
        (job,) = await claim(stores)
        assert await end(stores, job, "released")
        (job,) = await claim(stores)
        assert job.attempt == 3
        assert await end(stores, job, "failed", error=BROKEN)
        assert [one.attempt for one in await stores.job_records.attempts(TENANT, job_id)] == [1, 3]
        assert (await info(stores, job_id)).attempt == 3

    async def test_of_many_that_are_let_go_only_those_count_no_attempt_that_never_began(self, stores: Stores) -> None:
        kinds: dict[str, tuple[EndingKind, bool]] = {
            "begun": ("released", True), "never": ("released", False), "waits": ("waiting", True), "again": ("retry", True),
        }  # fmt: skip
        await enqueue(stores, *(draft(name) for name in kinds))
        jobs = await claim(stores)
        endings = [
            Ending(claim=job.claim, kind=kind, begun=begun, awaits="signal:x#1", error=BROKEN if kind == "retry" else None)
            for job in jobs for kind, begun in [kinds[job.tags[0]]]
        ]  # fmt: skip
        assert await stores.jobs.settle(endings) == [True] * 4
        seen = {job.tags[0]: (await info(stores, job.id)).attempt for job in jobs}
        assert seen == {"begun": 1, "never": 0, "waits": 1, "again": 1}

    @pytest.mark.parametrize("kind", ["released", "cancelled"])
    async def test_what_was_cancelled_before_it_began_counts_no_attempt(self, stores: Stores, kind: EndingKind) -> None:
        queued, begun, never, again = await enqueue(
            stores, *(draft(name) for name in ("queued", "begun", "never", "again"))
        )
        assert await stores.jobs.cancel(TENANT, ALL, job_id=queued) == [queued]
        jobs = {job.id: job for job in await claim(stores)}
        assert await end(stores, jobs[again], "retry")
        jobs |= {job.id: job for job in await claim(stores)}
        assert jobs[again].attempt == 2
        for job_id in jobs:
            assert await stores.jobs.cancel(TENANT, ALL, job_id=job_id) == [job_id]
        endings = [Ending(claim=job.claim, kind=kind, begun=job.id == begun) for job in jobs.values()]
        assert await stores.jobs.settle(endings) == [True] * 3
        found = {job_id: await info(stores, job_id) for job_id in (queued, begun, never, again)}
        assert {one.status for one in found.values()} == {"cancelled"}
        assert [found[job_id].attempt for job_id in (queued, begun, never, again)] == [0, 1, 0, 1]
        assert [found[job_id].worker for job_id in (queued, begun, never)] == [None, "w", None]
        assert (found[never].started_at, found[begun].started_at is None) == (None, False)
        assert [one.attempt for one in await stores.job_records.attempts(TENANT, again)] == [1]
        for ending in endings:  # said again, as after an answer that got lost
            await stores.jobs.settle([ending])
        assert (await info(stores, never)).attempt == 0

    async def test_one_that_was_cancelled_before_it_began_counts_no_attempt(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a", session_id="s"))
        (job,) = await claim(stores)
        assert await end(stores, job, "cancelled", begun=False)
        assert ((await info(stores, job_id)).status, (await info(stores, job_id)).attempt) == ("cancelled", 0)
        assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id) == [job_id]
        assert [job.attempt for job in await claim(stores)] == [1]

    @pytest.mark.parametrize("kind", ["retry", "released", "waiting", "cancelled"])
    async def test_what_was_to_be_cancelled_and_has_no_end_of_its_own_is(
        self, stores: Stores, kind: EndingKind
    ) -> None:
        (job_id,) = await enqueue(stores, draft("a", callback=HOOK))
        (job,) = await claim(stores)
        for _ in range(2):
            assert await stores.jobs.cancel(TENANT, ALL, job_id=job_id) == [job_id]
        assert (await stores.jobs.renew([job.claim], lease_s=LEASE_S)).cancelled == [job.token]
        assert await stores.jobs.journal([StepWrite(job.claim, Step(key="x#1", ordinal=1))]) == [True]
        assert await end(stores, job, kind)
        found = await info(stores, job_id)
        assert (found.status, found.finished_at is not None) == ("cancelled", True)
        assert len(await stores.outbox.deliveries(TENANT, job_id=job_id)) == 1
        assert await claim(stores) == []

    async def test_an_end_that_came_all_the_same_counts(self, stores: Stores) -> None:
        ids = await enqueue(stores, draft("a"), draft("b"))
        jobs = await claim(stores)
        assert sorted(await stores.jobs.cancel(TENANT, ALL)) == sorted(ids)
        assert await end(stores, jobs[0])
        assert await end(stores, jobs[1], "failed")
        assert [await status(stores, job.id) for job in jobs] == ["succeeded", "failed"]

    @pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled", "cancel", "late", "lost"])
    async def test_every_end_calls_back_once(self, stores: Stores, how: Any) -> None:
        more = {"deadline_s": 0.005} if how == "late" else {}
        (job_id,) = await enqueue(stores, draft("a", callback=HOOK, max_attempts=1, **more))
        if how in {"succeeded", "failed", "cancelled"}:
            (job,) = await claim(stores)
            assert await stores.outbox.deliveries(TENANT) == []
            assert await end(stores, job, how)
        elif how == "cancel":
            assert await stores.jobs.cancel(TENANT, ALL, job_id=job_id) == [job_id]
        elif how == "lost":
            await claim(stores, lease_s=0.0)
            await reaped(stores, job_id)
        else:
            await eventually(lambda: _swept(stores, job_id))
        (delivery,) = await stores.outbox.deliveries(TENANT, job_id=job_id)
        assert (delivery.status, delivery.attempts, delivery.callback, delivery.tenant) == ("pending", 0, HOOK, TENANT)
        await stores.jobs.reap()
        await stores.jobs.cancel(TENANT, ALL, job_id=job_id)
        assert len(await stores.outbox.deliveries(TENANT)) == 1


async def _swept(stores: Stores, job_id: str) -> bool:
    await stores.jobs.reap()
    return await status(stores, job_id) == "failed"


class WaitContract(Contract):
    """Journals, signals and waits."""

    async def test_a_journal_is_in_the_order_the_agent_asked(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await stores.jobs.signal(TENANT, job_id, "early", b'"s"')
        steps = [
            Step(key="b#1", ordinal=1, value=b'{"x": "\xc3\xbc"}'), Step(key="a#1", ordinal=2, kind="wait"),
            Step(key="a#10", ordinal=3, value=b"blob/name", is_reference=True), Step(key="a#2", ordinal=4, failed=True),
        ]  # fmt: skip
        for step in (steps[3], *steps[:3]):
            assert await stores.jobs.journal([StepWrite(job.claim, step)]) == [True]
        signal = Step(key="signal:early#1", kind="signal", value=b'"s"')
        assert await stores.jobs.steps(job_id) == [*steps, signal]
        doubled = [StepWrite(job.claim, Step(key="c#1", ordinal=5, value=value)) for value in (b"1", b"2")]
        assert await stores.jobs.journal(doubled) == [True, True]
        assert [step.value for step in await stores.jobs.steps(job_id) if step.key == "c#1"] == [b"1"]
        assert await end(stores, job)
        assert len(await stores.jobs.steps(job_id)) == 6

    async def test_only_the_signal_that_is_awaited_wakes(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await stores.jobs.signal(TENANT, job_id, "go", b"1")
        assert await end(stores, job, "waiting", awaits="signal:go#2")
        assert await stores.jobs.signal(TENANT, job_id, "go on", b"1")
        assert await status(stores, job_id) == "waiting"
        assert await stores.jobs.signal(TENANT, job_id, "go", b"2")
        found = await info(stores, job_id)
        assert (found.status, found.awaits, found.run_at) == ("queued", "", None)
        assert await names(stores) == ["a"]
        assert await claim(stores) == []

    async def test_a_signal_is_for_any_open_job(self, stores: Stores, other_stores: Stores) -> None:
        ids = await enqueue(stores, draft("ready"), draft("later", delay_s=900.0), draft("s1", session_id="s"),
                            draft("parked", session_id="s"))  # fmt: skip
        for job_id in ids:
            assert await other_stores.jobs.signal(TENANT, job_id, "ü x#1", b"null")
        assert [await status(stores, job_id) for job_id in ids] == ["queued", "scheduled", "queued", "queued"]
        assert all(job.has_journal for job in await claim(stores))
        assert [step.key for step in await stores.jobs.steps(ids[1])] == ["signal:ü x#1#1"]

    async def test_nobody_is_told_what_has_ended(self, stores: Stores) -> None:
        job_id = await failed_one(stores)
        assert not await stores.jobs.signal(TENANT, job_id, "x", b"1")
        assert await stores.jobs.steps(job_id) == []
        for unknown in ("nobody", "nul\0", "\ud800", ""):
            with pytest.raises(JobNotFound):
                await stores.jobs.signal(TENANT, unknown, "x", b"1")

    async def test_a_wait_may_be_cancelled_or_given_up(self, stores: Stores) -> None:
        ids = await enqueue(stores, draft("a"), draft("b", deadline_s=0.05))
        for job in await claim(stores):
            assert await end(stores, job, "waiting", wait_until=job.claimed_at + 900.0)
        assert await stores.jobs.cancel(TENANT, JobQuery(status=("waiting",), tag="a")) == [ids[0]]
        await eventually(lambda: _swept(stores, ids[1]))
        assert await status(stores, ids[0]) == "cancelled"
        assert (await stores.jobs.claim("w", queues=(), limit=9, lease_s=LEASE_S)).next_due_s is None

    async def test_logs_go_on_in_the_next_attempt(self, stores: Stores, other_stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        for attempt in (1, 2):
            (job,) = await claim(stores)
            said = [
                JobEventDraft(job.claim, "piece", b'{"text": "\xc3\xbc"}'),
                JobEventDraft(job.claim, "progress", b"%d" % attempt),
            ]
            assert await stores.jobs.emit(said) == [2 * attempt - 1, 2 * attempt]
            assert await end(stores, job, "retry")
        events = await other_stores.job_records.events(TENANT, job_id)
        assert [(one.seq, one.attempt, one.kind) for one in events] == [
            (1, 1, "piece"), (2, 1, "progress"), (3, 2, "piece"), (4, 2, "progress"),
        ]  # fmt: skip
        assert bytes(events[0].data) == b'{"text": "\xc3\xbc"}'
        assert events == await stores.job_records.events(TENANT, job_id, limit=4)
        assert [one.seq for one in await stores.job_records.events(TENANT, job_id, after=1, limit=2)] == [2, 3]
        assert await stores.job_records.events(TENANT, job_id, after=4) == []
        found = await info(stores, job_id)
        assert (found.last_seq, bytes(found.progress or b"")) == (4, b"2")

    async def test_two_processes_never_give_one_number_twice(self, stores: Stores, other_stores: Stores) -> None:
        await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        both = (stores, other_stores)
        said = [JobEventDraft(job.claim, "piece", b"1")] * 3
        numbers = await asyncio.gather(*(both[n % 2].jobs.emit(said) for n in range(20)))
        assert sorted(number for three in numbers for number in three) == list(range(1, 61))
        assert all(three == sorted(three) for three in numbers)


class RedriveContract(Contract):
    """Running what has ended once more."""

    async def test_it_starts_with_a_clean_sheet_and_a_long_memory(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a", max_attempts=1, callback=HOOK, deadline_s=900.0))
        (job,) = await claim(stores)
        await stores.jobs.journal([StepWrite(job.claim, Step(key="x#1", ordinal=1))])
        await stores.jobs.emit([JobEventDraft(job.claim, "log", b"1")])
        await stores.jobs.signal(TENANT, job_id, "go", b"1")
        assert await end(stores, job, "failed")
        before = await info(stores, job_id)
        assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id) == [job_id]
        found = await info(stores, job_id)
        assert (found.status, found.failures, found.attempt, found.last_seq) == ("queued", 0, 1, 1)
        assert (found.error, found.result, found.finished_at) == (None, None, None)
        assert found.created_at == before.created_at
        assert not found.cancel_requested
        (job,) = await claim(stores)
        assert (job.attempt, job.failures, job.has_journal) == (2, 0, True)
        assert [step.key for step in await stores.jobs.steps(job_id)] == ["x#1", "signal:go#1"]
        assert await stores.jobs.emit([JobEventDraft(job.claim, "log", b"2")]) == [2]
        assert await end(stores, job)
        assert len(await stores.job_records.attempts(TENANT, job_id)) == 1
        assert len(await stores.outbox.deliveries(TENANT, job_id=job_id)) == 2

    async def test_a_deadline_that_was_over_begins_anew(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a", deadline_s=0.3))
        (job,) = await claim(stores)
        assert await end(stores, job, "failed")
        first = (await info(stores, job_id)).deadline_at
        await asyncio.sleep(0.01)  # so that the two deadlines differ
        assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id) == [job_id]
        second = (await info(stores, job_id)).deadline_at
        assert first is not None
        assert second is not None
        assert second > first
        assert await names(stores) == ["a"]

    async def test_what_was_cancelled_while_it_ran_runs_to_its_end(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        await stores.jobs.cancel(TENANT, ALL, job_id=job_id)
        assert await end(stores, job, "cancelled")
        assert await stores.job_records.redrive(TENANT, JobQuery(status=("cancelled",))) == [job_id]
        (job,) = await claim(stores)
        assert (await stores.jobs.renew([job.claim], lease_s=LEASE_S)).cancelled == []
        assert await end(stores, job, "released")
        assert await names(stores) == ["a"]

    async def test_a_new_input_forgets_steps_and_signals(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        await stores.jobs.signal(TENANT, job_id, "go", b"1")
        assert await end(stores, job, "failed")
        assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id, new_input=b'{"y": 2}') == [job_id]
        assert await stores.jobs.signal(TENANT, job_id, "go", b"2")
        (step,) = await stores.jobs.steps(job_id)
        assert (step.key, step.value) == ("signal:go#1", b"2")
        (job,) = await claim(stores)
        assert (job.input, bytes((await info(stores, job_id)).input)) == (b'{"y": 2}', b'{"y": 2}')

    async def test_it_waits_for_its_key_like_any_other(self, stores: Stores) -> None:
        await failed_one(stores, name="again", session_id="s")
        await enqueue(stores, draft("runs", session_id="s"), draft("next", session_id="s"))
        (job,) = await claim(stores)
        assert len(await stores.job_records.redrive(TENANT, ALL)) == 1
        assert await claim(stores) == []
        assert await end(stores, job)
        got = await claim(stores)
        assert len(got) == 1
        assert await end(stores, got[0])
        assert len(await claim(stores)) == 1

    async def test_only_what_failed_or_was_cancelled(self, stores: Stores) -> None:
        ids = await enqueue(stores, *(draft(name) for name in ("ready", "runs", "waits", "done", "gone")))
        await enqueue(stores, draft("later", delay_s=900.0))
        jobs = {job.tags[0]: job for job in await claim(stores)}
        assert await end(stores, jobs["ready"], "released")
        assert await end(stores, jobs["waits"], "waiting")
        assert await end(stores, jobs["done"])
        assert await end(stores, jobs["gone"], "failed")
        assert await stores.job_records.discard(TENANT, ALL) == [ids[4]]
        for job_id in (*ids, "nobody", "nul\0"):
            assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id) == []
            assert await stores.job_records.discard(TENANT, ALL, job_id=job_id) == []
        assert await stores.job_records.redrive(TENANT, JobQuery(status=("succeeded", "discarded"))) == []

    async def test_many_at_once_up_to_a_limit(self, stores: Stores, other_stores: Stores) -> None:
        ids = await enqueue(stores, *(draft("a", tags=("odd",) if n % 2 else ()) for n in range(12)))
        assert all([await end(stores, job, "failed") for job in await claim(stores)])
        both = await asyncio.gather(*(one.job_records.redrive(TENANT, ALL, limit=4) for one in (stores, other_stores)))
        assert all(len(some) == len(set(some)) <= 4 for some in both)
        assert not set(both[0]) & set(both[1])
        rest = await stores.job_records.redrive(TENANT, ALL)
        assert sorted([*both[0], *both[1], *rest]) == sorted(ids)
        assert len(await claim(stores)) == 12
        odd = msgspec.structs.replace(ALL, tag="odd", limit=1)
        assert len(await stores.jobs.cancel(TENANT, odd)) == 6
