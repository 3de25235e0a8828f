"""One request's turn at a session, and the line it stands in within this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from itertools import takewhile
from typing import TypeVar

from corral.clock import new_id
from corral.errors import TurnLost
from corral.sessions.event import Draft, SessionKey

T = TypeVar("T")


class Place(Enum):
    """Where a turn stands. The drawing is in `docs/sessions.md`."""

    QUEUED = auto()
    """Another request of this process is taking a ticket at the same session; nothing was asked yet."""
    JOINING = auto()
    """Its ticket is being taken."""
    WAITING = auto()
    """It has a ticket and is not the first in line."""
    HELD = auto()
    """It is this request's turn."""
    LEAVING = auto()
    """Its ticket is being given back; what happens to the ticket now is nobody's concern."""
    LEFT = auto()
    """It is over."""


Leave = Callable[["Turn", Sequence[Draft], float | None], Awaitable[None]]


class Turn:
    """A request's turn at a session, from taking a ticket to giving it back.

    Everything here belongs to the loop that took the turn, except `token`, `key` and `lost`, which any thread may read.
    """

    __slots__ = ("_callbacks", "_leave", "decided", "key", "lost", "nudged", "place", "renewed_at", "standing", "token")

    def __init__(self, key: SessionKey, leave: Leave) -> None:
        """A ticket still to be taken; `leave` gives it back."""
        self.key = key
        self.token = new_id()
        """What every write of this turn carries: a turn that was lost can change nothing."""
        self.lost = False
        """The turn was taken away: by another request, with its session, or because its lease ran out."""
        self.place = Place.QUEUED
        self.standing = False
        """The store has the ticket for certain; until then a heartbeat that misses it means nothing."""
        self.nudged = False
        """The line moved while the ticket was still being taken."""
        self.decided: asyncio.Future[None] | None = None
        """Done once the turn has come, or was lost while it waited."""
        self.renewed_at = 0.0
        self._callbacks: list[Callable[[], None]] = []
        self._leave = leave

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, on the taker's loop, when the turn is taken away, or soon if that has happened."""
        if self.lost:
            asyncio.get_running_loop().call_soon(callback)
        else:
            self._callbacks.append(callback)

    async def leave(self, drafts: Sequence[Draft] = (), ttl_s: float | None = None) -> None:
        """Append `drafts` and give the turn back, in one transaction. Leaving twice is leaving once.

        Raises `TurnLost`, and appends nothing, when there are drafts and the turn was taken away.
        """
        if self.place in (Place.LEAVING, Place.LEFT):
            return
        if self.lost:
            self.place = Place.LEFT
            if drafts:
                raise TurnLost
            return
        await self._leave(self, drafts, ttl_s)

    async def end_with(self, work: Awaitable[T]) -> T:
        """Await `work`, which takes the turn away in the store because its holder asked for that, and leave."""
        if self.place is not Place.HELD or self.lost:
            return await work
        self.place = Place.LEAVING
        try:
            return await work
        finally:
            await self._leave(self, (), None)

    def lose(self) -> bool:
        """Note that the turn was taken away and tell whoever wants to know. False: it was over, or known."""
        if self.lost or self.place in (Place.LEAVING, Place.LEFT):
            return False
        self.lost = True
        self.decide()
        for callback in self._callbacks:
            # By way of the loop: a callback that fails takes nothing else down.
            asyncio.get_running_loop().call_soon(callback)
        return True

    def grant(self) -> None:
        """It is this request's turn now."""
        self.place = Place.HELD
        self.decide()

    def decide(self) -> None:
        """Have the taker look at what became of the turn."""
        if self.decided is not None and not self.decided.done():
            self.decided.set_result(None)


class Line:
    """The turns of this process at one session, first come first served, and who is looking after them."""

    __slots__ = ("again", "joins", "key", "looking", "turns")

    def __init__(self, key: SessionKey) -> None:
        """Nobody stands here yet."""
        self.key = key
        self.turns: dict[str, Turn] = {}
        self.joins = asyncio.Lock()
        """Tickets are taken one after the other, so that the store's line has the order of this one."""
        self.looking = False
        self.again = False

    def first(self) -> Turn | None:
        """Whose place in the store's line matters now: the holder if it is one of ours, else the first who waits."""
        for turn in self.turns.values():
            if turn.place is not Place.LEAVING:
                return turn
        return None

    def before(self, turn: Turn) -> list[Turn]:
        """Those who stand before `turn`."""
        return list(takewhile(lambda other: other is not turn, self.turns.values()))
