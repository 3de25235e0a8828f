"""The store of limits as one worker sees it: asked in bounded time, and left alone for a while after it failed.

All limits of a worker share one link. So a store that is away holds up one request in a second, not each request of each user.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from corral.clock import Clock
from corral.errors import CorralError, StoreUnavailable
from corral.limits.store import LimitStore, Shared

T = TypeVar("T")

_log = logging.getLogger("corral.limits")
RETRY_S = 1.0
"""After a failure the store is left alone for so long; then one request asks it, and the others wait for what comes of that."""
_PATIENCE_S = 2.0


class Link:
    """Used on one loop."""

    def __init__(
        self, store: LimitStore, clock: Clock, *, workers: int = 1, failed: Callable[[], None] = lambda: None
    ) -> None:
        """While the store is away, each of so many `workers` keeps to its part. `failed` is told of each failure."""
        self.part = 1.0 / max(1, workers)
        self._store = store
        self._clock = clock
        self._told = failed
        self._failing = False
        self._asking = False
        self._again_at = 0.0
        self._ahead_s: float | None = None
        """Of the store's clock, before this process's."""

    def unknown(self) -> Shared | None:
        """A key that is probably not there yet: whoever puts something there finds out. None: what time it is has to be asked."""
        if self._ahead_s is None:
            return None
        return Shared(b"", 0, self._ahead_s + self._clock.monotonic())

    @property
    def is_down(self) -> bool:
        """Whether the store is not to be asked now."""
        return self._failing and (self._asking or self._clock.monotonic() < self._again_at)

    async def read(self, key: str) -> Shared:
        """As `LimitStore.read`."""
        known = await self._asked(self._store.read, key)
        self._ahead_s = known.now - self._clock.monotonic()
        return known

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        """As `LimitStore.swap`."""
        done, known = await self._asked(self._store.swap, key, version, body)
        self._ahead_s = known.now - self._clock.monotonic()
        return done, known

    async def _asked(self, ask: Callable[..., Awaitable[T]], *args: object) -> T:
        if self.is_down:
            raise StoreUnavailable("The store of limits did not answer a moment ago.")
        self._asking = True  # matters while it is failing
        try:
            async with asyncio.timeout(_PATIENCE_S):
                answer = await ask(*args)
        except (CorralError, TimeoutError, OSError) as error:
            self._lost(error)
            raise StoreUnavailable(f"The store of limits does not answer: {error}") from error
        finally:
            self._asking = False
        if self._failing:
            self._failing = False
            _log.info("The store of limits answers again.")
        return answer

    def _lost(self, error: Exception) -> None:
        self._told()
        self._again_at = self._clock.monotonic() + RETRY_S
        if not self._failing:
            self._failing = True
            _log.warning(
                "Limits are not shared for now, each does as it says in `when_down`: %s", str(error) or "too slow"
            )
