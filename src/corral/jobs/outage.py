"""A store that does not answer: wait, try again, and say so once."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from corral.errors import StoreUnavailable

_log = logging.getLogger("corral.jobs")

_PAUSE_S = 0.05
_PAUSE_MAX_S = 1.0

T = TypeVar("T")


class Outage:
    """What of a worker cannot reach the store just now. One warning when it begins, one line when it is over.

    Its parts may call from several threads: a dictionary operation is all that happens.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` gives numbers from 0 to 1: workers that lost one store together come back apart."""
        self._chance = chance
        self._failing: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._failing)

    def began(self, part: str, error: BaseException) -> None:
        """`part` (such as `claim`) failed."""
        if self._failing:
            _log.debug("The store of jobs still does not answer (%s): %s", part, error)
        else:
            _log.warning("The store of jobs does not answer (%s), will try again: %s", part, error)
        self._failing[part] = None

    def over(self, part: str) -> None:
        """`part` succeeded."""
        if part in self._failing:
            del self._failing[part]
            if not self._failing:
                _log.info("The store of jobs answers again.")

    def pause_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row: growing to a second, jittered."""
        return min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** min(failures, 10)) * (0.5 + self._chance() / 2)

    async def outlast(self, part: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call until the store answers, for as long as the caller waits."""
        failures = 0
        while True:
            try:
                answer = await call()
            except StoreUnavailable as error:
                self.began(part, error)
            else:
                self.over(part)
                return answer
            await asyncio.sleep(self.pause_s(failures))
            failures += 1
