"""Trying again: failures in passing, before anything of the answer was passed on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ModelFailed, ModelRateLimited, PaceExceeded
from corral.messages import CallEmbedder, CallModel, EmbedCall, EmbedReply, ModelCall, ModelEvent, close

ELSEWHERE = "deployments.left"
"""In a call's notes: how many other places could be asked at once. Who says no for now is not waited for then."""


class Retried:
    """Asks again after failures that may pass: exponential pauses with full jitter, `Retry-After` honoured.

    Gives up at once when the error says that trying again is useless, when the pause would be longer than `pause_max_s` or
    reach past the call's deadline, and once anything was passed on: a caller who has half an answer gets the error (with
    what had been said as `partial`), never the beginning a second time.
    """

    def __init__(
        self,
        *,
        attempts_max: int = 3,
        pause_s: float = 0.5,
        pause_max_s: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`attempts_max` counts the first one."""
        self._attempts_max = attempts_max
        self._pause_s = pause_s
        self._pause_max_s = pause_max_s
        self._clock = clock
        self._chance = chance
        self._sleep = sleep

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """The layer."""
        attempt, begun = 1, False
        while True:
            try:
                events = proceed(call)
                try:
                    async for event in events:
                        begun = True
                        yield event
                finally:
                    await close(events)
                return  # noqa: TRY300 - an `else` would have to come after the yields
            except ModelFailed as error:
                pause = None if begun else self._pause(error, attempt, call)
                if pause is None:
                    raise
            # Outside of the handler, so that a cancelled pause does not drag the failure along.
            await self._sleep(pause)
            attempt += 1
            call.notes["retries"] = call.notes.get("retries", 0) + 1

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The same for embeddings."""
        attempt = 1
        while True:
            try:
                return await proceed(call)
            except ModelFailed as error:
                pause = self._pause(error, attempt, call)
                if pause is None:
                    raise
            await self._sleep(pause)
            attempt += 1
            call.notes["retries"] = call.notes.get("retries", 0) + 1

    def _pause(self, error: ModelFailed, attempt: int, call: ModelCall | EmbedCall) -> float | None:
        """How long to wait; none: do not try again here."""
        if not error.retryable or attempt >= self._attempts_max or isinstance(error, PaceExceeded):
            return None
        if isinstance(error, ModelRateLimited) and call.notes.get(ELSEWHERE):
            return None
        pause = min(self._pause_max_s, self._pause_s * 2.0 ** min(attempt - 1, 60)) * self._chance()
        asked = error.retry_after_s
        if asked is not None:
            if asked > self._pause_max_s:
                return None
            pause = max(pause, asked)
        if call.deadline is not None and self._clock.monotonic() + pause >= call.deadline:
            return None
        return pause
