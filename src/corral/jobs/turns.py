"""Two who ask much of one store ask one after the other, while others who ask little shall not wait for both."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_PATIENCE_S = 0.005
"""Who has waited so long goes all the same: the other one may be waiting for a disk."""


class Turns:
    """For claims of many and endings of many: at once they drain more, and take the processors from whoever comes anew."""

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        """`is_wanted` says whether anybody is there who gains from it."""
        self._is_wanted = is_wanted
        self._taken = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Go when nobody else does, or after a while; at once where nobody gains from waiting."""
        if not self._is_wanted() or not await self._take():
            yield
            return
        try:
            yield
        finally:
            self._taken.release()

    async def _take(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._taken.acquire()
        except TimeoutError:
            return False
        return True
