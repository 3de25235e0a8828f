"""What a `JobStore` promises about claims: one holder, and no word from who lost the job, whatever it writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, get_args

import pytest

from corral.jobs.job import Claim, Ending, EndingKind, JobEventDraft, Step, StepWrite
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
    from corral.jobs.job import ClaimedJob

KINDS: tuple[EndingKind, ...] = get_args(EndingKind)
_STEP = Step(key="x#1", ordinal=1, value=b'"mine"')


async def reaped(stores: Stores, job_id: str) -> None:
    """Have a job whose lease is over taken away."""

    async def gone() -> bool:
        await stores.jobs.reap()
        return await status(stores, job_id) != "running"

    await eventually(gone)


async def lost(stores: Stores, **more: Any) -> ClaimedJob:
    """A claim that was taken away; the job is ready again."""
    (job_id,) = await enqueue(stores, draft("a", **more))
    (job,) = [one for one in await claim(stores, lease_s=0.0) if one.id == job_id]
    await reaped(stores, job_id)
    return job


async def all_of(stores: Stores, job_id: str) -> tuple[Any, ...]:
    """Everything that can be seen of a job."""
    return (
        await info(stores, job_id),
        await stores.jobs.steps(job_id),
        await stores.job_records.events(TENANT, job_id),
        await stores.job_records.attempts(TENANT, job_id),
        await stores.outbox.deliveries(TENANT, job_id=job_id),
    )


async def write_all(stores: Stores, claim_: Claim, *, but: EndingKind | None = None) -> None:
    """Try every write under a claim that holds nothing: each is refused. An ending said before (`but`) may be known."""
    endings = [Ending(claim=claim_, kind=kind, error=BROKEN, result=b"0", awaits="signal:x#1") for kind in KINDS]
    for ending in endings:
        assert await stores.jobs.settle([ending]) == [False] or ending.kind == but
    assert await stores.jobs.settle([one for one in endings if one.kind != but]) == [False] * (5 if but else 6)
    assert await stores.jobs.journal([StepWrite(claim_, _STEP)]) == [False]
    said = [JobEventDraft(claim_, "piece", b"1"), JobEventDraft(claim_, "progress", b"1")]
    assert await stores.jobs.emit(said) == [0, 0]


class TokenContract(Contract):
    """Every write carries a token."""

    @pytest.mark.parametrize("again", [False, True], ids=["nobody has it", "another one has it"])
    async def test_a_lost_claim_writes_nothing(self, stores: Stores, other_stores: Stores, again: bool) -> None:
        job = await lost(stores)
        if again:
            (held,) = await claim(other_stores)
            assert await other_stores.jobs.emit([JobEventDraft(held.claim, "log", b"1")]) == [1]
        before = await all_of(stores, job.id)
        await write_all(stores, job.claim)
        assert (await stores.jobs.renew([job.claim], lease_s=LEASE_S)).lost == [job.token]
        assert await all_of(stores, job.id) == before
        if again:
            assert await end(other_stores, held)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_settled_claim_writes_nothing(self, stores: Stores, kind: EndingKind) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await end(stores, job, kind, delay_s=900.0)
        before = await all_of(stores, job_id)
        await write_all(stores, job.claim, but=kind)
        assert await all_of(stores, job_id) == before

    @pytest.mark.parametrize("odd", ["", "nul\0", "half \ud800", "x" * 5000, "'; --"])
    async def test_a_claim_that_cannot_be_holds_nothing(self, stores: Stores, odd: str) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        before = await all_of(stores, job_id)
        for forged in (Claim(job_id, odd), Claim(odd, job.token), Claim(odd, odd)):
            await write_all(stores, forged)
        nobodys = Claim(job_id, odd)
        assert (await stores.jobs.renew([nobodys, job.claim], lease_s=LEASE_S)).lost == [odd]
        assert await all_of(stores, job_id) == before
        assert await stores.jobs.steps(odd) == []
        assert await end(stores, job)

    async def test_a_token_opens_no_other_job(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"), draft("b"))
        first, second = await claim(stores)
        crossed = Claim(first.id, second.token)
        assert await stores.jobs.settle([Ending(claim=crossed, kind="cancelled")]) == [False]
        assert await stores.jobs.journal([StepWrite(crossed, _STEP)]) == [False]
        assert await stores.jobs.emit([JobEventDraft(crossed, "log", b"1")]) == [0]
        assert [await status(stores, job.id) for job in (first, second)] == ["running", "running"]

    async def test_tokens_are_fresh_each_time(self, stores: Stores) -> None:
        await enqueue(stores, *(draft("a") for _ in range(5)))
        tokens: list[str] = []
        for _ in range(4):
            jobs = await claim(stores)
            tokens += [job.token for job in jobs]
            assert all([await end(stores, job, "released") for job in jobs])
        assert len(set(tokens)) == 20

    async def test_the_lost_do_not_drag_others_along(self, stores: Stores) -> None:
        bad = await lost(stores)
        await enqueue(stores, draft("b"), draft("c"))
        good = [job for job in await claim(stores) if job.id != bad.id]
        mixed = [good[0].claim, bad.claim, good[1].claim]
        assert (await stores.jobs.renew(mixed, lease_s=LEASE_S)).lost == [bad.token]
        assert await stores.jobs.journal([StepWrite(one, _STEP) for one in mixed]) == [True, False, True]
        assert await stores.jobs.emit([JobEventDraft(one, "log", b"1") for one in (*mixed, mixed[0])]) == [1, 0, 1, 2]
        endings = [Ending(claim=one, kind="succeeded", result=b"1") for one in mixed]
        assert await stores.jobs.settle(endings) == [True, False, True]

    async def test_of_two_endings_for_one_claim_the_first_holds(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        endings = [
            Ending(claim=job.claim, kind="succeeded", result=b"1"),
            Ending(claim=job.claim, kind="failed", error=BROKEN),
        ]
        assert await stores.jobs.settle(endings) == [True, False]
        found = await info(stores, job_id)
        assert (found.status, found.error) == ("succeeded", None)
        assert await stores.job_records.attempts(TENANT, job_id) == []

    async def test_nothing_to_write_is_nothing(self, stores: Stores) -> None:
        assert await stores.jobs.settle([]) == []
        assert await stores.jobs.journal([]) == []
        assert await stores.jobs.emit([]) == []
        renewed = await stores.jobs.renew([], lease_s=1.0)
        assert (renewed.lost, renewed.cancelled) == ([], [])

    async def test_a_lapsed_holder_may_write_until_the_job_is_taken(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores, lease_s=0.0)
        assert await stores.jobs.journal([StepWrite(job.claim, _STEP)]) == [True]
        assert await stores.jobs.emit([JobEventDraft(job.claim, "log", b"1")]) == [1]
        assert await end(stores, job)
        await stores.jobs.reap()
        assert (await info(stores, job_id)).failures == 0

    async def test_a_lease_runs_out_by_itself(self, stores: Stores, other_stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert (await stores.jobs.reap()).requeued == 0
        assert (await stores.jobs.renew([job.claim], lease_s=0.05)).lost == []
        await reaped(other_stores, job_id)
        assert (await stores.jobs.renew([job.claim], lease_s=LEASE_S)).lost == [job.token]
        assert await names(other_stores) == ["a"]


class RaceContract(Contract):
    """Two processes at once."""

    async def test_of_many_endings_at_once_one_holds(self, stores: Stores, other_stores: Stores) -> None:
        ids = await enqueue(stores, *(draft("a", callback=None) for _ in range(8)))
        jobs = await claim(stores)
        both = (stores, other_stores)
        kinds: tuple[EndingKind, ...] = ("succeeded", "failed", "cancelled", "released")
        answers = await asyncio.gather(
            *(end(both[(at + n) % 2], job, kind) for n, job in enumerate(jobs) for at, kind in enumerate(kinds))
        )
        for n, job in enumerate(jobs):
            won = [kind for kind, kept in zip(kinds, answers[n * 4 : n * 4 + 4], strict=True) if kept]
            assert len(won) == 1
            assert await status(stores, job.id) == ("queued" if won == ["released"] else won[0])
        assert sorted(ids) == sorted(job.id for job in jobs)

    async def test_sweepers_count_a_lost_worker_once(self, stores: Stores, other_stores: Stores) -> None:
        ids = await enqueue(stores, *(draft("a", max_attempts=2) for _ in range(20)))
        assert len(await claim(stores, lease_s=0.0)) == 20
        await asyncio.sleep(0.002)  # clocks of some engines have coarse ticks
        requeued = 0

        async def all_requeued() -> bool:
            nonlocal requeued
            sweeps = await asyncio.gather(*(one.jobs.reap(limit=6) for one in (stores, other_stores) * 3))
            requeued += sum(sweep.requeued for sweep in sweeps)
            return requeued >= 20

        await eventually(all_requeued)
        assert requeued == 20
        assert {(await info(stores, job_id)).failures for job_id in ids} == {1}
        assert len(await claim(stores)) == 20

    async def test_a_holder_that_renews_and_one_that_sweeps_agree(self, stores: Stores, other_stores: Stores) -> None:
        await enqueue(stores, *(draft("a") for _ in range(10)))
        jobs = await claim(stores, lease_s=0.0)
        await asyncio.sleep(0.002)  # clocks of some engines have coarse ticks
        renewals = asyncio.gather(*(stores.jobs.renew([job.claim], lease_s=LEASE_S) for job in jobs))
        renewed, swept = await asyncio.gather(renewals, other_stores.jobs.reap())
        kept = [job for job, answer in zip(jobs, renewed, strict=True) if not answer.lost]
        assert len(jobs) - len(kept) == swept.requeued
        for job in jobs:
            assert await end(stores, job) == (job in kept)

    async def test_no_signal_is_missed_by_a_wait_that_begins(self, stores: Stores, other_stores: Stores) -> None:
        await enqueue(stores, *(draft("a") for _ in range(20)))
        jobs = await claim(stores)
        await asyncio.gather(
            *(end(stores, job, "waiting", awaits="signal:go#1") for job in jobs),
            *(other_stores.jobs.signal(TENANT, job.id, "go", b"1") for job in jobs),
        )
        assert sorted(job.id for job in await claim(stores)) == sorted(job.id for job in jobs)

    async def test_no_cancel_is_missed_by_a_job_that_goes_on(self, stores: Stores, other_stores: Stores) -> None:
        await enqueue(stores, *(draft("a") for _ in range(15)))
        jobs = await claim(stores)
        kinds: tuple[EndingKind, ...] = ("released", "retry", "waiting")
        await asyncio.gather(
            *(end(stores, job, kinds[n % 3]) for n, job in enumerate(jobs)),
            *(other_stores.jobs.cancel(TENANT, ALL, job_id=job.id) for job in jobs),
        )
        assert {await status(stores, job.id) for job in jobs} == {"cancelled"}
        assert await claim(stores) == []

    async def test_signals_from_many_sides_are_numbered_without_gaps(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        (job_id,) = await enqueue(stores, draft("a"))
        both = (stores, other_stores)
        sent = [both[n % 2].jobs.signal(TENANT, job_id, "xy"[n % 3 % 2], b"%d" % n) for n in range(20)]
        assert all(await asyncio.gather(*sent))
        steps = await stores.jobs.steps(job_id)
        count = {name: sum(name == "xy"[n % 3 % 2] for n in range(20)) for name in "xy"}
        assert {step.key for step in steps} == {f"signal:{name}#{n + 1}" for name in "xy" for n in range(count[name])}
        assert sorted(step.value for step in steps) == sorted(b"%d" % n for n in range(20))

    async def test_slots_are_never_exceeded_under_load(self, stores: Stores, other_stores: Stores) -> None:
        limits = {"one": 1, "two": 2}
        drafts = [draft(key, concurrency_key=key, concurrency_limit=limits[key], priority=n % 3)
                  for n in range(15) for key in limits]  # fmt: skip
        running = dict.fromkeys(limits, 0)
        done: list[str] = []

        async def work(store: Stores) -> None:
            while len(done) < len(drafts):
                jobs = await claim(store, 3)
                for job in jobs:
                    running[job.tags[0]] += 1
                assert all(running[key] <= most for key, most in limits.items())
                await asyncio.sleep(0)
                for job in jobs:
                    running[job.tags[0]] -= 1
                    assert await end(store, job)
                    done.append(job.id)

        await asyncio.gather(*(enqueue(stores, *drafts[at::3]) for at in range(3)))
        await asyncio.wait_for(asyncio.gather(*(work(store) for store in (stores, other_stores) * 2)), 20)
        assert sorted(done) == sorted(one.id for one in drafts)
