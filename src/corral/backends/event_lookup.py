"""One event by its id, found as a page of one: places rise with ids, so the page before the next place begins with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from corral.backends.cursor import write_cursor
from corral.messages import Page

_PLACE_END = 1 << 32

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from corral.sessions.event import EventQuery, SessionEvent, SessionKey

    ListEvents = Callable[[SessionKey, EventQuery], Awaitable[Page[SessionEvent]]]


async def one_event(list_events: ListEvents, key: SessionKey, query: EventQuery) -> Page[SessionEvent]:
    """A page with the event that `query.event_id` names, or an empty one."""
    wanted = query.event_id or ""
    _, _, digits = wanted.partition("#")
    try:
        place = int(digits, 16)
    except ValueError:
        return Page([])
    if not 0 < place < _PLACE_END:
        return Page([])
    at_it = msgspec.structs.replace(query, event_id=None, limit=1, cursor=write_cursor(place + 1))
    found = await list_events(key, at_it)
    return Page([event for event in found.items if event.id == wanted])
