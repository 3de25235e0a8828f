"""Looks after what runs: time limits, wishes to cancel, claims that were lost, and agents that do not stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corral.clock import Clock
    from corral.jobs.running import RunningJob, StopReason
    from corral.jobs.store import JobStore, JobWatch, Renewed

_log = logging.getLogger("corral.jobs")

GRACE_S = 5.0
"""A run that was asked to stop may take so long over it; then it is left to itself, and the fence keeps it out."""
_FOLLOW_AFTER_S = 0.5
"""A job that runs longer is followed, so that a wish to cancel it is heard of at once."""


class Minder:
    """Stops runs of one worker.

    One timer stands for the nearest of all that has a time, instead of one per job: most jobs are over long before.
    """

    def __init__(
        self,
        store: JobStore,
        held: Mapping[str, RunningJob],
        ask: Callable[[Sequence[str]], None],
        leave_alone: Callable[[RunningJob], None],
        clock: Clock,
    ) -> None:
        """`held` are the worker's jobs by token; `ask` has the heartbeat look at claims now."""
        self._store = store
        self._held = held
        self._ask = ask
        self._leave_alone = leave_alone
        self._clock = clock
        self._followed: dict[str, RunningJob] = {}
        self._watch: JobWatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def start(self) -> None:
        """Begin to hear of jobs."""
        self._watch = self._store.watch_jobs(self._moved)

    def close(self) -> None:
        """Hear and look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def begun(self, job: RunningJob) -> None:
        """A job runs."""
        self._look_at(min(job.deadline, job.started_at + _FOLLOW_AFTER_S))

    def ended(self, job: RunningJob) -> None:
        """A job is not the worker's any more."""
        if self._followed.pop(job.id, None) is not None and self._watch is not None:
            self._watch.unfollow(job.id)

    def stop(self, job: RunningJob, reason: StopReason) -> None:
        """Ask a run to end."""
        if not job.ended:
            job.stop(reason)
            self._look_at(job.stopped_at + GRACE_S)

    def renewed(self, renewed: Renewed) -> None:
        """The heartbeat has news."""
        for token in renewed.lost:
            if (job := self._held.get(token)) is not None:
                self.stop(job, "lost")
        for token in renewed.cancelled:
            if (job := self._held.get(token)) is not None:
                self.stop(job, "cancelled")

    def _moved(self, job_ids: Sequence[str]) -> None:
        """Something happened to jobs of ours; it may have been us."""
        tokens = [job.claim.token for job in map(self._followed.get, job_ids) if job is not None and not job.ended]
        if tokens:
            self._ask(tokens)

    def _look_at(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        pause_s = max(0.0, at - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for job in list(self._held.values()):
            if not job.ended:
                self._look_after(job, now)

    def _look_after(self, job: RunningJob, now: float) -> None:
        if job.stop_reason is not None:
            if now < job.stopped_at + GRACE_S:
                self._look_at(job.stopped_at + GRACE_S)
                return
            _log.warning(
                "Job %s of agent %r did not stop within %.0f s (%s); it is left to itself. Agents must let "
                "`asyncio.CancelledError` through, or look at `context.cancelled`.",
                job.id,
                job.claimed.agent,
                GRACE_S,
                job.stop_reason,
            )
            self._leave_alone(job)
        elif now >= job.deadline:
            self.stop(job, "deadline" if job.is_past_its_deadline() else "timeout")
        elif job.id in self._followed:
            self._look_at(job.deadline)
        elif now >= job.started_at + _FOLLOW_AFTER_S:
            self._follow(job)
            self._look_at(job.deadline)
        else:
            self._look_at(min(job.deadline, job.started_at + _FOLLOW_AFTER_S))

    def _follow(self, job: RunningJob) -> None:
        if self._watch is not None:
            self._followed[job.id] = job
            self._watch.follow(job.id)
            self._ask([job.claim.token])  # somebody may have wanted it cancelled before
