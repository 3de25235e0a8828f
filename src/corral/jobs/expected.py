"""One who waits for a job that is about to be handed in: it is watched before it exists, so nothing of it need be looked up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from corral.errors import JobNotFound
from corral.jobs.bell import Bell
from corral.jobs.job import JobInfo
from corral.jobs.states import TERMINAL

if TYPE_CHECKING:
    from corral.jobs.hub import JobHub
    from corral.jobs.store import JobRecords

_FIRST_LOOK_S = 0.02
"""Another process may have run it before this one heard that it is in the queue."""


class Expected:
    """A job by the id that it will have. Used by one task, inside of `JobHub.expecting`."""

    def __init__(self, hub: JobHub, records: JobRecords, job_id: str, now: Callable[[], float], poll_s: float) -> None:
        """`poll_s`: how often to look although nobody hinted at it."""
        self._hub = hub
        self._records = records
        self._id = job_id
        self._now = now
        self._poll_s = poll_s
        self._bell = Bell()
        self.moved = self._bell.ring
        """The job has moved, or whoever waits has to leave."""
        self._ended: JobInfo | None = None

    def ended(self, info: JobInfo) -> None:
        """The job has ended: as it is here, nobody need look."""
        self._ended = info
        self._bell.ring()

    async def end(self, tenant: str, seconds: float) -> JobInfo:
        """The job as soon as it has ended, or as it is after so many seconds, or when this worker leaves."""
        until = self._now() + seconds
        self._bell.hush()  # it moved into the queue, and perhaps to a worker: neither is an end
        pause_s = _FIRST_LOOK_S
        while True:
            if self._ended is None:
                await self._bell.wait(max(0.0, min(until - self._now(), pause_s)))
            ended, self._ended = self._ended, None
            if ended is not None and ended.tenant == tenant:
                return ended
            pause_s = self._poll_s
            info = await self._records.get(tenant, self._id)
            if info is None:
                raise JobNotFound(f"There is no job {self._id!r} any more.")
            if info.status in TERMINAL or self._hub.draining or self._now() >= until:
                return info
