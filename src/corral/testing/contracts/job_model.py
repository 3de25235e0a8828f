"""A `JobStore` against a model of it: whatever several workers do in whatever order, both agree on every answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corral.clock import new_id
from corral.jobs.job import Ending, JobQuery
from corral.jobs.states import OPEN, may_follow
from corral.testing.contracts.job_setting import ALL, BROKEN, LEASE_S, draft
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.jobs.job import Claim, EndingKind
    from corral.jobs.states import JobState

_JOBS = st.integers(0, 3)
_KINDS: list[EndingKind] = ["succeeded", "failed", "cancelled", "retry", "released", "waiting"]


class Act(NamedTuple):
    """One thing that somebody does to one of four jobs."""

    what: str
    job: int = 0
    kind: EndingKind = "succeeded"
    stale: bool = False
    """With the token of an earlier claim, if there is one."""
    lapses: bool = False
    """The claims are over at once."""


_CLAIM = st.builds(Act, what=st.just("claim"), lapses=st.sampled_from([True, True, False]))
_SETTLE = st.builds(
    Act, what=st.just("settle"), job=_JOBS, kind=st.sampled_from(_KINDS), stale=st.sampled_from([False, False, True])
)
_OTHER = st.builds(
    Act,
    what=st.sampled_from(["enqueue", "enqueue", "reap", "reap", "signal", "cancel", "redrive", "discard", "renew"]),
    job=_JOBS,
)
_ACTS = st.lists(_CLAIM | _SETTLE | _OTHER, min_size=10, max_size=60)


@dataclass
class Job:
    """A job of the model. Jobs 0 and 1 share a key that one at a time may hold."""

    state: JobState = "queued"
    held: Claim | None = None
    stale: list[tuple[Claim, str]] = field(default_factory=list)
    """Claims that are over, and how they ended."""
    lapsed: bool = False
    cancel: bool = False
    failures: int = 0
    signals: int = 0
    heard: int = 0


class Play:
    """One game: two processes, four jobs, a tenant of its own."""

    def __init__(self, stores: tuple[Stores, Stores]) -> None:
        self._stores = stores
        self._turn = 0
        self._tenant = f"t-{new_id()}"
        self._queue = f"q-{new_id()}"
        self._drafts = [
            draft(
                tenant=self._tenant,
                queue=self._queue,
                max_attempts=2,
                concurrency_key="k" if number < 2 else None,
            )
            for number in range(4)
        ]
        self._jobs: dict[int, Job] = {}
        self._seen: dict[int, JobState] = {}

    @property
    def _store(self) -> Stores:
        self._turn += 1
        return self._stores[self._turn % 2]

    async def act(self, act: Act) -> None:
        """Do it on both, and compare."""
        await getattr(self, f"_{act.what}")(act)
        await self._compare()

    async def _compare(self) -> None:
        for number, job in self._jobs.items():
            found = await self._store.job_records.get(self._tenant, self._drafts[number].id)
            assert found is not None
            assert found.status == job.state, (number, found.status, job)
            # Whether the run that was to be cancelled counts as a failure is the engine's own affair.
            assert job.state == "cancelled" or found.failures == job.failures
            before = self._seen.get(number)
            assert before is None or before == job.state or self._reachable(before, job.state), (before, job.state)
            self._seen[number] = job.state
        holders = [job for number, job in self._jobs.items() if number < 2 and job.state == "running"]
        assert len(holders) <= 1

    def _reachable(self, before: JobState, after: JobState) -> bool:
        """One act may take two steps: a retry that is due at once, a wait whose signal is there."""
        return may_follow(before, after) or any(
            may_follow(before, between) and may_follow(between, after) for between in OPEN
        )

    async def _enqueue(self, act: Act) -> None:
        (found,) = await self._store.jobs.enqueue([self._drafts[act.job]])
        assert found.is_new == (act.job not in self._jobs)
        self._jobs.setdefault(act.job, Job())

    async def _claim(self, act: Act) -> None:
        lease_s = 0.0 if act.lapses else LEASE_S
        claimed = (await self._store.jobs.claim("w", queues=[self._queue], limit=9, lease_s=lease_s)).jobs
        got = {one.id: one for one in claimed}
        ready = {number for number, job in self._jobs.items() if job.state == "queued"}
        shared = {number for number in ready if number < 2}
        if any(job.state == "running" for number, job in self._jobs.items() if number < 2):
            ready -= shared
        taken = {number for number in self._jobs if self._drafts[number].id in got}
        assert taken - shared == ready - shared
        assert len(taken & shared) == min(1, len(ready & shared))
        for number in taken:
            job, claim = self._jobs[number], got[self._drafts[number].id].claim
            assert claim not in [old for old, _ in job.stale]
            assert got[claim.job_id].failures == job.failures
            job.state, job.held, job.lapsed = "running", claim, act.lapses

    async def _settle(self, act: Act) -> None:
        job = self._jobs.get(act.job)
        if job is None:
            return
        held = job.state == "running" and not act.stale
        claim, ended_by = (job.held, "") if held else (job.stale[-1] if job.stale else (None, ""))
        if claim is None:
            return
        awaits = f"signal:s#{job.heard + 1}"
        ending = Ending(
            claim=claim,
            kind=act.kind,
            result=b"1" if act.kind == "succeeded" else None,
            error=BROKEN if act.kind in {"failed", "retry"} else None,
            delay_s=900.0,
            awaits=awaits if act.kind == "waiting" else "",
        )
        # An engine may remember that it was this very ending that let the job go, so that asking twice is asking once.
        assert (await self._store.jobs.settle([ending]))[0] in ({held} if act.kind != ended_by else {True, False})
        if held:
            self._let_go(job, act.kind)

    def _let_go(self, job: Job, kind: EndingKind) -> None:
        assert job.held is not None
        job.stale.append((job.held, kind))
        job.held = None
        job.failures += kind in {"failed", "retry"}
        if kind in {"succeeded", "failed"}:
            job.state = kind
        elif job.cancel or kind == "cancelled":
            job.state = "cancelled"
        elif kind == "retry":
            job.state = "scheduled"
        elif kind == "waiting" and job.signals <= job.heard:
            job.state = "waiting"
        else:
            job.heard += kind == "waiting"
            job.state = "queued"

    async def _reap(self, _: Act) -> None:
        await asyncio.sleep(0.001)  # clocks of some engines have coarse ticks
        await self._store.jobs.reap(ageing_s=900.0)
        for job in self._jobs.values():
            if job.state == "running" and job.lapsed:
                assert job.held is not None
                job.stale.append((job.held, "lost"))
                job.held, job.lapsed = None, False
                job.failures += 1
                if job.cancel:
                    job.state = "cancelled"
                else:
                    job.state = "failed" if job.failures >= 2 else "queued"

    async def _signal(self, act: Act) -> None:
        job = self._jobs.get(act.job)
        if job is None:
            return
        heard = await self._store.jobs.signal(self._tenant, self._drafts[act.job].id, "s", b"1")
        assert heard == (job.state in OPEN)
        if heard:
            job.signals += 1
            if job.state == "waiting":
                job.heard += 1
                job.state = "queued"

    async def _cancel(self, act: Act) -> None:
        job = self._jobs.get(act.job)
        if job is None:
            return
        await self._store.jobs.cancel(self._tenant, ALL, job_id=self._drafts[act.job].id)
        if job.state == "running":
            job.cancel = True
        elif job.state in OPEN:
            job.state = "cancelled"

    async def _redrive(self, act: Act) -> None:
        job = self._jobs.get(act.job)
        if job is None:
            return
        done = await self._store.job_records.redrive(self._tenant, ALL, job_id=self._drafts[act.job].id)
        assert bool(done) == (job.state in {"failed", "cancelled"})
        if done:
            job.state, job.failures, job.cancel = "queued", 0, False

    async def _discard(self, _: Act) -> None:
        failed = {self._drafts[number].id for number, job in self._jobs.items() if job.state == "failed"}
        assert set(await self._store.job_records.discard(self._tenant, JobQuery(queue=self._queue))) == failed
        for job in self._jobs.values():
            if job.state == "failed":
                job.state = "discarded"

    async def _renew(self, act: Act) -> None:
        job = self._jobs.get(act.job)
        if job is None or job.held is None:
            return
        old = [claim for claim, _ in job.stale]
        renewed = await self._store.jobs.renew([job.held, *old], lease_s=LEASE_S)
        assert set(renewed.lost) == {claim.token for claim in old}
        assert renewed.cancelled == ([job.held.token] if job.cancel else [])
        job.lapsed = False

    async def finish(self) -> None:
        """Nothing is stuck: sweep, signal, cancel what waits for its time, and run the rest; every job comes to an end."""
        self._seen.clear()
        until = time.monotonic() + 10
        while any(job.state in OPEN for job in self._jobs.values()):
            assert time.monotonic() < until, self._jobs
            for number, job in self._jobs.items():
                if job.state == "waiting":
                    await self._signal(Act("signal", number))
                if job.state == "scheduled":
                    await self._cancel(Act("cancel", number))
                if job.state == "running":
                    await self._settle(Act("settle", number))
            await self._claim(Act("claim"))
        await self._compare()


class JobModelContract(Contract):
    """Any sequence of acts, by two processes in turn."""

    async def test_store_and_model_agree(self, stores: Stores, other_stores: Stores) -> None:
        async def play(acts: list[Act]) -> None:
            game = Play((stores, other_stores))
            for number in range(3):
                await game.act(Act("enqueue", number))
            for act in acts:
                await game.act(act)
            await game.finish()

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(_ACTS)
        def run(acts: list[Act]) -> None:
            asyncio.run_coroutine_threadsafe(play(acts), loop).result()

        loop = asyncio.get_running_loop()
        await asyncio.to_thread(run)
