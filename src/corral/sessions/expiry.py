"""Sweeps away what is past its time, in the background, a little at a time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping

_log = logging.getLogger("corral.sessions")

_ROUNDS_MAX = 20
"""How often one sweep is repeated at once while it still finds something: a large backlog is spread over periods."""

Sweep = Callable[[], Awaitable[int]]
"""Removes a bounded number of expired things and says how many went."""


class Sweeper:
    """Calls every sweep about once per period. One that fails is logged and tried again next time.

    Each worker has one: sweeps may run at the same time anywhere, and the periods are jittered so that they rarely do.
    """

    def __init__(
        self, sweeps: Mapping[str, Sweep], *, period_s: float, chance: Callable[[], float] = random.random
    ) -> None:
        """`sweeps` by name, such as `{"sessions": stores.sessions.expire}`; `chance` gives numbers from 0 to 1."""
        self._sweeps = sweeps
        self._period_s = period_s
        self._chance = chance
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Begin no further sweep; one that runs is finished first."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def stop(self) -> None:
        """End now. Calling it again does nothing."""
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        # The first pause is anything up to a period: workers that start together then sweep apart.
        pause = self._period_s * self._chance()
        while not await self._paused(pause):
            for name, sweep in self._sweeps.items():
                await self._sweep(name, sweep)
            pause = self._period_s * (0.8 + 0.4 * self._chance())

    async def _paused(self, seconds: float) -> bool:
        """Wait; True when it is time to end."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _sweep(self, name: str, sweep: Sweep) -> None:
        try:
            for _ in range(_ROUNDS_MAX):
                if self._stopping.is_set() or not await sweep():
                    return
        except Exception as error:  # noqa: BLE001 - the next sweep may succeed; a sweeper that dies lets a store fill up
            _log.warning("Cannot sweep expired %s, will try again: %s", name, error)
