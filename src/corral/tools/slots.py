"""Places for so many calls at a time, taken and given back from any loop of the process."""

from __future__ import annotations

import asyncio
import threading
from collections import deque


class Slots:
    """A semaphore that is not bound to one event loop: agents run on several. First come, first served."""

    __slots__ = ("_free", "_lock", "_waiting")

    def __init__(self, count: int) -> None:
        """So many are free."""
        self._free = count
        self._lock = threading.Lock()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, within_s: float) -> bool:
        """Take one, as soon as it is free. False: none was within that time."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return True
            place: asyncio.Future[None] = loop.create_future()
            self._waiting.append(place)
        try:
            async with asyncio.timeout(within_s):
                await place
        except BaseException as error:
            self._leave(place)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def give(self) -> None:
        """Give one back."""
        with self._lock:
            while self._waiting:
                place = self._waiting.popleft()
                try:
                    place.get_loop().call_soon_threadsafe(self._hand, place)
                except RuntimeError:  # that loop has ended, and who waited with it
                    continue
                return
            self._free += 1

    def _hand(self, place: asyncio.Future[None]) -> None:
        if place.done():  # who waited has left meanwhile: the next one
            self.give()
        else:
            place.set_result(None)

    def _leave(self, place: asyncio.Future[None]) -> None:
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
        if place.done() and not place.cancelled():
            self.give()  # it was handed over in the moment in which we left
        else:
            place.cancel()
