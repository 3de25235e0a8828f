"""Takes jobs from dead workers, and removes what is past its time: in every worker, at its own pace."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from corral.clock import SYSTEM_CLOCK, Clock
from corral.jobs.bell import Bell

if TYPE_CHECKING:
    from corral.jobs.outage import Outage
    from corral.jobs.store import JobRecords, JobStore
    from corral.settings.sections import JobSettings

_log = logging.getLogger("corral.jobs")

_LIMIT = 1000
_ROUNDS_MAX = 20
"""How often a sweep is repeated at once while it still finds as much as it may take."""
_FORGET_S = 60.0
"""How often ended jobs that are old enough are removed."""
_AHEAD_S = SYSTEM_CLOCK.now() - SYSTEM_CLOCK.monotonic()
"""What lay between the two clocks when this program began: workers are forked from it, and know of what happened before."""


class Reaper:
    """Sweeps about once a second, or four times per lease where that is shorter.

    A dead worker's jobs are picked up within lease + 1 s. Each worker has a reaper; the periods are jittered, so that
    they rarely meet, and meeting does no harm.

    When the machine's clock was set forward, or the machine slept, all leases look as if they were over: then it waits for
    as long as a lease lasts. Who lives has renewed them by then, and who was stopped knows that they are over.
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
        self._ahead = _AHEAD_S if clock is SYSTEM_CLOCK else clock.now() - clock.monotonic()
        self._hold_until = -math.inf
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
                if not self._is_held():
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

    def _is_held(self) -> bool:
        """Whether leases say nothing just now."""
        now = self._clock.monotonic()
        ahead = self._clock.now() - now
        set_s, self._ahead = ahead - self._ahead, ahead
        if set_s > self._settings.lease_s / 6:
            _log.warning("The clock went forward by %.1f s: for as long as a lease lasts, none counts as over.", set_s)
            self._hold_until = now + self._settings.lease_s
        return now < self._hold_until

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
