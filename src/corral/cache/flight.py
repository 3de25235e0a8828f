"""One question on its way for all who ask the same: what comes is kept from the start, so that who joins late misses nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from corral.errors import ModelRequestInvalid, ModelStreamBroken, ModelTimeout
from corral.messages import CallModel, Delta, ModelCall, ModelEvent, ModelReply, close

Came = Callable[[ModelReply | ModelRequestInvalid], object]
Place = tuple[str, bytes, bool]
"""What questions are joined by: tenant, key, and whether what was kept is to be asked anew."""

BUFFER_MAX_BYTES = 4_194_304
"""What is kept of a stream for those who are behind; nobody joins a longer one any more."""
_OVERHEAD = 64


class Follower:
    """Who reads along, and how far he is."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = 0


class Flight:
    """The question belongs to a task of its own; it is given up when the last follower has left."""

    def __init__(
        self, flights: dict[Place, Flight], place: Place, call: ModelCall, proceed: CallModel, came: Came | None
    ) -> None:
        """It stands in `flights` for as long as it can be joined. `came` is told the answer, or the refusal, before anybody hears it."""
        self.call = call
        """Of who asked first."""
        self._flights = flights
        self._place = place
        self._came = came
        self._followers: set[Follower] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._events: deque[ModelEvent] = deque()
        self._first = 0
        self._bytes = 0
        self._over = False
        """Nothing more comes."""
        self._error: BaseException | None = None
        self._room: asyncio.Future[None] | None = None
        self._task = asyncio.Task(self._fly(proceed(call)), loop=asyncio.get_running_loop(), name="corral-flight")
        flights[place] = self

    @property
    def followers(self) -> int:
        """How many read along."""
        return len(self._followers)

    # -- who follows --------------------------------------------------------------------------------------------------

    def join(self) -> Follower:
        """Read along from the start. Follow it by `at_hand` and `more`, and `leave` whatever happens."""
        follower = Follower()
        self._followers.add(follower)
        return follower

    def at_hand(self, follower: Follower) -> ModelEvent | None:
        """The next event, if it has come already: then nobody waits. Raises for who has lost the thread."""
        place = follower.at - self._first
        if place >= len(self._events):
            return None
        if place < 0:
            raise ModelStreamBroken("The stream is shared with others, and was read too slowly to keep up with them.")
        follower.at += 1
        if self._room is not None:
            self._look_for_room()
        return self._events[place]

    async def more(self, within_s: float | None) -> bool:
        """Wait for the next event, where none is at hand; False: that was all.

        Raises what the question came to, and `ModelTimeout` when the time is over.
        """
        if self._over:
            if self._error is not None:
                raise _again(self._error)
            return False
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        self._waiting.add(waiting)
        timer = None if within_s is None else loop.call_later(max(0.0, within_s), _late, waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            if timer is not None:
                timer.cancel()
        return True

    async def leave(self, follower: Follower) -> None:
        """Read no more. With the last one the question is given up, and what it held is given back when this returns."""
        self._followers.discard(follower)
        if not self._followers and not self._task.done():
            if not self._over:
                self._close()
                self._task.cancel()
            await asyncio.wait([self._task])
        elif self._room is not None:
            self._look_for_room()  # it may have been the fastest

    # -- what comes ---------------------------------------------------------------------------------------------------

    async def _fly(self, asked: AsyncIterator[ModelEvent]) -> None:
        try:
            try:
                async for event in asked:
                    self._events.append(event)
                    if type(event) is Delta:
                        self._bytes += _size(event)
                        if self._waiting:
                            self._wake()
                        if self._bytes > BUFFER_MAX_BYTES:
                            self._close()
                            await self._make_room()
                        continue
                    if self._came is not None:
                        self._came(event)  # type: ignore[arg-type]  # the other kind of event
                    self._end()  # nobody waits until all is closed
                    break
            finally:
                await close(asked)
        except asyncio.CancelledError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - it is everybody's who follows
            if self._came is not None and isinstance(error, ModelRequestInvalid):
                self._came(error)
            self._error = error
        finally:
            if not self._over:
                self._end()

    def _end(self) -> None:
        self._over = True
        self._close()
        if self._waiting:
            self._wake()

    def _close(self) -> None:
        """Nobody can join any more."""
        if self._flights.get(self._place) is self:
            del self._flights[self._place]

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

    def _look_for_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()


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
