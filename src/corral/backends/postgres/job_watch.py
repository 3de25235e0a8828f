"""Who in this process wants to hear of work, of jobs and of callbacks, and how other processes get to know of it.

A job is notified about only if somebody follows it: followers write its id into `job_follows`, and whoever moves the
job looks there. So a flood of jobs that nobody watches costs no notification at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from corral.backends.lines import call_on
from corral.backends.queries import read_queries
from corral.errors import CorralError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from corral.backends.postgres.engine import Engine

T = TypeVar("T")

CHANNEL = "corral_jobs"

_SQL = read_queries(Path(__file__).with_name("job_watch.sql"))
_log = logging.getLogger("corral.backends.postgres")

# A follow is written again long before it runs out, and one that nobody takes back runs out by itself.
_KEEP_S = 180.0
_AGAIN_S = 60.0
# Somebody who was moving the job while the follow was being written may have missed it.
_SECOND_LOOK_S = 0.05

_names = msgspec.json.Decoder(list[str])


class WatchedJobs:
    """All watches of this process. Any thread may call, except where a loop is said to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._work: list[_Bell] = []
        self._callbacks: list[_Bell] = []
        self._jobs: list[_Watch] = []

    @property
    def watched(self) -> bool:
        """Whether anybody wants to know anything."""
        return bool(self._work or self._callbacks or self._jobs)

    def watch_work(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Call `woken` on the running loop when there may be work."""
        bell = _Bell(woken)
        self._work = _with(self._work, bell)
        self._engine.listen()

        def unwatch() -> None:
            self._work = _without(self._work, bell)

        return unwatch

    def watch_callbacks(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Call `woken` on the running loop when a callback may be due."""
        bell = _Bell(woken)
        self._callbacks = _with(self._callbacks, bell)
        self._engine.listen()

        def unwatch() -> None:
            self._callbacks = _without(self._callbacks, bell)

        return unwatch

    def watch_jobs(self, moved: Callable[[Sequence[str]], None]) -> _Watch:
        """Call `moved` on the running loop with followed jobs that moved."""
        watch = _Watch(self, self._engine, moved)
        self._jobs = _with(self._jobs, watch)
        self._engine.listen()
        return watch

    def unwatch_jobs(self, watch: _Watch) -> None:
        """Forget a watch."""
        self._jobs = _without(self._jobs, watch)

    def worked(self) -> None:
        """There may be work."""
        for bell in self._work:
            bell.ring()

    def called(self) -> None:
        """A callback may be due."""
        for bell in self._callbacks:
            bell.ring()

    def moved(self, ids: Sequence[str]) -> None:
        """These jobs moved."""
        for watch in self._jobs:
            watch.tell(ids)

    def moved_all(self) -> None:
        """Any job may have moved."""
        for watch in self._jobs:
            watch.tell_all()

    def heard(self, payload: str) -> None:
        """Another process, or this one, has notified."""
        kind, names = payload[:1], payload[1:]
        if kind == "w":
            self.worked()
        elif kind == "o":
            self.called()
        elif kind == "j" and not names:
            self.moved_all()
        elif kind == "j":
            try:
                self.moved(_names.decode(names))
            except msgspec.MsgspecError:
                _log.warning("Somebody else notifies on %r: %r", CHANNEL, payload)
        else:
            _log.warning("Somebody else notifies on %r: %r", CHANNEL, payload)

    def missed(self) -> None:
        """Notifications may have got lost: anything may have happened."""
        self.worked()
        self.called()
        self.moved_all()


class _Bell:
    """One loop's callback; ringing several times before the loop gets round to it is ringing once."""

    def __init__(self, woken: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = woken
        self._rung = False

    def ring(self) -> None:
        """Call back soon."""
        if not self._rung:
            self._rung = True
            call_on(self._loop, self._call)

    def _call(self) -> None:
        self._rung = False
        self._woken()


class _Watch:
    """One loop's followed jobs."""

    def __init__(self, watched: WatchedJobs, engine: Engine, moved: Callable[[Sequence[str]], None]) -> None:
        self._watched = watched
        self._engine = engine
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._followed: Counter[str] = Counter()
        self._untold: dict[str, None] = {}
        self._unwritten: dict[str, None] = {}
        self._writing: asyncio.Task[None] | None = None
        self._closed = False
        self._timers: set[asyncio.TimerHandle] = set()
        self._is_rewriting = False

    # -- on the loop that watches ------------------------------------------------------------------------------------

    def follow(self, job_id: str) -> None:
        """Be told about this job."""
        if self._closed:
            return
        self._followed[job_id] += 1
        if self._followed[job_id] == 1:
            self._write([job_id])
            if not self._is_rewriting:
                self._is_rewriting = True
                self._later(_AGAIN_S, self._write_again)

    def unfollow(self, job_id: str) -> None:
        """Be told no more. What was written runs out by itself: the job ends soon in most cases."""
        self._followed[job_id] -= 1
        if self._followed[job_id] <= 0:
            del self._followed[job_id]
            self._unwritten.pop(job_id, None)

    def close(self) -> None:
        """End the watch."""
        self._closed = True
        self._watched.unwatch_jobs(self)
        self._followed.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._writing is not None:
            self._writing.cancel()

    def _write(self, ids: Iterable[str]) -> None:
        self._unwritten.update(dict.fromkeys(ids))
        if self._writing is None:
            self._writing = self._loop.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._unwritten:
                ids, self._unwritten = list(self._unwritten), {}
                await self._engine.fetch(_SQL["follow"], ids, _KEEP_S)
                self.tell(ids)
                self._later(_SECOND_LOOK_S, partial(self.tell, ids))
        except CorralError as error:
            _log.debug("Followed jobs are not written down now, will try again: %s", error)
        finally:
            self._writing = None

    def _write_again(self) -> None:
        self._is_rewriting = bool(self._followed)
        if self._is_rewriting:
            self._write(self._followed)
            self._later(_AGAIN_S, self._write_again)

    def _later(self, delay_s: float, function: Callable[[], None]) -> None:
        if self._closed:
            return

        def call() -> None:
            self._timers.discard(timer)
            function()

        timer = self._loop.call_later(delay_s, call)
        self._timers.add(timer)

    # -- on any thread -------------------------------------------------------------------------------------------------

    def tell(self, ids: Iterable[str]) -> None:
        """Pass on what is followed."""
        ours = [job_id for job_id in ids if job_id in self._followed]
        if ours:
            call_on(self._loop, self._note, ours)

    def tell_all(self) -> None:
        """Anything may have moved."""
        call_on(self._loop, lambda: self._note(list(self._followed)))

    def _note(self, ids: list[str]) -> None:
        if not self._untold:
            self._loop.call_soon(self._call)
        self._untold.update(dict.fromkeys(ids))

    def _call(self) -> None:
        ids, self._untold = [job_id for job_id in self._untold if job_id in self._followed], {}
        if ids:
            self._moved(ids)


def _with(watches: list[T], one: T) -> list[T]:
    """A new list, because other threads walk through the old one."""
    return [*watches, one]


def _without(watches: list[T], one: T) -> list[T]:
    return [other for other in watches if other is not one]
