"""Whose jobs a worker meets: those of a crowd, and now and then one of somebody who has little to do here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.clock import Clock
    from corral.jobs.job import ClaimedJob

_FRESH_S = 0.25
"""Who is claimed so soon although others wait in line has little to do here: else it would stand behind its own."""
_EXPECTED_S = 5.0
"""So long after such a one was met, others like it are expected."""
_REST_S = 0.02
"""So long nobody is looked for beside the crowd when those who were found there belonged to it."""


class Company:
    """Told of every claim. A tenant alone is no company, however many jobs it has."""

    def __init__(self, clock: Clock) -> None:
        """Nobody was met yet."""
        self._now = clock.monotonic
        self._is_crowded = False
        self._crowd: frozenset[str] = frozenset()
        self._expected_until = 0.0
        self._rests_until = 0.0

    @property
    def is_expected(self) -> bool:
        """Whether somebody came in between of late, for whose like the crowd shall leave room."""
        return self._now() < self._expected_until

    @property
    def may_hide(self) -> bool:
        """Whether who comes now may stand behind a crowd, and it is worth a look."""
        return self._is_crowded and self._now() >= self._rests_until

    def met(self, jobs: Sequence[ClaimedJob], *, is_crowded: bool) -> None:
        """These were claimed, and whether more are ready."""
        self._is_crowded = is_crowded
        self._crowd = frozenset(job.tenant for job in jobs)
        self._look_at(jobs, self._crowd)

    def met_beside(self, jobs: Sequence[ClaimedJob], *, as_they_came: bool = False) -> None:
        """These were claimed beside the crowd, for somebody had come; `as_they_came` was no call of its own."""
        tenants = self._crowd.union(job.tenant for job in jobs)
        if tenants == self._crowd and not (as_they_came and self.is_expected):
            self._rests_until = self._now() + _REST_S
        self._look_at(jobs, tenants)

    def _look_at(self, jobs: Sequence[ClaimedJob], tenants: frozenset[str]) -> None:
        if self._is_crowded and len(tenants) > 1 and any(job.claimed_at - job.created_at < _FRESH_S for job in jobs):
            self._expected_until = self._now() + _EXPECTED_S
