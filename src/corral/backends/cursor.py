"""Where a page ended, as an opaque string that fetches the next one."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, TypeVar

import msgspec

from corral.errors import CursorNotFound, ValidationFailed
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Place = TypeVar("Place")


def read_cursor(cursor: str | None, kind: type[Place]) -> Place | None:
    """The place a cursor stands for; a cursor that is not ours is the caller's mistake."""
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(
            b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True), type=kind
        )
    except (ValueError, msgspec.MsgspecError) as error:
        raise CursorNotFound from error


def write_cursor(place: object) -> str:
    """The cursor that stands for a place."""
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def page_of(rows: list[T], place: Callable[[T], object], limit: int) -> Page[T]:
    """A page of at most `limit`, out of rows that were asked for one more than that."""
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], write_cursor(place(rows[limit - 1])))


def check_limit(limit: int) -> int:
    """A page has at least one item."""
    if limit < 1:
        raise ValidationFailed(f"A page of {limit} items cannot be listed; ask for at least 1.")
    return limit
