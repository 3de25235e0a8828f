"""Append events inside a transaction, fenced by the turn that writes them: shared by `append` and `leave`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.cold import place_of
from corral.backends.queries import read_queries
from corral.errors import EventNotFound, SessionCold, TurnLost
from corral.sessions.event import Draft, SessionEvent, event_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.encoding import Row
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.sessions.event import SessionKey

_SQL = read_queries(Path(__file__).with_name("appending.sql"))
_TURNS = read_queries(Path(__file__).with_name("turns.sql"))

SEQ_BITS = 32
_SEQ_MASK = (1 << SEQ_BITS) - 1


def fence(transaction: Transaction, key: SessionKey, turn: str) -> None:
    """Refuse unless `turn` is the first in the session's line at this moment."""
    head = transaction.execute(_TURNS["head"], (key.tenant, key.session_id)).fetchone()
    if head is None or head[0] != turn:
        raise TurnLost


def touch(
    transaction: Transaction, key: SessionKey, *, actor: str, events: int, ttl_s: float | None
) -> tuple[int, int, float]:
    """Make sure the session lives, and reserve places for new events: its number, the last place, the time to write.

    An expired session that was not swept yet gives way to a new one. Time never runs backwards within a session, so
    that event ids sort as places do.
    """
    now = transaction.now
    bound = {
        "tenant": key.tenant,
        "session_id": key.session_id,
        "actor": actor,
        "events": events,
        "now": now,
        "expires_at": None if ttl_s is None else now + ttl_s,
    }
    touched = transaction.execute(_SQL["touch"], bound).fetchall()
    if not touched:
        transaction.execute(_SQL["delete_session"], bound)
        touched = transaction.execute(_SQL["touch"], bound).fetchall()
    number, last_seq, written_at = touched[0]
    return number, last_seq, written_at


def append(
    transaction: Transaction,
    key: SessionKey,
    drafts: Sequence[Draft],
    rows: Sequence[Row],
    *,
    turn: str | None,
    ttl_s: float | None,
) -> list[SessionEvent]:
    """Write `rows` (the encoded `drafts`) at the end of the session."""
    actor = next((row.actor for row in rows if row.actor), "")
    number, last_seq, now = touch(transaction, key, actor=actor, events=len(rows), ttl_s=ttl_s)
    events = []
    for seq, (draft, row) in enumerate(zip(drafts, rows, strict=True), start=last_seq - len(rows) + 1):
        if row.branch != "main":
            _branch(transaction, number, seq, row)
        expires_at = None if row.ttl_s is None else round(now + row.ttl_s, 6)
        transaction.execute(
            _SQL["append"],
            (
                number << SEQ_BITS | seq, now, expires_at, row.role, row.actor, row.branch, turn,
                row.labels, row.metadata, row.content,
            ),
        )  # fmt: skip
        events.append(
            SessionEvent(
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
                expires_at=expires_at,
            )
        )
    return events


def find_event(view: Transaction | View, number: int, wanted: str) -> tuple[int, str]:
    """The place and the branch of a live event, by its id."""
    _, _, digits = wanted.partition("#")
    try:
        seq = int(digits, 16) & _SEQ_MASK
    except ValueError:
        raise EventNotFound from None
    row = view.execute(_SQL["find_event"], (number << SEQ_BITS | seq, view.now)).fetchone()
    if row is None or event_id(row[0], seq) != wanted:
        raise EventNotFound
    return seq, row[1]


def _branch(transaction: Transaction, number: int, seq: int, row: Row) -> None:
    """Note where a branch leaves its parent, when this is its first event."""
    if transaction.execute(_SQL["has_branch"], (number, row.branch)).fetchone():
        return
    left_at, parent = 0, None
    cold_seq = transaction.execute(_SQL["cold_seq"], (number,)).fetchone()[0]
    if row.root is not None:
        try:
            left_at, parent = find_event(transaction, number, row.root)
        except EventNotFound:
            if place_of(row.root) <= cold_seq:
                raise SessionCold from None
            raise
    elif before := transaction.execute(_SQL["event_before"], (number << SEQ_BITS, number << SEQ_BITS | seq)).fetchone():
        left_at, parent = before[0] & _SEQ_MASK, before[1]
    elif cold_seq:
        raise SessionCold
    transaction.execute(_SQL["add_branch"], (number, row.branch, parent, left_at))
