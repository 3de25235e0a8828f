"""What lies in the archive is not in a database: who needs it is told so, rather than given a part for the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cursor import page_of, write_cursor
from corral.errors import SessionCold
from corral.messages import Page
from corral.sessions.event import KeptEvent, Segment, SessionKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.sessions.event import EventQuery, SessionEvent

NOWHERE = 1 << 62
"""No session has so many events."""


def page_of_events(
    events: list[SessionEvent], query: EventQuery, before: int, cold_seq: int | None, cold_at: float | None
) -> Page[SessionEvent]:
    """A page out of events that were asked for one more than it may hold, all from before the place `before`.

    Events up to the place `cold_seq` lie in the archive, the newest of them from `cold_at`; none: there is no such session.
    Raises `SessionCold` if the page could hold some of those. One that is full just so goes on there.
    """
    page = page_of(events, _seq, query.limit)
    if page.next_cursor is not None or not cold_seq or query.warm_only or before <= 1:
        return page
    if query.since is not None and (cold_at or 0.0) < query.since:
        return page
    if len(events) < query.limit:
        raise SessionCold
    return Page(events, write_cursor(_seq(events[-1])))


def _seq(event: SessionEvent) -> int:
    return event.seq


def place_of(event_id: str) -> int:
    """The place that an event's id names; `NOWHERE` for what is no id of ours."""
    _, _, digits = event_id.partition("#")
    try:
        return int(digits, 16)
    except ValueError:
        return NOWHERE


def segment_of(row: Sequence[Any]) -> Segment:
    """A segment out of the columns that both engines select."""
    tenant, session_id, number, first_seq, last_seq, events, size, name, digest, cold_at, next_expiry = row
    return Segment(
        key=SessionKey(tenant, session_id),
        number=number,
        first_seq=first_seq,
        last_seq=last_seq,
        events=events,
        bytes=size,
        object=name,
        digest=digest,
        cold_at=cold_at,
        next_expiry=next_expiry,
    )


def kept_event(row: Sequence[Any]) -> KeptEvent:
    """An event out of all its columns, as it goes to the archive."""
    seq, created_at, expires_at, role, actor, branch, turn, labels, metadata, content = row
    return KeptEvent(
        seq=seq,
        created_at=created_at,
        expires_at=expires_at,
        role=role,
        actor=actor,
        branch=branch,
        turn=turn,
        labels=labels,
        metadata=msgspec.Raw(metadata or b"null"),
        content=msgspec.Raw(content),
    )


def metadata_of(event: KeptEvent) -> bytes | None:
    """An event's metadata as engines write it."""
    raw = bytes(event.metadata)
    return None if raw == b"null" else raw
