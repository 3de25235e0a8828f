"""Conversations, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.cold import page_of_events
from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import check_id, check_key, decode, encode, findable, labels, rows_of
from corral.backends.event_lookup import one_event
from corral.backends.postgres.columns import columns_of, place_of
from corral.backends.queries import read_queries
from corral.errors import EventNotFound, SessionCold, SessionExists, SessionNotFound, StateConflict, TurnLost
from corral.messages import Page
from corral.sessions.event import ActorInfo, SessionEvent, SessionInfo, SessionKey, State, event_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.sessions.event import Draft, EventQuery, SessionQuery

_SQL = read_queries(Path(__file__).with_name("sessions.sql"))

_SEQ_END = 1 << 32
_LAST = (float("inf"), 2**63 - 1)
# A line that nobody came back to is kept this long, so that a worker that slept may still find its ticket.
_ABANDONED_S = 3600.0
_REFUSALS = {
    "lost": TurnLost,
    "conflict": StateConflict,
    "no session": SessionNotFound,
    "no event": EventNotFound,
    "exists": SessionExists,
    "cold": SessionCold,
}


class PostgresSessions:
    """One row per session and per event; what a session owns goes with it, by a trigger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, key: SessionKey, *, actor: str = "", metadata: dict[str, Any], ttl_s: float | None) -> bool:
        """Make a session."""
        check_key(key)
        check_id("actor", actor, empty=True)
        packed = encode(metadata, "Metadata") if metadata else None
        args = (key.tenant, key.session_id, actor, packed, ttl_s)
        # Repeated after a lost answer it may say that the session was there, which it then is.
        (made,) = await self._engine.fetch_one(_SQL["create"], *args)
        return bool(made)

    async def append(
        self, key: SessionKey, drafts: Sequence[Draft], *, turn: str | None = None, ttl_s: float | None = None
    ) -> list[SessionEvent]:
        """Append events."""
        check_key(key)
        if not findable(turn):
            raise TurnLost
        args = (key.tenant, key.session_id, turn, ttl_s, *columns_of(rows_of(drafts)))
        refused, last_seq, now = await self._engine.fetch_one(_SQL["append"], *args, again=False)
        if refused:
            raise _REFUSALS[refused]
        return [_written(key, draft, turn, seq, now) for seq, draft in _places(last_seq, drafts)]

    async def events(self, key: SessionKey, query: EventQuery) -> Page[SessionEvent]:
        """List events."""
        check_limit(query.limit)
        before = min(read_cursor(query.cursor, int) or _SEQ_END, _SEQ_END)
        wanted = encode(labels(query.metadata), "Metadata").decode() if query.metadata else None
        if not findable(key.tenant, key.session_id, query.actor, query.branch):
            return Page([])
        if query.event_id is not None:
            return await one_event(self.events, key, query)
        rows = await self._engine.fetch(
            _SQL["events"],
            key.tenant,
            key.session_id,
            before,
            query.limit + 1,
            query.branch,
            query.include_parents,
            query.actor,
            query.since,
            list(query.roles) or None,
            wanted,
            list(labels(dict.fromkeys(query.has))) or None,
            list(labels(dict.fromkeys(query.lacks))) or None,
        )
        *_, cold_seq, cold_at = rows[0] if rows else (None, None)
        # A session of which nothing was found is one row without a place.
        events = [_event(key.session_id, row) for row in rows if row[0] is not None]
        return page_of_events(events, query, before, cold_seq, cold_at)

    async def get(self, key: SessionKey) -> SessionInfo | None:
        """Describe a session."""
        if not findable(key.tenant, key.session_id):
            return None
        row = await self._engine.fetch_one(_SQL["get"], key.tenant, key.session_id)
        return _info(row) if row else None

    async def sessions(self, tenant: str, query: SessionQuery) -> Page[SessionInfo]:
        """List sessions."""
        check_limit(query.limit)
        before_at, before_number = read_cursor(query.cursor, tuple[float, int]) or _LAST
        if not findable(tenant, query.actor, query.prefix):
            return Page([])
        args = (tenant, before_at, before_number, query.limit + 1, query.prefix)
        if query.actor is None:
            rows = await self._engine.fetch(_SQL["list"], *args)
        else:
            rows = await self._engine.fetch(_SQL["list_of_actor"], *args, query.actor)
        page = page_of(list(rows), lambda last: (last[4], last[0]), query.limit)
        return Page([_info(row) for row in page.items], page.next_cursor)

    async def actors(
        self, tenant: str, *, limit: int = 100, cursor: str | None = None, prefix: str = ""
    ) -> Page[ActorInfo]:
        """List actors."""
        check_limit(limit)
        after = read_cursor(cursor, str) or ""
        if not findable(tenant, after, prefix):
            return Page([])
        rows = await self._engine.fetch(_SQL["actors"], tenant, after, limit + 1, prefix)
        infos = [ActorInfo(actor=actor, sessions=sessions, last_seen_at=seen) for actor, sessions, seen in rows]
        return page_of(infos, lambda last: last.actor, limit)

    async def read_state(self, key: SessionKey) -> State:
        """Read the state."""
        if not findable(key.tenant, key.session_id):
            return State(None, 0)
        row = await self._engine.fetch_one(_SQL["read_state"], key.tenant, key.session_id)
        return State(decode(row[0]), row[1]) if row and row[1] else State(None, 0)

    async def write_state(
        self, key: SessionKey, value: Any, *, expected_version: int | None = None, turn: str | None = None
    ) -> int:
        """Replace the state."""
        check_key(key)
        if not findable(turn):
            raise TurnLost
        args = (key.tenant, key.session_id, turn, expected_version, encode(value, "State"))
        again = expected_version is None
        refused, version = await self._engine.fetch_one(_SQL["write_state"], *args, again=again)
        if refused:
            raise _REFUSALS[refused]
        return int(version)

    async def fork(self, key: SessionKey, new_session_id: str, *, at_event: str | None = None) -> SessionInfo:
        """Copy a session."""
        copy = SessionKey(key.tenant, new_session_id)
        check_key(copy)
        if not findable(key.tenant, key.session_id):
            raise SessionNotFound
        at_seq, at_ms = (None, None) if at_event is None else place_of(at_event)
        args = (key.tenant, key.session_id, new_session_id, at_seq, at_ms)
        (refused,) = await self._engine.fetch_one(_SQL["fork"], *args, again=False)
        if refused:
            raise _REFUSALS[refused]
        info = await self.get(copy)
        if info is None:  # It was forgotten, or ran out, in this very moment.
            raise SessionNotFound
        return info

    async def delete(self, tenant: str, *, session_id: str | None = None, actor: str | None = None) -> int:
        """Forget."""
        if not findable(tenant, session_id, actor):
            return 0
        if session_id is not None:
            row = await self._engine.fetch_one(_SQL["forget_session"], tenant, session_id)
        elif actor is not None:
            row = await self._engine.fetch_one(_SQL["forget_actor"], tenant, actor)
        else:
            row = await self._engine.fetch_one(_SQL["forget_tenant"], tenant)
        return int(row[0])

    async def delete_event(self, key: SessionKey, event_id: str) -> bool:
        """Delete one event."""
        if not findable(key.tenant, key.session_id):
            return False
        try:
            seq, milliseconds = place_of(event_id)
        except EventNotFound:
            return False
        args = (key.tenant, key.session_id, seq, milliseconds)
        gone, cold_seq = await self._engine.fetch_one(_SQL["delete_event"], *args)
        if gone is None and seq <= (cold_seq or 0):
            raise SessionCold
        return gone is not None

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""
        await self._engine.fetch(_SQL["drop_abandoned"], _ABANDONED_S, limit)
        (swept,) = await self._engine.fetch_one(_SQL["expire_events"], limit)
        if swept < limit:
            swept += (await self._engine.fetch_one(_SQL["expire_sessions"], limit - swept))[0]
        return int(swept)


def _places(last_seq: int | None, drafts: Sequence[Draft]) -> enumerate[Draft]:
    return enumerate(drafts, start=(last_seq or 0) - len(drafts) + 1)


def _written(key: SessionKey, draft: Draft, turn: str | None, seq: int, now: float) -> SessionEvent:
    return SessionEvent(
        id=event_id(now, seq),
        session_id=key.session_id,
        seq=seq,
        role=draft.role,
        content=draft.content,
        actor=draft.actor,
        branch=draft.branch,
        turn=turn,
        metadata=draft.metadata,
        created_at=now,
        expires_at=None if draft.ttl_s is None else now + draft.ttl_s,
    )


def _event(session_id: str, row: Sequence[Any]) -> SessionEvent:
    seq, created_at, expires_at, role, actor, branch, turn, metadata, content, *_ = row
    return SessionEvent(
        id=event_id(created_at, seq),
        session_id=session_id,
        seq=seq,
        role=role,
        content=decode(content),
        actor=actor,
        branch=branch,
        turn=turn,
        metadata=decode(metadata) if metadata else {},
        created_at=created_at,
        expires_at=expires_at,
    )


def _info(row: Sequence[Any]) -> SessionInfo:
    _, session_id, actor, created_at, updated_at, last_seq, expires_at, metadata = row
    return SessionInfo(
        session_id=session_id,
        actor=actor,
        created_at=created_at,
        updated_at=updated_at,
        events=last_seq,
        expires_at=expires_at,
        metadata=decode(metadata) if metadata else {},
    )
