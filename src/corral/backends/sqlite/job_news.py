"""What a transaction did that others may wait for; handed over when it is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class JobNews:
    """Collected by the operations of one transaction."""

    __slots__ = ("all_taken", "due", "ended", "moved", "outbox", "tops")

    def __init__(self) -> None:
        self.tops: dict[tuple[str, int], float] = {}
        """Ranks of queues in which jobs got ready, and the highest pass given there."""
        self.all_taken = False
        """Whatever got ready was claimed in the same transaction: there is nothing that anybody need be woken for."""
        self.due: float | None = None
        """The earliest time for which a job was put off."""
        self.outbox = False
        """A callback is to be sent."""
        self.moved: dict[str, int] = {}
        """Jobs that have new events, with the number of the newest; 0 for those that moved otherwise."""

        self.ended: list[Sequence[Any]] = []
        """Jobs that ended and that somebody in this process waits for, whole, as rows."""

    def put_off(self, until: float) -> None:
        """A job is due at that time."""
        if self.due is None or until < self.due:
            self.due = until
