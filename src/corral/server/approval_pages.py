"""One list of several that are each in order and come page by page: the newest of all of them first."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from corral.errors import CursorNotFound

Item: TypeAlias = tuple[float, str, dict[str, Any]]
"""When it was asked, its id, and what is shown of it."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """How far one of the lists was read: behind an item of the page that a cursor fetches."""

    cursor: str | None = None
    behind: tuple[float, str] | None = None
    over: bool = False


class Listing(msgspec.Struct, frozen=True):
    """A page of one of the lists."""

    items: list[Item]
    next_cursor: str | None


Fetch: TypeAlias = Callable[[Place, int], Awaitable[Listing]]
"""The page of so many items that a place is on."""


class Source:
    """One of the lists while it is read."""

    def __init__(self, fetch: Fetch, place: Place | None) -> None:
        """From a place on; none: it is left out."""
        self._fetch = fetch
        self.place = place or Place(over=True)
        self._waiting: list[Item] | None = None
        self._next: str | None = None

    async def head(self, limit: int) -> Item | None:
        """The next item; none: there are no more. `limit`: how many to fetch at once."""
        while not self.place.over:
            if self._waiting is None:
                page = await self._fetch(self.place, limit)
                behind = self.place.behind
                self._waiting = [item for item in page.items if behind is None or item[:2] < behind]
                self._next = page.next_cursor
            if self._waiting:
                return self._waiting[0]
            self.place = Place(self._next, None, self._next is None)
            self._waiting = None
        return None

    def take(self) -> Item:
        """Take the item that `head` named."""
        assert self._waiting  # noqa: S101 - `head` has looked
        item = self._waiting.pop(0)
        self.place = Place(self.place.cursor, item[:2])
        return item


async def merged(sources: Sequence[Source], limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """The newest `limit` of all, and the cursor of those after them."""
    items: list[dict[str, Any]] = []
    while True:
        heads = [(head[:2], source) for source in sources if (head := await source.head(limit)) is not None]
        if not heads:
            return items, None
        if len(items) == limit:
            return items, _written([source.place for source in sources])
        _, newest = max(heads, key=lambda one: one[0])
        items.append(newest.take()[2])


def _written(places: list[Place]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(places)).rstrip(b"=").decode()


def read_places(cursor: str | None, count: int) -> list[Place]:
    """Where the page of a cursor begins in each of the lists. Raises `CursorNotFound`."""
    if cursor is None:
        return [Place()] * count
    try:
        raw = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        places = msgspec.json.decode(raw, type=list[Place])
    except (ValueError, msgspec.MsgspecError) as error:
        raise CursorNotFound from error
    if len(places) != count:
        raise CursorNotFound
    return places
