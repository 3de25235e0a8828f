"""Claims that wait for work inside the writer: what gets ready is taken in the very transaction that made it so."""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import TYPE_CHECKING

from corral.backends.sqlite.results import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import Claimed


class Standing:
    """Those that wait, first come first served. Posted and withdrawn on the loop of whoever claims, taken by the writer."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._jobs: list[Job] = []

    def post(self, run: Callable[[Transaction], Claimed]) -> StandingClaim:
        """Wait with this one."""
        job = Job(run, asyncio.get_running_loop())
        with self._lock:
            self._jobs.append(job)
        return StandingClaim(self, job)

    @property
    def waits(self) -> bool:
        """Whether anybody does."""
        return bool(self._jobs)

    def next(self) -> Job | None:
        """The first one, which waits no longer."""
        with self._lock:
            return self._jobs.pop(0) if self._jobs else None

    def withdraw(self, job: Job) -> bool:
        """Take one back; whether it still waited."""
        with self._lock:
            if job not in self._jobs:
                return False
            self._jobs.remove(job)
            return True


class StandingClaim:
    """One of them, in the hands of who posted it."""

    def __init__(self, standing: Standing, job: Job) -> None:
        self._standing = standing
        self._job = job
        self.claimed: asyncio.Future[Claimed] = job.future
        """What it came to."""

    def withdraw(self) -> bool:
        """Take it back. False: it was claimed with already, and `claimed` says what, now or in a moment."""
        return self._standing.withdraw(self._job)
