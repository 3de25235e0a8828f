"""Writes down what calls cost: in groups, off the road of the calls, and without ever stopping one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from corral.clock import SYSTEM_CLOCK, Clock
from corral.limits.store import LedgerEntry, LedgerStore

if TYPE_CHECKING:
    from corral.settings.model_sections import LimitSettings

_log = logging.getLogger("corral.limits")

PENDING_MAX = 50_000
"""Entries that wait for the store; more than that are counted, and lost."""
_GROUP_MAX = 500
_EVERY_S = 0.5
"""An entry is in the store about so long after its call was over."""
_PAUSE_S = 0.25
_PAUSE_MAX_S = 10.0
_FORGET_EVERY_S = 3600.0
_FORGET_LIMIT = 5_000
_FORGET_ROUNDS_MAX = 200
_DRAIN_S = 10.0


class Ledger:
    """A bounded line of entries, and a task that writes them. One event loop; `add` may be called from any thread."""

    def __init__(
        self,
        store: LedgerStore,
        settings: LimitSettings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
        pending_max: int = PENDING_MAX,
    ) -> None:
        """`chance` gives numbers from 0 to 1: workers that lost one store together come back apart."""
        self._store = store
        self._keep_s = settings.ledger_keep_s
        self._clock = clock
        self._chance = chance
        self._pending_max = pending_max
        self._pending: deque[LedgerEntry] = deque()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stopping = False
        self._failing = False
        self.written = 0
        self.dropped = 0
        """Entries that were lost because the store was away for too long."""

    @property
    def pending(self) -> int:
        """Entries that are not written yet."""
        return len(self._pending)

    def add(self, entry: LedgerEntry) -> None:
        """Write this down, soon. Never waits, and never raises."""
        if len(self._pending) >= self._pending_max:
            self._pending.popleft()
            if not self.dropped:
                _log.error("The ledger has no room for more entries: the oldest are lost until the store answers.")
            self.dropped += 1
        self._pending.append(entry)
        if len(self._pending) == 1 and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # a loop that is closed writes nothing any more
                self._loop.call_soon_threadsafe(self._some.set)

    # -- life

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        if self._task is None:
            self._stopping = False
            self._loop = asyncio.get_running_loop()
            self._some.set()
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Write all that was added until now, as far as the store answers."""
        if self._task is not None:
            await self._write_all()

    async def stop(self) -> None:
        """Write what is left, and end. Calling it again does nothing."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping = True
        self._hurry.set()
        self._some.set()
        _, late = await asyncio.wait([task], timeout=_DRAIN_S)
        for one in late:
            one.cancel()
            await asyncio.wait([one])
        if self._pending:
            self.dropped += len(self._pending)
            _log.error("%d entries of the ledger were lost: the store did not take them any more.", len(self._pending))
            self._pending.clear()

    # -- inside

    async def _run(self) -> None:
        forget_at = self._clock.monotonic() + _FORGET_EVERY_S * self._chance()
        pause_s = _EVERY_S
        failures = 0
        while True:
            if not self._pending:
                await self._until(self._some, forget_at - self._clock.monotonic())
            self._some.clear()
            await self._until(self._hurry, pause_s)  # others will come meanwhile
            written = await self._write_all()
            if self._stopping:
                return
            failures = 0 if written else failures + 1
            pause_s = _EVERY_S if written else self._pause_s(failures)
            if written and self._clock.monotonic() >= forget_at:
                await self._forget()
                forget_at = self._clock.monotonic() + _FORGET_EVERY_S * (0.8 + 0.4 * self._chance())

    @staticmethod
    async def _until(event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()

    def _pause_s(self, failures: int) -> float:
        return min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** min(failures, 10)) * (0.5 + self._chance() / 2)

    async def _write_all(self) -> bool:
        while self._pending:
            if not await self._write():
                return False
        return True

    async def _write(self) -> bool:
        """Write one group; what the store does not take stays first in line."""
        group = [self._pending.popleft() for _ in range(min(_GROUP_MAX, len(self._pending)))]
        try:
            await self._store.write(group)
        except asyncio.CancelledError:
            self._put_back(group)
            raise
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed, and writing twice counts once
            self._put_back(group)
            level = logging.DEBUG if self._failing else logging.WARNING  # one warning per outage
            _log.log(level, "The ledger cannot be written, %d entries wait: %s", len(self._pending), error)
            self._failing = True
            return False
        self.written += len(group)
        if self._failing:
            self._failing = False
            _log.info("The ledger is written again.")
        return True

    def _put_back(self, group: list[LedgerEntry]) -> None:
        room = self._pending_max - len(self._pending)
        if room < len(group):
            self.dropped += len(group) - max(0, room)
            group = group[len(group) - max(0, room) :]
        self._pending.extendleft(reversed(group))

    async def _forget(self) -> None:
        """Remove what is too old, a bounded piece at a time."""
        before = self._clock.now() - self._keep_s
        try:
            for _ in range(_FORGET_ROUNDS_MAX):
                if self._stopping or not await self._store.forget(before=before, limit=_FORGET_LIMIT):
                    return
        except Exception as error:  # noqa: BLE001 - it will be tried again in an hour
            _log.warning("Old entries of the ledger could not be removed: %s", error)
