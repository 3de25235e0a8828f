"""Carries executions on: timers that are due, moves that were left unfinished, tasks that nobody handed on, old histories.

One sweep in every worker, and no timer of an execution's own: whatever is to happen by itself is a time in the store.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import StoreUnavailable
from corral.jobs.bell import Bell
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.counting import Counting
from corral.workflows.handing import Handing
from corral.workflows.keeping import Keeping
from corral.workflows.machine.happening import Woken
from corral.workflows.moving import Mover
from corral.workflows.store import Executions

_log = logging.getLogger("corral.workflows")

_LIMIT = 100
"""Executions that are woken together."""
_HOLD_S = 5.0
"""How long a worker that took an execution to wake it may take, before another one does."""
_UNHANDED_S = 2.0
"""A task that is still new after so long was forgotten by whoever wrote it down."""
_EXPIRE_S = 60.0
_OPEN_MAX = 100_000
"""Where counting open executions stops."""
_PAUSE_S = 0.05
_PAUSE_MAX_S = 2.0


class Carrier:
    """The sweep of one worker. Woken by the next due time and by whoever plans an earlier one; looks by itself now and then."""

    def __init__(
        self,
        store: Executions,
        *,
        mover: Mover,
        handing: Handing,
        keeping: Keeping,
        counting: Counting,
        settings: WorkflowSettings,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` gives numbers from 0 to 1, so that workers that start together sweep apart."""
        self._store = store
        self._mover = mover
        self._handing = handing
        self._keeping = keeping
        self._counting = counting
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._bell = Bell()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._next_at: float | None = None
        self._look_at = self._expire_at = 0.0

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        if self._task is None:
            self._stopping = False
            self._expire_at = self._clock.monotonic() + _EXPIRE_S * self._chance()
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> None:
        """Wake nothing more; what has been told is written down and handed on first."""
        self._stopping = True
        self._bell.ring()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._mover.drain()
        await self._handing.drain()

    async def stop(self) -> None:
        """End now. Calling it again does nothing."""
        self._stopping = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def planned(self, wake_at: float | None) -> None:
        """Something is to happen at that time; called on this loop."""
        if wake_at is not None and (self._next_at is None or wake_at < self._next_at):
            self._next_at = wake_at
            self._bell.ring()

    def rouse(self) -> None:
        """Look now."""
        self._bell.ring()

    async def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                await self._sweep()
                failures = 0
                pause_s = self._pause_s()
            except StoreUnavailable as error:
                _log.debug("Executions cannot be swept now, will try again: %s", error)
                pause_s = min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** min(failures, 10)) * (0.5 + self._chance() / 2)
                failures += 1
            except Exception:  # noqa: BLE001 - the next sweep may succeed; without one, timers never end
                _log.exception("Executions cannot be swept, will try again")
                pause_s = _PAUSE_MAX_S
            if not self._stopping:
                await self._bell.wait(pause_s)

    def _pause_s(self) -> float:
        most = self._settings.sweep_s * (0.8 + 0.4 * self._chance())
        if self._next_at is None:
            return most
        return min(most, max(0.0, self._next_at - self._clock.now()))

    async def _sweep(self) -> None:
        while not self._stopping:
            due = await self._store.take_due(now=self._clock.now(), limit=_LIMIT, hold_s=_HOLD_S)
            self._next_at = due.next_at
            if not due.items:
                break
            told = (self._mover.tell(tenant, execution_id, Woken()) for tenant, execution_id in due.items)
            for heard in await asyncio.gather(*told, return_exceptions=True):
                if isinstance(heard, BaseException):
                    _log.warning("An execution could not be woken, will try again: %s", heard)
        if self._clock.monotonic() >= self._look_at:
            self._look_at = self._clock.monotonic() + _UNHANDED_S
            forgotten = await self._store.unhanded(before=self._clock.now() - _UNHANDED_S, limit=_LIMIT)
            self._handing.hand([(row, None) for row in forgotten])
        if self._clock.monotonic() >= self._expire_at:
            self._expire_at = self._clock.monotonic() + _EXPIRE_S * (0.8 + 0.4 * self._chance())
            self._counting.open(await self._store.open_count(None, limit=_OPEN_MAX))
            await self._expire()

    async def _expire(self) -> None:
        before = self._clock.now() - self._settings.keep_s
        while not self._stopping:
            old = await self._store.stale(before=before, limit=_LIMIT)
            for tenant, execution_id in old:
                await self._keeping.remove(tenant, execution_id)
            await self._store.remove(old)
            if len(old) < _LIMIT:
                return
