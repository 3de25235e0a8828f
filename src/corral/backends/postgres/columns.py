"""Drafts as the arrays that the functions `append` and `leave` take: one round trip, however many events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.errors import EventNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.encoding import Row

_SEQ_MAX = 2**32 - 1
_MS_MAX = 10**16 - 1


def columns_of(rows: Sequence[Row]) -> tuple[list[object], ...]:
    """Roles, actors, branches, places and times of roots, lives, labels, metadata and contents."""
    roots = [(None, None) if row.root is None else place_of(row.root) for row in rows]
    return (
        [row.role for row in rows],
        [row.actor for row in rows],
        [row.branch for row in rows],
        [seq for seq, _ in roots],
        [milliseconds for _, milliseconds in roots],
        [row.ttl_s for row in rows],
        [row.labels for row in rows],
        [row.metadata for row in rows],
        [row.content for row in rows],
    )


def place_of(event_id: str) -> tuple[int, int]:
    """Place and time in an event's id; an id that was never given out names no event."""
    milliseconds, _, seq = event_id.partition("#")
    try:
        place = int(seq, 16), int(milliseconds)
    except ValueError:
        raise EventNotFound from None
    if not (0 < place[0] <= _SEQ_MAX and 0 <= place[1] <= _MS_MAX):
        raise EventNotFound
    return place
