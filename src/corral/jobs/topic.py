"""One followed job, as this process knows it: its newest state, its newest events, and who listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from corral.jobs.job import JobEvent, JobInfo
from corral.jobs.states import TERMINAL

if TYPE_CHECKING:
    from corral.jobs.follower import Follower

KEPT_EVENTS = 500
KEPT_BYTES = 262_144
"""Of one job; who is further behind reads from the store."""
_SMALL_BYTES = 1024
_NOTHING = msgspec.Raw(b"null")


class Topic:
    """What all followers of one job share."""

    __slots__ = (
        "_kept",
        "_kept_bytes",
        "checked_at",
        "floor",
        "followers",
        "gone",
        "info",
        "job_id",
        "listeners",
        "read_again",
        "reading",
        "seq",
        "tenant",
        "timed",
        "version",
    )

    def __init__(self, tenant: str, info: JobInfo, now: float) -> None:
        """As the store said `now`."""
        self.tenant = tenant
        self.job_id = info.id
        self.followers: set[Follower] = set()
        self.listeners = 0
        """Followers that want events."""
        self.info = _lean(info)
        self.version = 0
        """Grows with each state that is worth telling."""
        self.checked_at = now
        self.seq = info.last_seq
        """The newest event that is known here."""
        self.floor = info.last_seq
        """Events above this number are at hand."""
        self._kept: list[JobEvent] = []
        self._kept_bytes = 0
        self.reading = False
        self.read_again = False
        self.timed = False
        """A look at its state is due in a moment."""
        self.gone = False
        """The job was removed."""

    @property
    def complete(self) -> bool:
        """Whether every event is known that the state knows of."""
        return self.seq >= self.info.last_seq

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.info.status in TERMINAL

    def wake(self) -> None:
        """Tell all followers that there is something to take."""
        for follower in self.followers:
            follower.woken()

    def learn(self, info: JobInfo, now: float) -> None:
        """Take over what the store said."""
        self.checked_at = now
        if _told(info) != _told(self.info):
            self.version += 1
        self.info = _lean(info)
        if not self.listeners and info.last_seq > self.seq:  # nobody waits for those events: a later one reads them
            self.seq = self.floor = info.last_seq
            self._kept.clear()
            self._kept_bytes = 0

    def add(self, events: Sequence[JobEvent]) -> None:
        """Keep events that follow those that are known."""
        self.forget_before(min((f.seq for f in self.followers if f.wants_events), default=self.seq))
        for event in events:
            if event.seq > self.seq:
                self.seq = event.seq
                self._kept.append(event)
                self._kept_bytes += _size(event)
        while self._kept and (len(self._kept) > KEPT_EVENTS or self._kept_bytes > KEPT_BYTES):
            self._let_go(max(1, len(self._kept) // 4))

    def skip_to(self, seq: int) -> None:
        """Events up to this one are no longer there."""
        self.seq = self.floor = max(self.seq, seq)
        self._kept.clear()
        self._kept_bytes = 0

    def since(self, seq: int) -> list[JobEvent]:
        """The events at hand above a number, which is not below the floor."""
        kept = self._kept
        start = len(kept)
        while start and kept[start - 1].seq > seq:
            start -= 1
        return kept[start:]

    def forget_before(self, seq: int) -> None:
        """Let go of what all followers have taken."""
        count = 0
        for event in self._kept:
            if event.seq > seq:
                break
            count += 1
        if count:
            self._let_go(count)

    def _let_go(self, count: int) -> None:
        self._kept_bytes -= sum(map(_size, self._kept[:count]))
        self.floor = self._kept[count - 1].seq
        del self._kept[:count]


def _size(event: JobEvent) -> int:
    return memoryview(event.data).nbytes


def _told(info: JobInfo) -> tuple[object, ...]:
    return info.status, info.attempt, info.cancel_requested, info.awaits


def _lean(info: JobInfo) -> JobInfo:
    """Without what is large, while nobody asks for it: a job may be followed for hours."""
    if info.status in TERMINAL or memoryview(info.input).nbytes <= _SMALL_BYTES:
        return info
    return msgspec.structs.replace(info, input=_NOTHING)
