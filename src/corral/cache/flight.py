"""One question on its way for all who ask the same: what comes is kept from the start, so that who joins late misses nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from corral.errors import ModelRequestInvalid, ModelStreamBroken, ModelTimeout
from corral.messages import Delta, ModelEvent, ModelReply, closing

Came = Callable[[ModelReply | ModelRequestInvalid], object]

BUFFER_MAX_BYTES = 4_194_304
"""What is kept of a stream for those who are behind; nobody joins a longer one any more."""
_OVERHEAD = 64


class Follower:
    """Who reads along, and how far he is."""

    __slots__ = ("at", "waiting")

    def __init__(self) -> None:
        self.at = 0
        self.waiting: asyncio.Future[None] | None = None


class Flight:
    """The question belongs to a task of its own; it is given up when the last follower has left."""

    def __init__(
        self, events: AsyncIterator[ModelEvent], ended: Callable[[Flight], None], came: Came | None = None
    ) -> None:
        """`ended` is called when nobody can join any more; `came` with the answer, or the refusal, before anybody hears it."""
        self.deadline: float | None = None
        self.notes: dict[str, Any] = {}
        """Of who asked first."""
        self.joined = 0
        self._ended = ended
        self._came = came
        self._followers: set[Follower] = set()
        self._events: deque[ModelEvent] = deque()
        self._first = 0
        self._bytes = 0
        self._over = False
        self._answered = False
        self._error: BaseException | None = None
        self._room: asyncio.Future[None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._fly(events))

    # -- who follows --------------------------------------------------------------------------------------------------

    def join(self) -> Follower:
        """Read along from the start. Follow it by `read`, and `leave` whatever happens."""
        follower = Follower()
        self._followers.add(follower)
        self.joined += 1
        return follower

    def at_hand(self, follower: Follower) -> ModelEvent | None:
        """The next event, if it has come already: then nobody waits. Raises for who has lost the thread."""
        place = follower.at - self._first
        if place < 0:
            raise ModelStreamBroken("The stream is shared with others, and was read too slowly to keep up with them.")
        if place >= len(self._events):
            return None
        follower.at += 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        return self._events[place]

    async def read(self, follower: Follower, within_s: float | None) -> ModelEvent | None:
        """The next event, where none is at hand; none: that was all.

        Raises what the question came to, and `ModelTimeout` when the time is over.
        """
        while not self._over:
            await self._wait(follower, within_s)
            event = self.at_hand(follower)
            if event is not None:
                return event
        if self._error is not None:
            raise _again(self._error)
        return None

    async def _wait(self, follower: Follower, within_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        waiting = follower.waiting = loop.create_future()
        timer = None if within_s is None else loop.call_later(max(0.0, within_s), _late, waiting)
        try:
            await waiting
        finally:
            follower.waiting = None
            if timer is not None:
                timer.cancel()

    async def leave(self, follower: Follower) -> None:
        """Read no more. With the last one the question is given up, and what it held is given back when this returns."""
        self._followers.discard(follower)
        if not self._followers and not self._task.done():
            if not self._answered and not self._over:
                self._ended(self)
                self._task.cancel()
            await asyncio.wait([self._task])
        elif self._room is not None and not self._room.done():
            self._room.set_result(None)  # it may have been the fastest

    # -- what comes ---------------------------------------------------------------------------------------------------

    async def _fly(self, asked: AsyncIterator[ModelEvent]) -> None:
        try:
            async with closing(asked) as events:
                async for event in events:
                    if self._take(event):
                        await self._make_room()
                        self._wake()
                    if self._answered:
                        break
        except asyncio.CancelledError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - it is everybody's who follows
            if self._came is not None and isinstance(error, ModelRequestInvalid):
                self._came(error)
            self._error = error
        finally:
            self._over = True
            self._ended(self)
            self._wake()

    def _take(self, event: ModelEvent) -> bool:
        """Hand it to all; whether there is no room for the next one."""
        full = False
        self._events.append(event)
        if type(event) is Delta:
            self._bytes += _size(event)
            if self._bytes > BUFFER_MAX_BYTES:
                self._ended(self)
                full = True
        elif type(event) is ModelReply:
            if self._came is not None:
                self._came(event)
            self._answered = True
            self._ended(self)
        self._wake()
        return full

    async def _make_room(self) -> None:
        """Wait for the fastest; who is further behind than what may be kept has lost the thread."""
        while self._bytes > BUFFER_MAX_BYTES:
            fastest = max((follower.at for follower in self._followers), default=self._first)
            while self._bytes > BUFFER_MAX_BYTES and self._first < fastest:
                gone = self._events.popleft()
                self._first += 1
                self._bytes -= _size(gone)  # type: ignore[arg-type]  # the reply is the last, and nobody waits for room after it
            if self._bytes > BUFFER_MAX_BYTES:
                self._room = asyncio.get_running_loop().create_future()
                try:
                    await self._room
                finally:
                    self._room = None

    def _wake(self) -> None:
        for follower in self._followers:
            waiting = follower.waiting
            if waiting is not None and not waiting.done():
                waiting.set_result(None)


def _size(delta: Delta) -> int:
    """What it takes to keep: a delta of several pieces holds its text twice."""
    pieces = delta.pieces
    return len(delta.text) + _OVERHEAD if not pieces else 2 * len(delta.text) + _OVERHEAD * (1 + len(pieces))


def _late(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(ModelTimeout("The model did not answer within this call's time."))


def _again(error: BaseException) -> BaseException:
    """The error of one question, raised once for each who asked: a traceback grows with every time it is raised."""
    if isinstance(error, asyncio.CancelledError):
        return ModelStreamBroken("The question was given up before the model had answered.")
    return error.with_traceback(None)
