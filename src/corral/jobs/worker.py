"""Runs jobs: claims what there is room for, runs each as a task, and hands in how it ended."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import random
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.jobs.claiming import Claimer
from corral.jobs.company import Company
from corral.jobs.ending import ending_of, refused, released, succeeded
from corral.jobs.heartbeat import Heartbeat, HeartbeatStores
from corral.jobs.job import ClaimedJob, Ending, WorkerInfo
from corral.jobs.line import Line
from corral.jobs.minding import GRACE_S, Minder
from corral.jobs.outage import Outage
from corral.jobs.pace import AHEAD_S, Pace
from corral.jobs.reaper import Reaper
from corral.jobs.retrying import Retrying
from corral.jobs.running import Handler, JobObserver, Outcome, RunningJob
from corral.jobs.scribe import InThread, Scribe
from corral.jobs.turns import Turns

if TYPE_CHECKING:
    from corral.jobs.store import BlobStore, JobRecords, JobStore, Renewed
    from corral.settings.sections import JobSettings

_log = logging.getLogger("corral.jobs")

_AT_ONCE = 4
"""So many runs begin before the loop looks at anything else: a crowd that was claimed together holds up nobody else's job."""
_AT_A_TIME = 2.0
"""So many times its slots a worker claims at once: more would take longer, and others wait for it."""
_IN_COMPANY = 0.75
"""The same while somebody quiet is about: what comes in between stands behind a claim, and the endings that follow from it."""
_IN_COMPANY_STANDING = 0.25
"""The same where who comes is claimed as it comes: it waits for nothing but what is under way, so little of the crowd is."""
_FEW = 16
"""So many are little work for a store. A worker of few slots claims as many as it has: one at a time would only take longer."""
_LATE_S = 2 * AHEAD_S
"""What was claimed ahead and has no room after this time goes back to the queue: it did not go as fast as it looked."""


class Worker:
    """One per process. `start`, `drain` and `stop` may each be called twice."""

    def __init__(  # noqa: PLR0913 - what a worker needs and what tests turn; all but four by name
        self,
        store: JobStore,
        blobs: BlobStore,
        run: Handler,
        settings: JobSettings,
        *,
        open_stores: Callable[[], HeartbeatStores],
        records: JobRecords | None = None,
        observer: JobObserver | None = None,
        name: str | None = None,
        exclude: Callable[[], Sequence[str]] = tuple,
        in_thread: InThread = asyncio.to_thread,
        slots: Callable[[int], int] = int,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`run` runs one job and returns its result, or raises.

        `open_stores` opens the connection of the heartbeat's own; `exclude` names the agents whose jobs others shall take;
        `in_thread` is where steps run that are plain functions; `slots` says how many of so many jobs may run now, and who makes
        it say more calls `made_room`.
        """
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{new_id()[-6:]}"
        self._handler = run
        self._settings = settings
        self._observer = observer
        self._slots = slots
        self._clock = clock
        self._retrying = Retrying(never=settings.retry_never, always=settings.retry_always, chance=chance)
        self._outage = Outage(chance)
        self._company = company = Company(clock)
        turns = Turns(lambda: company.is_expected)
        self._scribe = Scribe(
            store,
            blobs,
            settings,
            self._retrying,
            self._outage,
            in_thread,
            endings_worth=lambda: min(settings.concurrency, self._at_a_time()) if self._line else 1,
            turns=turns,
        )
        self._claimer = Claimer(
            store,
            settings,
            self._outage,
            worker=self.name,
            free=self._free,
            enough=self._enough,
            take=self._take,
            turns=turns,
            company=company,
            may_exceed=self._may_exceed,
            exclude=exclude,
            clock=clock,
            chance=chance,
        )
        self._heartbeat = Heartbeat(
            open_stores,
            self._outage,
            lease_s=settings.lease_s,
            clock=clock,
            report=self._renewed,
            describe=self._describe,
        )
        self._held: dict[str, RunningJob] = {}
        self._line = Line()
        self._admitting = False
        self._outside = contextvars.copy_context()
        """Where runs begin: what one has set in its own context is not there for the next."""
        self._looking_for_late: asyncio.TimerHandle | None = None
        self._pace = Pace(clock)
        self._minder = Minder(store, self._held, self._heartbeat.ask, self._leave_alone, clock)
        self.reaper = Reaper(store, records, settings, self._outage, clock=clock, chance=chance)
        self._running = 0
        self._is_started = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._left_alone: set[asyncio.Task[None]] = set()
        self._draining = False
        self._started_at = clock.now()
        self._finished = 0
        self._failed = 0
        self._rated = (0, clock.monotonic())

    # -- its life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to work."""
        if not self._is_started and not self._draining:
            self._is_started = True
            self._minder.start()
            self._heartbeat.start()
            await self.reaper.start()
            self._claimer.start()

    async def drain(self, within_s: float | None = None) -> bool:
        """Claim no more, and wait for what runs, at most so long. True: nothing is left."""
        self._draining = True
        await self._claimer.drain()
        self._admit_soon()
        await self.reaper.drain()
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """End: what still runs is stopped and handed back, and everything is written."""
        self._draining = True
        await self._claimer.drain()
        await self.reaper.stop()
        for job in list(self._held.values()):
            self._minder.stop(job, "draining")
        await self.drain(GRACE_S + 1)
        await self._scribe.finish(self._settings.lease_s)
        await self._heartbeat.stop()
        self._minder.close()
        if self._looking_for_late is not None:
            self._looking_for_late.cancel()
            self._looking_for_late = None

    @property
    def running(self) -> int:
        """How many jobs run now, or are about to."""
        return self._running + len(self._line)

    def cancel(self, job_id: str) -> None:
        """Look at once whether this job is to be cancelled. For whoever cancelled it in the same process."""
        self._heartbeat.ask([job.claim.token for job in self._held.values() if job.id == job_id])

    def made_room(self) -> None:
        """More jobs may run than a moment ago: look for some."""
        self._claimer.made_room()
        self._admit_soon()

    # -- claiming ----------------------------------------------------------------------------------------------------

    def _room(self) -> int:
        """How many may run or wait for a slot here. While others need the slots, nothing is claimed ahead."""
        most = self._settings.concurrency
        slots = self._slots(most)
        return slots if slots < most else slots + self._pace.ahead(slots)

    def _free(self) -> int:
        # Results that are not written yet take room as well: an outage must not pile them up.
        room = self._room()
        left = min(room - self._running - len(self._line), 2 * room - len(self._held))
        return min(left, self._at_a_time())

    def _at_a_time(self) -> int:
        share = _AT_A_TIME
        if self._company.is_expected:
            share = _IN_COMPANY_STANDING if self._claimer.stands_by else _IN_COMPANY
        slots = self._settings.concurrency
        return max(int(share * slots), min(slots, _FEW))

    def _may_exceed(self) -> bool:
        """While slots get free by themselves, who comes anew may be claimed although all is taken; but not while ends pile up."""
        slots, room = self._settings.concurrency, self._room()
        return slots < room and self._running + len(self._line) < room + slots and len(self._held) < 2 * room

    def _enough(self) -> int:
        """So much room is worth a claim. Who has something to begin meanwhile can wait for more."""
        slots = self._settings.concurrency
        return max(1, min(self._room() // 2, self._at_a_time()) if self._line else slots // 4)

    def _take(self, jobs: Sequence[ClaimedJob], asked_at: float) -> None:
        loop = asyncio.get_running_loop()
        now = self._clock.monotonic()
        for claimed in jobs:
            job = RunningJob(claimed, self._scribe, loop, self._clock, taken_at=now, timeout_s=self._settings.timeout_s)
            job.renewed_at = asked_at
            self._held[claimed.token] = job
            self._idle.clear()
            self._heartbeat.add(job)
            self._line.add(job)
        if not self._admitting:
            self._admit()
        if self._line and self._looking_for_late is None:
            self._looking_for_late = loop.call_later(_LATE_S, self._look_for_late)

    def _admit_soon(self) -> None:
        if self._line and not self._admitting:
            self._admitting = True
            asyncio.get_running_loop().call_soon(self._admit, context=self._outside)

    def _admit(self) -> None:
        """Begin a few of those that were claimed, as far as there is room, and the others when the loop has been round."""
        self._admitting = True
        room = len(self._line) if self._draining else self._slots(self._settings.concurrency) - self._running
        for _ in range(min(_AT_ONCE, len(self._line), room)):
            self._begin(self._line.next())
        self._admitting = len(self._line) > 0 and room > _AT_ONCE
        if self._admitting:
            asyncio.get_running_loop().call_soon(self._admit, context=self._outside)

    def _look_for_late(self) -> None:
        """Hand back what was claimed ahead and still has no room: other workers may be free."""
        self._looking_for_late = None
        before = self._clock.monotonic() - _LATE_S
        late = [job for job in self._line if job.taken_at <= before]
        without_room = self._running + len(self._line) - self._slots(self._settings.concurrency)
        for job in late[: max(0, without_room)]:
            self._line.leave(job)
            self._count_in(job, begins=False)
            self._hand_back(job)
        if self._line:
            self._looking_for_late = asyncio.get_running_loop().call_later(_LATE_S, self._look_for_late)

    def _begin(self, job: RunningJob) -> None:
        begins = not self._draining and job.stop_reason is None
        self._count_in(job, begins=begins)
        if not begins:
            self._hand_back(job)
        else:
            job.task = asyncio.get_running_loop().create_task(self._run(job))

    def _hand_back(self, job: RunningJob) -> None:
        """It was not begun, and will not be here."""
        stopped = job.stop_reason is not None
        ending = ending_of(job, asyncio.CancelledError(), self._retrying) if stopped else released(job)
        self._end(job, None if ending is None else msgspec.structs.replace(ending, begun=False))

    def _count_in(self, job: RunningJob, *, begins: bool) -> None:
        now = self._clock.monotonic()
        self._running += 1
        job.begin(now)
        if self._observer is not None:
            claimed = job.claimed
            waited_s = max(0.0, claimed.claimed_at - claimed.created_at) + now - job.taken_at
            self._observer.claimed(claimed, waited_s if begins else None)
        self._minder.begun(job)

    # -- running -----------------------------------------------------------------------------------------------------

    async def _run(self, job: RunningJob) -> None:
        result: Outcome | BaseException
        try:
            result = await self._handler(job)
        except BaseException as error:  # noqa: BLE001 - nothing that an agent raises may take the worker down
            result = error
        is_over = isinstance(result, Outcome) and not (job.has_journal and job.journal.suspended)
        if not is_over and job.has_journal and job.journal.is_busy:
            await self._settle_down(job)
        if isinstance(result, Outcome) and job.has_journal and (left_over := job.journal.left_over()):
            _log.warning(
                "Job %s of agent %r succeeded without asking for %s, which its journal has: the code around the steps "
                "does not ask for the same ones each time.",
                job.id,
                job.claimed.agent,
                ", ".join(map(repr, left_over[:5])),
            )
        if isinstance(result, BaseException):
            self._end(job, ending_of(job, result, self._retrying))
        else:
            self._end(job, succeeded(job, result, self._settings.result_max_bytes, self._retrying))

    async def _settle_down(self, job: RunningJob) -> None:
        """A job that will run again must not do so while a step is under way: what it does would be done twice.

        Not for longer than the attempt may take, nor than a run that was stopped may take to end.
        """
        while job.journal.is_busy and not job.ended and job.stop_reason != "lost":
            try:
                await job.journal.quiet()
            except asyncio.CancelledError:
                _log.debug("Job %s was stopped while it waited for its last step.", job.id)

    def _end(self, job: RunningJob, ending: Ending | None) -> None:
        """The run is over. Not a coroutine: from here on nothing can be cancelled any more."""
        if job.ended:
            return
        job.ended = True
        self._running -= 1
        if job.task is not None:
            self._pace.ended(self._clock.monotonic() - job.started_at)
        if job.has_journal:
            job.journal.close()
        if ending is None:
            self._let_go(job, None)
        elif job.has_journal and ending.kind in {"retry", "released"}:
            job.journal.keep_failures(lambda: self._hand_in(job, ending))
        else:
            self._hand_in(job, ending)
        self._claimer.made_room()
        self._admit_soon()

    def _hand_in(self, job: RunningJob, ending: Ending) -> None:
        """What the job said is written before how it ended: afterwards its claim is gone."""
        if job.has_said:
            job.pieces.close(lambda: self._write(job, ending))
        else:
            self._write(job, ending)

    def _write(self, job: RunningJob, ending: Ending) -> None:
        def answered(answer: bool | Exception) -> None:
            if isinstance(answer, Exception):
                self._refused(job, ending, answer)
            else:
                self._let_go(job, ending if answer else None)

        self._scribe.endings.put(ending, answered)

    def _refused(self, job: RunningJob, ending: Ending, error: Exception) -> None:
        if ending.kind == "failed":
            _log.error("Job %s cannot be ended: %s", job.id, error)
            self._let_go(job, None)
        else:
            self._write(job, refused(job, error))

    def _let_go(self, job: RunningJob, ending: Ending | None) -> None:
        """How the job ended is written, or nobody wants to know."""
        self._heartbeat.remove(job)
        self._held.pop(job.claim.token, None)
        self._minder.ended(job)
        job.part()
        if ending is None:
            _log.info("Job %s is not ours any more: nothing of this run was kept but its steps.", job.id)
        elif ending.kind in {"succeeded", "waiting"}:
            self._finished += 1
        elif ending.kind in {"failed", "retry"}:
            self._failed += 1
        if self._observer is not None:
            kind = "lost" if ending is None else ending.kind
            self._observer.ended(job.claimed, kind, self._clock.monotonic() - job.started_at)
        if not self._held:
            self._idle.set()
        self._claimer.made_room()

    def _renewed(self, renewed: Renewed) -> None:
        self._minder.renewed(renewed)

    def _leave_alone(self, job: RunningJob) -> None:
        """It does not stop. Write how it ended without it; the claim is gone then, and with it all it could write."""
        if job.task is not None:
            self._left_alone.add(job.task)
            job.task.add_done_callback(self._left_alone.discard)
        self._end(job, ending_of(job, asyncio.CancelledError(), self._retrying))

    # -- what others see ---------------------------------------------------------------------------------------------

    def _describe(self) -> WorkerInfo:
        """Called by the heartbeat, in its thread."""
        ended = self._finished + self._failed
        before, since = self._rated
        now = self._clock.monotonic()
        self._rated = (ended, now)
        return WorkerInfo(
            worker=self.name,
            queues=tuple(self._settings.queues),
            slots=self._settings.concurrency,
            running=self._running,
            finished=self._finished,
            failed=self._failed,
            per_s=(ended - before) / (now - since) if now > since else 0.0,
            started_at=self._started_at,
            seen_at=self._clock.now(),
        )
