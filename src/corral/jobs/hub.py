"""Followers of jobs in one process: one watch on the store, and one read per changed job however many follow it.

Nobody has a queue of its own. The newest events of a followed job lie on its topic, each follower knows how far it is, and
one that fell behind reads what it missed from the store: it holds up nobody, and costs no memory while it is slow.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import JobNotFound, Overloaded, StoreUnavailable
from corral.jobs.bell import Bell
from corral.jobs.expected import Expected
from corral.jobs.follower import Follower
from corral.jobs.job import JobEvent, JobInfo
from corral.jobs.states import TERMINAL
from corral.jobs.store import JobRecords, JobStore, JobWatch
from corral.jobs.topic import Topic

_log = logging.getLogger("corral.jobs")

_READERS_MAX = 8
"""Topics that are read at once; the others wait for their turn."""
_POLLED_MAX = 200
"""Topics that one safety look reads: with more, each is looked at less often."""
_PAGE = 200
_STATE_S = 0.01
"""While events pour in, the state is read this often; where there are none, at once."""


class JobHub:
    """What becomes of jobs, told to all who follow them. All methods are called on one loop."""

    def __init__(
        self,
        jobs: JobStore,
        records: JobRecords,
        *,
        poll_s: float = 1.0,
        followers_max: int = 50_000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`poll_s`: how often followed jobs are looked at although nobody hinted at them."""
        self._jobs = jobs
        self._records = records
        self._poll_s = poll_s
        self._now = clock.monotonic
        self._topics: dict[str, Topic] = {}
        self._looked_up: dict[str, bool] = {}
        """Jobs that are being looked up, and whether they moved meanwhile."""
        self._expected: dict[str, Expected] = {}
        self._dirty: dict[Topic, None] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._watch: JobWatch | None = None
        self._poller: asyncio.Task[None] | None = None
        self._replays = asyncio.Semaphore(_READERS_MAX)
        self._leavers: set[Callable[[], None]] = set()
        self._count = 0
        self._followers_max = followers_max
        self.draining = False
        """Followers are told to go: their clients find another worker."""

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether nobody more can follow."""
        return self._count >= self._followers_max

    @property
    def jobs_followed(self) -> int:
        """How many jobs somebody follows."""
        return len(self._topics)

    # -- life

    async def start(self) -> None:
        """Begin to watch. Calling it again does nothing."""
        if self._watch is None:
            self._watch = self._jobs.watch_jobs(self._moved)
            self._poller = asyncio.create_task(self._poll())

    def drain(self) -> None:
        """Have all followers leave, now and from now on; each goes on at another worker."""
        self.draining = True
        for topic in self._topics.values():
            topic.wake()
        for leave in self._leavers:
            leave()

    def on_drain(self, leave: Callable[[], None]) -> Callable[[], None]:
        """Have `leave` called when this worker leaves; call what is returned when that is of no interest any more."""
        self._leavers.add(leave)
        return lambda: self._leavers.discard(leave)

    async def stop(self) -> None:
        """End the watch. Calling it again does nothing."""
        self.drain()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        tasks = list(self._readers)
        if self._poller is not None:
            tasks.append(self._poller)
            self._poller = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- followers

    async def follow(
        self, tenant: str, job_id: str, woken: Callable[[], None], *, after: int = 0, events: bool = True
    ) -> Follower:
        """Follow a job: `woken` is called when there may be something to take. Raises `JobNotFound`. Close it in the end.

        Begins with the events after number `after`; without `events`, only its states are told.
        """
        if self.is_full:
            raise Overloaded(
                f"This worker has as many followers of jobs as it may ({self._followers_max}).", retry_after_s=1
            )
        topic = self._topics.get(job_id)
        # An end may be taken back, and a number that is not known here may be a newer one.
        if topic is None or topic.tenant != tenant or topic.ended or after > topic.seq:
            topic = await self._look_up(tenant, job_id)
        follower = Follower(self, topic, woken, min(after, max(topic.seq, topic.info.last_seq)), wants_events=events)
        topic.followers.add(follower)
        self._count += 1
        topic.listeners += events
        if not topic.complete and events:
            self._mark(topic)
        return follower

    async def wait(self, tenant: str, job_id: str, seconds: float) -> JobInfo:
        """The job as soon as it has ended, or as it is after so many seconds, or when this worker leaves."""
        bell, until = Bell(), self._now() + seconds
        follower = await self.follow(tenant, job_id, bell.ring, events=False)
        try:
            while True:
                left_s = until - self._now()
                if follower.info.status in TERMINAL or follower.gone or left_s <= 0:
                    return follower.info
                await bell.wait(left_s)
        finally:
            follower.close()

    @contextmanager
    def expecting(self, job_id: str) -> Iterator[Expected]:
        """Watch a job that is about to be enqueued under this id: whoever hands it in and waits hears of it the soonest.

        It counts as a follower: ask `is_full` before.
        """
        self._count += 1
        expected = self._expected[job_id] = Expected(self, self._records, job_id, self._now, self._poll_s)
        forget = self.on_drain(expected.moved)
        watch = self._watch
        forget_end = None if watch is None else self._jobs.expect(job_id, expected.ended)
        if watch is not None and forget_end is None:
            watch.follow(job_id)
        try:
            yield expected
        finally:
            if forget_end is not None:
                forget_end()
            elif watch is not None:
                watch.unfollow(job_id)
            forget()
            del self._expected[job_id]
            self._count -= 1

    def leave(self, follower: Follower, topic: Topic) -> None:
        """`Follower.close` calls this."""
        if follower not in topic.followers:
            return
        topic.followers.discard(follower)
        self._count -= 1
        topic.listeners -= follower.wants_events
        if not topic.followers:
            self._dirty.pop(topic, None)
            if self._topics.get(topic.job_id) is topic:
                del self._topics[topic.job_id]
                if self._watch is not None:
                    self._watch.unfollow(topic.job_id)

    async def replay(self, topic: Topic, after: int) -> Sequence[JobEvent]:
        """What a follower that is far behind has missed, or the beginning of it."""
        async with self._replays:
            return await self._records.events(topic.tenant, topic.job_id, after=after, limit=_PAGE)

    async def _look_up(self, tenant: str, job_id: str) -> Topic:
        """The topic of a job, as it is now. Watched before it is read, so that nothing is missed in between."""
        self._looked_up.setdefault(job_id, False)
        watch = self._watch
        if watch is not None:
            watch.follow(job_id)
        try:
            info = await self._records.get(tenant, job_id)
            moved = self._looked_up.get(job_id, True)
            if info is None:
                raise JobNotFound(f"There is no job {job_id[:100]!r}.")
            topic = self._topics.get(job_id)
            if topic is None:
                topic = self._topics[job_id] = Topic(tenant, info, self._now())
                if watch is not None:
                    watch.follow(job_id)
            else:
                topic.learn(info, self._now())
                topic.wake()
        finally:
            self._looked_up.pop(job_id, None)
            if watch is not None:
                watch.unfollow(job_id)
        if moved:
            self._mark(topic)
        return topic

    # -- news

    def _moved(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            topic = self._topics.get(job_id)
            if topic is not None:
                self._mark(topic)
            if job_id in self._looked_up:
                self._looked_up[job_id] = True
            expected = self._expected.get(job_id)
            if expected is not None:
                expected.moved()

    def _mark(self, topic: Topic) -> None:
        """Have the topic read, soon and once."""
        self._dirty[topic] = None
        if len(self._readers) < min(_READERS_MAX, len(self._dirty)) and self._watch is not None:
            reader = asyncio.get_running_loop().create_task(self._read_all())
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)

    async def _read_all(self) -> None:
        while self._dirty:
            topic = next(iter(self._dirty))
            del self._dirty[topic]
            if not topic.followers:
                continue
            if topic.reading:
                topic.read_again = True
                continue
            topic.reading = True
            try:
                await self._read(topic)
            except StoreUnavailable as error:  # the next look will do
                _log.debug("Followed jobs cannot be read: %s", error)
            except Exception:  # noqa: BLE001 - whatever it is, the other topics are read
                _log.exception("What became of a followed job could not be read.")
            finally:
                topic.reading = False
            if topic.read_again:
                topic.read_again = False
                self._dirty[topic] = None

    async def _read(self, topic: Topic) -> None:
        """Its new events and its state; where both are needed in quick succession, the state not each time."""
        if topic.listeners and self._now() - topic.checked_at < _STATE_S and await self._read_events(topic):
            topic.wake()
            self._mark_later(topic)
            return
        info = await self._records.get(topic.tenant, topic.job_id)
        if info is None:
            topic.gone = True
        else:
            topic.learn(info, self._now())
            while topic.listeners and not topic.complete:
                if not await self._read_events(topic):
                    topic.skip_to(info.last_seq)
                topic.wake()
        topic.wake()

    async def _read_events(self, topic: Topic) -> bool:
        events = await self._records.events(topic.tenant, topic.job_id, after=topic.seq, limit=_PAGE)
        topic.add(events)
        return bool(events)

    def _mark_later(self, topic: Topic) -> None:
        if not topic.timed:
            topic.timed = True
            asyncio.get_running_loop().call_later(_STATE_S, self._mark_timed, topic)

    def _mark_timed(self, topic: Topic) -> None:
        topic.timed = False
        if topic.followers:
            self._mark(topic)

    async def _poll(self) -> None:
        """Hints may be lost: look at the jobs that were looked at the longest ago."""
        while True:
            await asyncio.sleep(self._poll_s)
            before = self._now() - self._poll_s
            old = [topic for topic in self._topics.values() if topic.checked_at <= before]
            for topic in heapq.nsmallest(_POLLED_MAX, old, key=lambda topic: topic.checked_at):
                self._mark(topic)
