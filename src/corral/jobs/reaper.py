"""Takes jobs from dead workers, and removes what is past its time: in every worker, at its own pace."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from corral.clock import SYSTEM_CLOCK, Clock
from corral.jobs.bell import Bell

if TYPE_CHECKING:
    from corral.jobs.outage import Outage
    from corral.jobs.store import JobRecords, JobStore
    from corral.settings.sections import JobSettings

_LIMIT = 1000
_ROUNDS_MAX = 20
"""How often a sweep is repeated at once while it still finds as much as it may take."""
_FORGET_S = 60.0
"""How often ended jobs that are old enough are removed."""


class Reaper:
    """Sweeps about once a second, or four times per lease where that is shorter.

    A dead worker's jobs are picked up within lease + 1 s. Each worker has a reaper; the periods are jittered, so that
    they rarely meet, and meeting does no harm.
    """

    def __init__(
        self,
        store: JobStore,
        records: JobRecords | None,
        settings: JobSettings,
        outage: Outage,
        *,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` gives numbers from 0 to 1; without `records` nothing is forgotten."""
        self._store = store
        self._records = records
        self._settings = settings
        self._outage = outage
        self._clock = clock
        self._chance = chance
        self._period_s = min(1.0, settings.lease_s / 4)
        self._task: asyncio.Task[None] | None = None
        self._bell = Bell()
        self._stopping = False

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Begin no further sweep; one that runs is finished first."""
        self._stopping = True
        self._bell.ring()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def stop(self) -> None:
        """End now. Calling it again does nothing."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        forget_at = self._clock.monotonic() + _FORGET_S * self._chance()
        # The first pause is anything up to a period: workers that start together then sweep apart.
        pause_s = self._period_s * self._chance()
        failures = 0
        while True:
            await self._bell.wait(pause_s)
            if self._stopping:
                return
            try:
                await self._sweep()
                if self._clock.monotonic() >= forget_at:
                    await self._forget()
                    forget_at = self._clock.monotonic() + _FORGET_S * (0.8 + 0.4 * self._chance())
                self._outage.over("sweep")
                failures = 0
                pause_s = self._period_s * (0.6 + 0.4 * self._chance())
            except Exception as error:  # noqa: BLE001 - the next sweep may succeed; without one, jobs of the dead stay lost
                self._outage.began("sweep", error)
                pause_s = self._outage.pause_s(failures)
                failures += 1

    async def _sweep(self) -> None:
        for _ in range(_ROUNDS_MAX):
            reaped = await self._store.reap(limit=_LIMIT, ageing_s=self._settings.ageing_s)
            if self._stopping or max(reaped.requeued, reaped.failed, reaped.cancelled) < _LIMIT:
                return

    async def _forget(self) -> None:
        if self._records is None:
            return
        before = self._clock.now() - self._settings.keep_s
        for _ in range(_ROUNDS_MAX):
            if self._stopping or await self._records.forget(before=before, limit=_LIMIT) < _LIMIT:
                return
