"""One who follows a job: how far it is, and what it takes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from corral.jobs.job import JobEvent, JobInfo
from corral.jobs.states import TERMINAL

if TYPE_CHECKING:
    from corral.jobs.hub import JobHub
    from corral.jobs.topic import Topic


class News(msgspec.Struct, frozen=True):
    """What a follower has not heard yet. Both empty: nothing, so wait to be woken."""

    events: Sequence[JobEvent] = ()
    info: JobInfo | None = None
    """The job, where its state is another than was told before; the last one comes after the last event."""

    @property
    def last(self) -> bool:
        """Whether the job has ended, and nothing more is to come."""
        return self.info is not None and self.info.status in TERMINAL


NOTHING = News()


class Follower:
    """A place in the story of one job. Used by one task."""

    __slots__ = ("_hub", "_topic", "_version", "seq", "wants_events", "woken")

    def __init__(self, hub: JobHub, topic: Topic, woken: Callable[[], None], seq: int, *, wants_events: bool) -> None:
        """Made by `JobHub.follow`."""
        self._hub = hub
        self._topic = topic
        self._version = -1
        self.woken = woken
        self.seq = seq
        """The number of the last event that was taken."""
        self.wants_events = wants_events

    @property
    def info(self) -> JobInfo:
        """The job as it is known now; a large input is left out while it is open."""
        return self._topic.info

    @property
    def gone(self) -> bool:
        """Whether there is no use in waiting: the job was removed, or this worker leaves."""
        return self._topic.gone or self._hub.draining

    @property
    def draining(self) -> bool:
        """Whether this worker leaves, so that the client should come back to another one."""
        return self._hub.draining

    async def take(self) -> News:
        """What is there, without waiting for more. Raises `StoreUnavailable` where it must read and cannot."""
        topic = self._topic
        events: Sequence[JobEvent] = ()
        if self.wants_events and self.seq < topic.seq:
            if self.seq >= topic.floor:
                events = topic.since(self.seq)
            else:
                goal = topic.floor
                events = await self._hub.replay(topic, self.seq)
                if not events:  # they were let go of to keep the log short
                    self.seq = goal
            if events:
                self.seq = events[-1].seq
        info: JobInfo | None = None
        # How it ended is told after the last event: only when there is none that was not taken.
        if self._version != topic.version and not (topic.ended and self._behind()):
            self._version, info = topic.version, topic.info
        return News(events, info) if events or info is not None else NOTHING

    def _behind(self) -> bool:
        return self.wants_events and (self.seq < self._topic.seq or not self._topic.complete)

    def close(self) -> None:
        """Follow no longer. Calling it again does nothing."""
        self._hub.leave(self, self._topic)
