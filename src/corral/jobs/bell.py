"""Wait until somebody rings, or for some time: cheaper than an event under `wait_for`, and it forgets no ring."""

from __future__ import annotations

import asyncio


class Bell:
    """One waiter at a time, on one loop. A ring that comes while nobody waits ends the next wait at once."""

    def __init__(self) -> None:
        """Silent to begin with."""
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """End the wait. Ringing twice is ringing once."""
        self._rung = True
        self._wake()

    def hush(self) -> None:
        """Forget a ring that nobody waited for."""
        self._rung = False

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for a ring, at most so long. True: it rang."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        rung, self._rung = self._rung, False
        return rung
