"""Conversations, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cold import page_of_events, place_of
from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import check_id, check_key, decode, encode, findable, labels, rows_of
from corral.backends.event_lookup import one_event
from corral.backends.queries import read_queries
from corral.backends.sqlite.appending import SEQ_BITS, append, fence, find_event, touch
from corral.errors import EventNotFound, SessionCold, SessionExists, SessionNotFound, StateConflict, TurnLost
from corral.messages import Page
from corral.sessions.event import ActorInfo, SessionEvent, SessionInfo, SessionKey, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.sessions.event import Draft, EventQuery, SessionQuery

_SQL = read_queries(Path(__file__).with_name("sessions.sql"))
_TURNS = read_queries(Path(__file__).with_name("turns.sql"))

_events = msgspec.json.Decoder(list[SessionEvent])

_SEQ_END = 1 << SEQ_BITS
# A line that nobody came back to is kept this long, so that a worker that slept may still find its ticket.
_ABANDONED_S = 3600.0


class SqliteSessions:
    """One row per session and per event; what a session owns goes with it, by a trigger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, key: SessionKey, *, actor: str = "", metadata: dict[str, Any], ttl_s: float | None) -> bool:
        """Make a session."""
        check_key(key)
        check_id("actor", actor, empty=True)
        packed = encode(metadata, "Metadata") if metadata else None

        def run(transaction: Transaction) -> bool:
            now = transaction.now
            bound = _bound(key, now) | {
                "actor": actor,
                "metadata": packed,
                "expires_at": None if ttl_s is None else now + ttl_s,
            }
            transaction.execute(_SQL["drop_expired"], bound)
            made = transaction.execute(_SQL["create"], bound).fetchall()
            return bool(made)

        return await self._engine.write(run)

    async def append(
        self, key: SessionKey, drafts: Sequence[Draft], *, turn: str | None = None, ttl_s: float | None = None
    ) -> list[SessionEvent]:
        """Append events."""
        check_key(key)
        if not findable(turn):
            raise TurnLost
        rows = rows_of(drafts)

        def run(transaction: Transaction) -> list[SessionEvent]:
            if turn is not None:
                fence(transaction, key, turn)
            return append(transaction, key, drafts, rows, turn=turn, ttl_s=ttl_s) if rows else []

        return await self._engine.write(run)

    async def events(self, key: SessionKey, query: EventQuery) -> Page[SessionEvent]:
        """List events."""
        check_limit(query.limit)
        before = min(read_cursor(query.cursor, int) or _SEQ_END, _SEQ_END)
        if not findable(key.tenant, key.session_id, query.actor, query.branch):
            return Page([])
        if query.event_id is not None:
            return await one_event(self.events, key, query)
        bound = {
            "tenant": key.tenant,
            "session_id": key.session_id,
            "branch": query.branch,
            "include_parents": query.include_parents,
            "actor": query.actor,
            "since": query.since,
            "roles": encode(query.roles, "Roles").decode() if query.roles else None,
            "labels": encode(labels(query.metadata), "Metadata").decode() if query.metadata else None,
            "has": encode(list(labels(dict.fromkeys(query.has))), "Metadata").decode() if query.has else None,
            "lacks": encode(list(labels(dict.fromkeys(query.lacks))), "Metadata").decode() if query.lacks else None,
            "before_seq": before,
            "limit": query.limit + 1,
            "quoted_id": encode(key.session_id, "The session id").decode(),
        }

        def run(view: View) -> tuple[bytes, int | None, float | None]:
            found: tuple[bytes, int | None, float | None] = view.execute(
                _SQL["events"], {**bound, "now": view.now}
            ).fetchone()
            return found

        # One row, decoded in one go: a row per event would give the interpreter's lock away and ask for it back each time.
        events, cold_seq, cold_at = await self._engine.read(run)
        return page_of_events(_events.decode(events), query, before, cold_seq, cold_at)

    async def get(self, key: SessionKey) -> SessionInfo | None:
        """Describe a session."""
        if not findable(key.tenant, key.session_id):
            return None
        row = await self._engine.read(lambda view: view.execute(_SQL["get"], _bound(key, view.now)).fetchone())
        return _info(row) if row else None

    async def sessions(self, tenant: str, query: SessionQuery) -> Page[SessionInfo]:
        """List sessions."""
        check_limit(query.limit)
        before_at, before_number = read_cursor(query.cursor, tuple[float, int]) or (None, None)
        bound = {
            "tenant": tenant,
            "actor": query.actor,
            "prefix": query.prefix,
            "before_at": before_at,
            "before_number": before_number,
            "limit": query.limit + 1,
        }
        if not findable(tenant, query.actor, query.prefix):
            return Page([])
        sql = _SQL["list" if query.actor is None else "list_of_actor"]
        rows = await self._engine.read(lambda view: view.execute(sql, {**bound, "now": view.now}).fetchall())
        page = page_of(rows, lambda last: (last[4], last[0]), query.limit)
        return Page([_info(row) for row in page.items], page.next_cursor)

    async def actors(
        self, tenant: str, *, limit: int = 100, cursor: str | None = None, prefix: str = ""
    ) -> Page[ActorInfo]:
        """List actors."""
        check_limit(limit)
        after = read_cursor(cursor, str)
        if not findable(tenant, after, prefix):
            return Page([])
        bound = {"tenant": tenant, "after": after, "prefix": prefix, "limit": limit + 1}
        rows = await self._engine.read(lambda view: view.execute(_SQL["actors"], {**bound, "now": view.now}).fetchall())
        infos = [ActorInfo(actor=actor, sessions=sessions, last_seen_at=seen) for actor, sessions, seen in rows]
        return page_of(infos, lambda last: last.actor, limit)

    async def read_state(self, key: SessionKey) -> State:
        """Read the state."""
        if not findable(key.tenant, key.session_id):
            return State(None, 0)
        row = await self._engine.read(lambda view: view.execute(_SQL["read_state"], _bound(key, view.now)).fetchone())
        return State(decode(row[0]), row[1]) if row and row[1] else State(None, 0)

    async def write_state(
        self, key: SessionKey, value: Any, *, expected_version: int | None = None, turn: str | None = None
    ) -> int:
        """Replace the state."""
        check_key(key)
        if not findable(turn):
            raise TurnLost
        state = encode(value, "State")

        def run(transaction: Transaction) -> int:
            if turn is not None:
                fence(transaction, key, turn)
            if expected_version is not None:
                row = transaction.execute(_SQL["read_state"], _bound(key, transaction.now)).fetchone()
                if (row[1] if row else 0) != expected_version:
                    raise StateConflict
            number, _, _ = touch(transaction, key, actor="", events=0, ttl_s=None)
            bound = {"number": number, "state": state}
            version: int = transaction.execute(_SQL["write_state"], bound).fetchall()[0][0]
            return version

        return await self._engine.write(run)

    async def fork(self, key: SessionKey, new_session_id: str, *, at_event: str | None = None) -> SessionInfo:
        """Copy a session."""
        if not findable(key.tenant, key.session_id):
            raise SessionNotFound
        copy = SessionKey(key.tenant, new_session_id)
        check_key(copy)
        return await self._engine.write(lambda transaction: _fork(transaction, key, copy, at_event))

    async def delete(self, tenant: str, *, session_id: str | None = None, actor: str | None = None) -> int:
        """Forget."""
        if not findable(tenant, session_id, actor):
            return 0
        bound = {"tenant": tenant, "session_id": session_id, "actor": actor}

        def run(transaction: Transaction) -> int:
            if session_id is not None:
                transaction.execute(_TURNS["drop_session"], bound)
                return transaction.execute(_SQL["delete_session"], bound).rowcount
            if actor is not None:
                return _forget_actor(transaction, bound)
            transaction.execute(_TURNS["drop_tenant"], bound)
            return transaction.execute(_SQL["delete_tenant"], bound).rowcount

        return await self._engine.write(run)

    async def delete_event(self, key: SessionKey, event_id: str) -> bool:
        """Delete one event."""
        if not findable(key.tenant, key.session_id, event_id):
            return False

        def run(transaction: Transaction) -> bool:
            session = transaction.execute(_SQL["get"], _bound(key, transaction.now)).fetchone()
            if session is None:
                return False
            try:
                seq, _ = find_event(transaction, session[0], event_id)
            except EventNotFound:
                if place_of(event_id) <= _cold_seq(transaction, session[0]):
                    raise SessionCold from None
                return False
            return transaction.execute(_SQL["delete_event"], {"id": session[0] << SEQ_BITS | seq}).rowcount > 0

        return await self._engine.write(run)

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""

        def run(transaction: Transaction) -> int:
            now = transaction.now
            transaction.execute(_TURNS["drop_abandoned"], {"before": now - _ABANDONED_S, "limit": limit})
            swept = transaction.execute(_SQL["expire_events"], {"now": now, "limit": limit}).rowcount
            if swept < limit:
                swept += transaction.execute(_SQL["expire_sessions"], {"now": now, "limit": limit - swept}).rowcount
            return swept

        return await self._engine.write(run)


def _bound(key: SessionKey, now: float) -> dict[str, Any]:
    return {"tenant": key.tenant, "session_id": key.session_id, "now": now}


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


def _cold_seq(transaction: Transaction, number: int) -> int:
    return int(transaction.execute(_SQL["cold_seq"], {"number": number}).fetchone()[0])


def _fork(transaction: Transaction, key: SessionKey, copy: SessionKey, at_event: str | None) -> SessionInfo:
    now = transaction.now
    source = transaction.execute(_SQL["get"], _bound(key, now)).fetchone()
    if source is None:
        raise SessionNotFound
    if transaction.execute(_SQL["get"], _bound(copy, now)).fetchone():
        raise SessionExists
    number = source[0]
    if _cold_seq(transaction, number):
        raise SessionCold
    upto = find_event(transaction, number, at_event)[0] if at_event is not None else _SEQ_END
    transaction.execute(_SQL["drop_expired"], _bound(copy, now))
    bound = {"tenant": key.tenant, "number": number, "upto": upto, "new_session_id": copy.session_id, "now": now}
    made = transaction.execute(_SQL["fork_session"], bound).fetchall()[0]
    bound["copy"] = made[0]
    for query in ("fork_events", "fork_branches"):
        transaction.execute(_SQL[query], bound)
    return _info(made)


def _forget_actor(transaction: Transaction, bound: dict[str, Any]) -> int:
    if transaction.execute(_SQL["cold_of_actor"], bound).fetchone():
        raise SessionCold
    transaction.execute(_SQL["void_turns_of_actor"], bound)
    deleted = transaction.execute(_SQL["delete_sessions_of_actor"], bound).rowcount
    transaction.execute(_SQL["delete_events_of_actor"], bound)
    transaction.execute(_SQL["forget_actor_name"], bound)
    transaction.execute(_SQL["forget_actor"], bound)
    return deleted
