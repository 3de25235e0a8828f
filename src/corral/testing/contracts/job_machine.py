"""Several workers, lapsed leases, keys, journals and people who interfere: what must hold whatever they do, as a machine.

`job_model` predicts every answer about four jobs; here there are as many as come, in two processes, with priorities,
limits, deadlines, logs and callbacks, and after each step these hold: a job has one holder; states change only as
`TRANSITIONS` says; slots of a key are never exceeded; a claim takes all it may, the most urgent first; a lost token
writes nothing. At the end every job can be brought to an end, and each end was called back once.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from corral.clock import new_id
from corral.jobs.job import Callback, Claim, Ending, EndingKind, JobEventDraft, JobQuery, Step, StepWrite
from corral.jobs.states import OPEN, TERMINAL
from corral.testing.contracts.job_known import Known
from corral.testing.contracts.job_setting import ALL, BROKEN, LEASE_S, draft
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from corral.backends.stores import Stores
    from corral.jobs.job import ClaimedJob
    from corral.jobs.states import JobState

_LIMITS = {"one": 1, "two": 2}
_HOOK = Callback("https://example.com/hook")
_PICK = st.integers(0, 1_000)
_KINDS: list[EndingKind] = ["succeeded", "failed", "cancelled", "retry", "released", "waiting"]


class JobMachine(RuleBasedStateMachine):
    """One queue of one tenant, used from two processes."""

    def __init__(self, both: tuple[Stores, Stores], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._both = both
        self._loop = loop
        self._turn = 0
        self._tenant = self._queue = f"t-{new_id()}"
        self._jobs: dict[str, Known] = {}
        self._tokens: set[str] = set()

    @property
    def _stores(self) -> Stores:
        self._turn += 1
        return self._both[self._turn % 2]

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    def _pick(self, number: int) -> Known:
        return list(self._jobs.values())[number % len(self._jobs)]

    # -- producers ------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self._jobs) < 12)
    @rule(
        key=st.sampled_from([None, "one", "two", "two"]),
        priority=st.sampled_from([5, 5, 1, 9]),
        most=st.integers(1, 3),
        is_late=st.sampled_from([False, False, False, True]),
    )
    def enqueue(self, key: str | None, priority: int, most: int, is_late: bool) -> None:
        """A job comes."""
        wanted = draft(
            tenant=self._tenant, queue=self._queue, priority=priority, max_attempts=most, callback=_HOOK,
            concurrency_key=key, concurrency_limit=_LIMITS.get(key or "", 1), deadline_s=0.0 if is_late else None,
        )  # fmt: skip
        for is_new in (True, False):
            (one,) = self._do(self._stores.jobs.enqueue([wanted]))
            assert (one.id, one.is_new, one.state) == (wanted.id, is_new, "queued")
        self._jobs[wanted.id] = Known(wanted.id, key, priority, most, is_late)

    # -- workers --------------------------------------------------------------------------------------------------

    def _claimable(self, key: str | None) -> tuple[list[Known], int, int]:
        """The jobs of a key that may be claimed, and how many of them at least and at most."""
        queued = [job for job in self._jobs.values() if job.key == key and job.state == "queued"]
        ready = [job for job in queued if not job.is_late]
        if key is None:
            return ready, len(ready), len(ready)
        running = sum(job.key == key and job.state == "running" for job in self._jobs.values())
        most = min(len(ready), _LIMITS[key] - running)
        # One whose deadline is over may stand in the way until it is swept.
        return ready, max(0, most - (len(queued) - len(ready))), most

    def _claim(self, stores: Stores, limit: int, lease_s: float) -> Coroutine[Any, Any, Any]:
        return stores.jobs.claim("w", queues=[self._queue], limit=limit, lease_s=lease_s)

    def _took(self, jobs: list[ClaimedJob], *, lapses: bool) -> None:
        for got in jobs:
            job = self._jobs[got.id]
            job.become("running")
            job.attempt += 1
            assert (got.attempt, got.failures, got.priority) == (job.attempt, job.failures, job.priority)
            assert got.has_journal == bool(job.journal or job.signals)
            assert got.token not in self._tokens
            self._tokens.add(got.token)
            job.claim, job.has_lapsed = got.claim, lapses

    @precondition(lambda self: self._jobs)
    @rule(limit=st.sampled_from([1, 2, 9]), lapses=st.sampled_from([False, False, True]))
    def claim(self, limit: int, lapses: bool) -> None:
        """A worker takes what it may."""
        by_key = {key: self._claimable(key) for key in (None, *_LIMITS)}
        jobs = self._do(self._claim(self._stores, limit, 0.0 if lapses else LEASE_S)).jobs
        least = sum(fewest for _, fewest, _ in by_key.values())
        most = sum(fits for _, _, fits in by_key.values())
        assert min(limit, least) <= len(jobs) <= min(limit, most)
        priorities = [job.priority for job in jobs]
        assert priorities == sorted(priorities, reverse=True)
        taken = {job.id for job in jobs}
        for ready, fewest, fits in by_key.values():
            mine = [job for job in ready if job.id in taken]
            left = [job.priority for job in ready if job.id not in taken]
            taken -= {job.id for job in mine}
            assert len(mine) <= fits
            if mine and left and fewest == fits:
                assert min(job.priority for job in mine) >= max(left)
        assert not taken
        self._took(jobs, lapses=lapses)

    @precondition(lambda self: self._jobs)
    @rule(limit=st.sampled_from([1, 3]))
    def claim_at_once(self, limit: int) -> None:
        """Two workers in two processes take jobs at the same time."""
        most = {key: self._claimable(key)[2] for key in (None, *_LIMITS)}

        async def both() -> list[ClaimedJob]:
            answers = await asyncio.gather(*(self._claim(one, limit, LEASE_S) for one in self._both))
            return [job for answer in answers for job in answer.jobs]

        jobs = self._do(both())
        assert len({job.id for job in jobs}) == len(jobs)
        got = Counter(self._jobs[job.id].key for job in jobs)
        assert all(got[key] <= most[key] for key in most)
        self._took(jobs, lapses=False)

    @precondition(lambda self: any(job.claim for job in self._jobs.values()))
    @rule(kinds=st.lists(st.sampled_from(_KINDS), min_size=1, max_size=4), later=st.booleans())
    def settle(self, kinds: list[EndingKind], later: bool) -> None:
        """Workers let some of their jobs go, in one call."""
        held = [job for job in self._jobs.values() if job.claim][: len(kinds)]
        endings = [
            self._ending(job.claim, kind, job, later) for job, kind in zip(held, kinds, strict=False) if job.claim
        ]
        assert self._do(self._stores.jobs.settle(endings)) == [True] * len(held)
        for job, kind in zip(held, kinds, strict=False):
            self._let_go(job, kind, later=later)

    def _ending(self, claim: Claim, kind: EndingKind, job: Known, later: bool) -> Ending:
        return Ending(
            claim=claim, kind=kind, result=b"1" if kind == "succeeded" else None,
            error=BROKEN if kind in {"failed", "retry"} else None, delay_s=900.0 if later else 0.0,
            awaits=f"signal:go#{job.heard + 1}" if kind == "waiting" else "",
        )  # fmt: skip

    def _let_go(self, job: Known, kind: EndingKind, *, later: bool) -> None:
        job.lose(kind)
        if job.to_cancel and kind not in {"succeeded", "failed"}:
            job.become("cancelled")
            job.noted = None if kind == "retry" else job.noted
            return
        if kind in {"failed", "retry"}:
            job.fail_attempt()
        if kind == "retry":
            job.become("scheduled" if later else "queued")
        elif kind == "released":
            job.become("queued")
        elif kind == "waiting":
            job.become("waiting" if job.signals <= job.heard else "queued")
            job.heard += job.signals > job.heard
        else:
            job.become(kind)

    @precondition(lambda self: any(job.claim for job in self._jobs.values()))
    @rule(number=_PICK, value=st.sampled_from([b"1", b"2"]))
    def write(self, number: int, value: bytes) -> None:
        """A worker writes a step and two events."""
        held = [job for job in self._jobs.values() if job.claim]
        job = held[number % len(held)]
        assert job.claim is not None
        key = f"s#{number % 3}"
        step = Step(key=key, ordinal=number % 3 + 1, value=value)
        assert self._do(self._stores.jobs.journal([StepWrite(job.claim, step)])) == [True]
        job.journal.setdefault(key, value)
        said = [JobEventDraft(job.claim, "piece", value)] * 2
        assert self._do(self._stores.jobs.emit(said)) == [job.seq + 1, job.seq + 2]
        job.seq += 2

    @precondition(lambda self: any(job.lost for job in self._jobs.values()))
    @rule(number=_PICK, kind=st.sampled_from(_KINDS))
    def write_late(self, number: int, kind: EndingKind) -> None:
        """A worker that lost its job does not know yet."""
        stale = [(job, *one) for job in self._jobs.values() for one in job.lost]
        job, claim, ended = stale[number % len(stale)]
        stores = self._stores
        if kind != ended:  # an engine may know an ending that it was told before
            assert self._do(stores.jobs.settle([self._ending(claim, kind, job, later=False)])) == [False]
        assert self._do(stores.jobs.journal([StepWrite(claim, Step(key="late#1"))])) == [False]
        assert self._do(stores.jobs.emit([JobEventDraft(claim, "progress", b"9")])) == [0]
        assert self._do(stores.jobs.renew([claim], lease_s=LEASE_S)).lost == [claim.token]

    @precondition(lambda self: any(job.claim for job in self._jobs.values()))
    @rule(lapses=st.booleans())
    def renew(self, lapses: bool) -> None:
        """A heartbeat, or the last one."""
        held = [job for job in self._jobs.values() if job.claim]
        claims = [job.claim for job in held if job.claim]
        renewed = self._do(self._stores.jobs.renew(claims, lease_s=0.0 if lapses else LEASE_S))
        assert renewed.lost == []
        assert set(renewed.cancelled) == {job.claim.token for job in held if job.claim and job.to_cancel}
        for job in held:
            job.has_lapsed = lapses

    @rule()
    def reap(self) -> None:
        """Somebody sweeps."""

        async def sweep() -> None:
            await asyncio.sleep(0.001)  # clocks of some engines have coarse ticks
            await self._stores.jobs.reap(ageing_s=900.0)

        self._do(sweep())
        for job in self._jobs.values():
            if job.state == "running" and job.has_lapsed:
                job.lose(None)
                self._is_lost(job)
            elif job.state in OPEN and job.state != "running" and job.is_late:
                job.become("failed")

    def _is_lost(self, job: Known) -> None:
        if job.to_cancel:
            job.become("cancelled")
            job.noted = None
            return
        job.fail_attempt()
        job.become("failed" if job.is_late or job.failures >= job.max_attempts else "queued")

    # -- people ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self._jobs)
    @rule(number=_PICK)
    def signal(self, number: int) -> None:
        """Somebody says something."""
        job = self._pick(number)
        is_open = job.state in OPEN
        assert self._do(self._stores.jobs.signal(self._tenant, job.id, "go", b"1")) == is_open
        job.signals += is_open
        if job.state == "waiting":
            job.heard += 1
            job.become("queued")

    @precondition(lambda self: self._jobs)
    @rule(number=_PICK)
    def cancel(self, number: int) -> None:
        """Somebody wants a job cancelled."""
        job = self._pick(number)
        cancelled = self._do(self._stores.jobs.cancel(self._tenant, ALL, job_id=job.id))
        assert cancelled == ([job.id] if job.state in OPEN else [])
        if job.state == "running":
            job.to_cancel = True
        elif job.state in OPEN:
            job.become("cancelled")

    @precondition(lambda self: any(job.state in {"failed", "cancelled"} for job in self._jobs.values()))
    @rule(by_state=st.sampled_from([(), ("failed",), ("cancelled",)]), afresh=st.booleans())
    def redrive(self, by_state: tuple[JobState, ...], afresh: bool) -> None:
        """Somebody has jobs run again: those of a state, or one with another input."""
        wanted = [job for job in self._jobs.values() if job.state in (by_state or ("failed", "cancelled"))]
        records = self._stores.job_records
        if by_state:
            ids = self._do(records.redrive(self._tenant, JobQuery(status=by_state)))
        else:
            wanted = wanted[:1]
            new_input = b"2" if afresh else None
            ids = self._do(records.redrive(self._tenant, ALL, job_id=wanted[0].id, new_input=new_input))
            if afresh:
                wanted[0].journal.clear()
                wanted[0].signals = wanted[0].heard = 0
        assert sorted(ids) == sorted(job.id for job in wanted)
        for job in wanted:
            job.become("queued")
            job.failures, job.to_cancel = 0, False

    @precondition(lambda self: any(job.state == "failed" for job in self._jobs.values()))
    @rule()
    def discard(self) -> None:
        """Somebody puts the dead letters away."""
        dead = [job for job in self._jobs.values() if job.state == "failed"]
        ids = self._do(self._stores.job_records.discard(self._tenant, ALL))
        assert sorted(ids) == sorted(job.id for job in dead)
        for job in dead:
            job.become("discarded")

    # -- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def seen_as_known(self) -> None:
        """What people see is what happened."""
        page = self._do(self._stores.job_records.find(self._tenant, JobQuery(limit=100)))
        assert {job.id for job in page.items} == set(self._jobs)
        for seen in page.items:
            job = self._jobs[seen.id]
            assert (seen.status, seen.attempt, seen.last_seq) == (job.state, job.attempt, job.seq), job
            assert seen.failures == job.failures or job.state == "cancelled", job
            assert (seen.finished_at is not None) == (job.state in TERMINAL)
            assert seen.cancel_requested == job.to_cancel or job.state != "running"
            assert bool(seen.awaits) == (job.state == "waiting")
        for key, most in _LIMITS.items():
            assert sum(job.key == key and job.state == "running" for job in self._jobs.values()) <= most

    def teardown(self) -> None:
        """Nothing is stuck, and all was told once."""
        for number, job in enumerate(self._jobs.values()):
            if job.state == "waiting":
                self.signal(number)
            elif job.state == "scheduled":
                self.cancel(number)
        for _ in range(2 + 4 * len(self._jobs)):
            if any(job.claim for job in self._jobs.values()):
                self.settle(["succeeded"] * len(self._jobs), later=False)
            self.reap()
            if not any(job.state in OPEN for job in self._jobs.values()):
                break
            self.claim(9, lapses=False)
        assert not [job for job in self._jobs.values() if job.state in OPEN]
        self.seen_as_known()
        sent = Counter(one.job_id for one in self._do(self._stores.outbox.deliveries(self._tenant, limit=1000)))
        assert sent == {job.id: job.ends for job in self._jobs.values()}
        for job in self._jobs.values():
            attempts = self._do(self._stores.job_records.attempts(self._tenant, job.id))
            assert job.noted is None or len(attempts) == job.noted, job
            steps = {step.key: step.value for step in self._do(self._stores.jobs.steps(job.id))}
            signals = {f"signal:go#{number + 1}": b"1" for number in range(job.signals)}
            assert steps == job.journal | signals


class JobMachineContract(Contract):
    """Any order of steps. Set `CORRAL_CHAOS=long` for a longer search."""

    examples = 200 if os.environ.get("CORRAL_CHAOS") == "long" else 20
    steps = 30

    async def test_whatever_happens_this_holds(self, stores: Stores, other_stores: Stores) -> None:
        loop = asyncio.get_running_loop()
        chosen = settings(
            max_examples=self.examples, stateful_step_count=self.steps, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), print_blob=False,
        )  # fmt: skip

        def machine() -> JobMachine:
            return JobMachine((stores, other_stores), loop)

        # Any callable that gives a machine will do, though only the class is declared.
        made = cast("type[RuleBasedStateMachine]", machine)
        await asyncio.to_thread(run_state_machine_as_test, made, settings=chosen)
