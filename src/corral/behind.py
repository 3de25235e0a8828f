"""What is written down behind the backs of those who call: in groups, in order, and without ever stopping a call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_GROUP_MAX = 500
_PAUSE_S = 0.25
_PAUSE_MAX_S = 10.0
_DRAIN_S = 10.0


class Behind(Generic[T]):
    """A bounded line, and a task that writes what stands in it. One event loop; `add` may be called from any thread.

    A store that is away is tried again, ever more rarely, and nothing is lost while the line has room. What has none, or is
    left when the store does not answer at the end, is given up and counted, and `lost` is told, the oldest first.
    """

    def __init__(
        self,
        write: Callable[[list[T]], Awaitable[object]],
        *,
        name: str,
        log: logging.Logger,
        every_s: float,
        pending_max: int,
        lost: Callable[[list[T]], None] | None = None,
        moved: Callable[[int], None] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`write` takes a group, and may be given the same one again; `moved` is told how many wait after each attempt.

        `name` is what the log calls it (`The audit`). `chance` gives numbers from 0 to 1: workers that lost one store together
        come back apart.
        """
        self._write_down = write
        self._name = name
        self._log = log
        self._every_s = every_s
        self._pending_max = pending_max
        self._lost = lost
        self._moved = moved
        self._chance = chance
        self._line: deque[T] = deque()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._writing = asyncio.Lock()
        self._failing = False
        self.written = 0
        self.dropped = 0
        """How many were given up."""

    @property
    def pending(self) -> int:
        """How many are not written yet."""
        return len(self._line)

    def add(self, one: T) -> None:
        """Write this down, soon. Never waits, and never raises."""
        if len(self._line) >= self._pending_max:
            self._give_up([self._line.popleft()])
        self._line.append(one)
        if len(self._line) == 1 and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # a loop that is closed writes nothing any more
                self._loop.call_soon_threadsafe(self._some.set)

    # -- life

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        if self._task is None:
            self._hurry.clear()
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
        self._hurry.set()
        self._some.set()
        _, late = await asyncio.wait([task], timeout=_DRAIN_S)
        for one in late:
            one.cancel()
            await asyncio.wait([one])
        self._loop = None
        if self._line:
            self._log.error("%s ends with %d entries that the store did not take.", self._name, len(self._line))
            self._give_up(list(self._line))
            self._line.clear()

    # -- inside

    async def _run(self) -> None:
        pause_s = self._every_s
        failures = 0
        while True:
            if not self._line:
                await self._some.wait()
            self._some.clear()
            await self._rest(pause_s)  # others will come meanwhile
            written = await self._write_all()
            if self._hurry.is_set() and not (written and self._line):
                return
            failures = 0 if written else failures + 1
            pause_s = self._every_s if written else self._pause_s(failures)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _pause_s(self, failures: int) -> float:
        return min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** min(failures, 10)) * (0.5 + self._chance() / 2)

    async def _write_all(self) -> bool:
        """What stands in line now. What comes meanwhile is for the next time: else a busy store got one after the other."""
        async with self._writing:  # one group at a time: the order is the order of what happened
            left = len(self._line)
            while left > 0 and self._line:
                if not await self._write(min(_GROUP_MAX, left)):
                    return False
                left -= _GROUP_MAX
            return True

    async def _write(self, most: int) -> bool:
        """Write one group; what the store does not take stays first in line."""
        group = [self._line.popleft() for _ in range(min(most, len(self._line)))]
        try:
            await self._write_down(group)
        except asyncio.CancelledError:
            self._put_back(group)
            raise
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed
            self._put_back(group)
            level = logging.DEBUG if self._failing else logging.WARNING  # one warning per outage
            self._log.log(level, "%s cannot be written, %d entries wait: %s", self._name, len(self._line), error)
            self._failing = True
            return False
        finally:
            if self._moved is not None:
                self._moved(len(self._line))
        self.written += len(group)
        if self._failing:
            self._failing = False
            self._log.info("%s is written again.", self._name)
        return True

    def _put_back(self, group: list[T]) -> None:
        room = max(0, self._pending_max - len(self._line))
        if room < len(group):
            cut = len(group) - room
            self._give_up(group[:cut])
            group = group[cut:]
        self._line.extendleft(reversed(group))

    def _give_up(self, some: list[T]) -> None:
        if not self.dropped:
            self._log.error("%s gives entries up, the oldest first: the store was away for too long.", self._name)
        self.dropped += len(some)
        if self._lost is not None:
            self._lost(some)
