"""How a session reaches its store: on the store's loop, with the turn's token on every write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from corral.errors import TurnLost
from corral.messages import Page
from corral.sessions.event import Draft, EventQuery, SessionEvent, SessionInfo, SessionKey, State
from corral.sessions.home import Home
from corral.sessions.store import SessionStore
from corral.sessions.turn import Place, Turn


class Access:
    """The store's calls for one session, from any loop. Every write carries the turn; one that was lost writes nothing."""

    __slots__ = ("_store", "_ttl_s", "appended", "home", "key", "turn")

    def __init__(self, store: SessionStore, key: SessionKey, turn: Turn | None, ttl_s: float | None) -> None:
        """Made on the loop the store lives on. Without a turn, writes are not fenced."""
        self.home = Home()
        self.key = key
        self.turn = turn
        self.appended = False
        self._store = store
        self._ttl_s = ttl_s

    async def append(self, drafts: Sequence[Draft]) -> list[SessionEvent]:
        """Append; durable when it returns."""
        token = self._token()
        try:
            events = await self.home.run(self._store.append(self.key, drafts, turn=token, ttl_s=self._ttl_s))
        except asyncio.CancelledError:
            self.appended = True  # it may have been kept all the same, and must not be recorded a second time
            raise
        self.appended = self.appended or bool(events)
        return events

    async def events(self, query: EventQuery) -> Page[SessionEvent]:
        """List events."""
        return await self.home.run(self._store.events(self.key, query))

    async def read_state(self) -> State:
        """Read the state document."""
        return await self.home.run(self._store.read_state(self.key))

    async def write_state(self, value: Any, expected_version: int | None) -> int:
        """Replace the state document."""
        token = self._token()
        return await self.home.run(
            self._store.write_state(self.key, value, expected_version=expected_version, turn=token)
        )

    async def fork(self, new_session_id: str, at_event: str | None) -> SessionInfo:
        """Copy the session."""
        return await self.home.run(self._store.fork(self.key, new_session_id, at_event=at_event))

    async def delete(self) -> bool:
        """Delete the session. This turn ends with it, quietly: it is the one that asked."""
        self._token()
        return await self.home.run(self._deleted())

    async def _deleted(self) -> bool:
        self.appended = True  # what this turn said was to be forgotten: the runtime must not record it again
        work = self._store.delete(self.key.tenant, session_id=self.key.session_id)
        return await (work if self.turn is None else self.turn.end_with(work)) > 0

    def _token(self) -> str | None:
        turn = self.turn
        if turn is None:
            return None
        if turn.lost:
            raise TurnLost
        if turn.place is Place.LEFT:
            raise TurnLost("This turn is over; what goes on after the reply cannot write to the session any more.")
        return turn.token
