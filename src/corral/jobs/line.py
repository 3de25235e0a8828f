"""Jobs that were claimed and have not begun: the urgent first, tenants in turns, and a few at a time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.jobs.running import RunningJob


class Line:
    """The shop's door. Whoever is alone goes through at once; a crowd does not keep out who comes after it."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._tenants: dict[int, dict[str, deque[RunningJob]]] = {}
        """By priority; whose turn it is stands first."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[RunningJob]:
        """All of them, roughly those first who would go last."""
        for priority in sorted(self._tenants):
            for jobs in self._tenants[priority].values():
                yield from reversed(jobs)

    def add(self, job: RunningJob) -> None:
        """Line up behind the others of the same tenant."""
        tenants = self._tenants.setdefault(job.claimed.priority, {})
        tenants.setdefault(job.claimed.tenant, deque()).append(job)
        self._count += 1

    def next(self) -> RunningJob:
        """Who goes now. There has to be somebody."""
        priority = max(self._tenants)
        tenants = self._tenants[priority]
        tenant = next(iter(tenants))
        jobs = tenants.pop(tenant)
        job = jobs.popleft()
        if jobs:
            tenants[tenant] = jobs
        elif not tenants:
            del self._tenants[priority]
        self._count -= 1
        return job

    def leave(self, job: RunningJob) -> None:
        """This one waits no longer. It has to be there."""
        tenants = self._tenants[job.claimed.priority]
        jobs = tenants[job.claimed.tenant]
        jobs.remove(job)
        if not jobs:
            del tenants[job.claimed.tenant]
        if not tenants:
            del self._tenants[job.claimed.priority]
        self._count -= 1
