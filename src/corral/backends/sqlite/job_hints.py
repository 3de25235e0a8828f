"""Who in this process waits for jobs, and hints for them: as soon as something is committed here, or seen elsewhere."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from threading import Lock
from typing import TYPE_CHECKING, Any

from corral.backends.lines import call_on
from corral.backends.sqlite.job_rows import job_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from corral.backends.sqlite.job_news import JobNews
    from corral.jobs.job import JobInfo


class JobHints:
    """Any thread may tell; watches are begun on the loop that is to be woken."""

    def __init__(self) -> None:
        self.rouse: Callable[[], None] = _nobody
        """Called when somebody new waits."""
        self.tops: dict[tuple[str, int], float] = {}
        """The highest passes that this process gave itself: what it need not be told by others."""
        self.seqs: dict[str, int] = {}
        """Of jobs that are followed here, the newest event that was written here."""
        self.follows = 0
        """Grows whenever a job is followed."""
        self._lock = Lock()
        self._workers: list[_Bell] = []
        self._senders: list[_Bell] = []
        self._followed: dict[str, list[_Watch]] = {}
        self.expected: dict[str, _Expectation] = {}
        """Jobs that are handed to who waits for them as they end."""

    # -- who waits ----------------------------------------------------------------------------------------------------

    def watch_work(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Call `woken` when there may be something to claim."""
        return self._hang(self._workers, woken)

    def watch_outbox(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Call `woken` when a callback may be due."""
        return self._hang(self._senders, woken)

    def watch_jobs(self, moved: Callable[[Sequence[str]], None]) -> _Watch:
        """Call `moved` with followed jobs that moved."""
        return _Watch(self, get_running_loop(), moved)

    def expect(self, job_id: str, ended: Callable[[JobInfo], None]) -> Callable[[], None]:
        """Call `ended` with that job when it has ended."""
        self.expected[job_id] = _Expectation(get_running_loop(), ended)
        self.rouse()

        def take_down() -> None:
            self.expected.pop(job_id, None)

        return take_down

    @property
    def wants_work(self) -> bool:
        """Whether somebody waits for something to claim."""
        return bool(self._workers)

    @property
    def wants_outbox(self) -> bool:
        """Whether somebody waits for callbacks."""
        return bool(self._senders)

    @property
    def watched(self) -> bool:
        """Whether anybody waits for anything."""
        return bool(self._workers or self._senders or self._followed or self.expected)

    def followed(self) -> list[str]:
        """The jobs that somebody follows."""
        with self._lock:
            return list(self._followed)

    # -- what they are told -------------------------------------------------------------------------------------------

    def told(self, news: JobNews) -> None:
        """Something was committed here."""
        if news.tops:
            self.tops.update(news.tops)
        if (news.tops and not news.all_taken) or news.due is not None:
            self.work()
        if news.outbox:
            self.outbox()
        for row in news.ended:
            self.ended(row)
        if news.moved and self._followed:
            with self._lock:
                ours = self._followed.keys() & news.moved.keys()
                self.seqs.update((job_id, seq) for job_id in ours if (seq := news.moved[job_id]))
            self.moved(ours)

    def work(self) -> None:
        """There may be something to claim, or something due earlier than anybody thinks."""
        for bell in self._workers:
            bell.ring()

    def outbox(self) -> None:
        """A callback may be due."""
        for bell in self._senders:
            bell.ring()

    def moved(self, job_ids: Iterable[str]) -> None:
        """These followed jobs moved, or may have."""
        told: dict[_Watch, list[str]] = {}
        with self._lock:
            for job_id in job_ids:
                for watch in self._followed.get(job_id, ()):
                    told.setdefault(watch, []).append(job_id)
        for watch, ids in told.items():
            watch.tell(ids)

    def ended(self, row: Sequence[Any]) -> None:
        """A job has ended, and this is its row. Who expects it hears of it once."""
        expectation = self.expected.pop(row[1], None)
        if expectation is not None:
            expectation.tell(row)

    # -- what watches do ----------------------------------------------------------------------------------------------

    def follow(self, watch: _Watch, job_id: str) -> None:
        """Tell a watch about a job from now on."""
        with self._lock:
            self._followed.setdefault(job_id, []).append(watch)
            self.follows += 1
        self.rouse()

    def unfollow(self, watch: _Watch, job_id: str) -> None:
        """Tell it no more."""
        with self._lock:
            watches = self._followed.get(job_id)
            if watches is None:
                return
            watches.remove(watch)
            if not watches:
                del self._followed[job_id]
                self.seqs.pop(job_id, None)

    def _hang(self, bells: list[_Bell], woken: Callable[[], None]) -> Callable[[], None]:
        bell = _Bell(get_running_loop(), woken)
        with self._lock:
            bells.append(bell)
        self.rouse()

        def take_down() -> None:
            with self._lock:
                if bell in bells:
                    bells.remove(bell)

        return take_down


class _Bell:
    """One loop's callback; rung many times before the loop gets round to it, it is called once."""

    def __init__(self, loop: AbstractEventLoop, woken: Callable[[], None]) -> None:
        self._loop = loop
        self._woken = woken
        self._rung = False

    def ring(self) -> None:
        """Call back, soon."""
        if not self._rung:
            self._rung = True
            call_on(self._loop, self._call)

    def _call(self) -> None:
        # First, so that what happens from here on rings again.
        self._rung = False
        self._woken()


class _Expectation:
    """One who waits for the end of one job, on one loop."""

    __slots__ = ("_ended", "_loop")

    def __init__(self, loop: AbstractEventLoop, ended: Callable[[JobInfo], None]) -> None:
        self._loop = loop
        self._ended = ended

    def tell(self, row: Sequence[Any]) -> None:
        """Hand the job over, soon; read out of its row where nobody else waits meanwhile."""
        call_on(self._loop, self._call, row)

    def _call(self, row: Sequence[Any]) -> None:
        self._ended(job_info(row))


class _Watch:
    """One follower of jobs, on one loop."""

    def __init__(self, hints: JobHints, loop: AbstractEventLoop, moved: Callable[[Sequence[str]], None]) -> None:
        self._hints = hints
        self._loop = loop
        self._moved = moved
        self._lock = Lock()
        self._counts: dict[str, int] = {}
        self._untold: dict[str, None] = {}

    def follow(self, job_id: str) -> None:
        """Be told about this job."""
        times = self._counts[job_id] = self._counts.get(job_id, 0) + 1
        if times == 1:
            self._hints.follow(self, job_id)

    def unfollow(self, job_id: str) -> None:
        """Be told no more."""
        times = self._counts.get(job_id, 0) - 1
        if times > 0:
            self._counts[job_id] = times
        elif times == 0:
            del self._counts[job_id]
            self._hints.unfollow(self, job_id)

    def close(self) -> None:
        """End the watch."""
        for job_id in self._counts:
            self._hints.unfollow(self, job_id)
        self._counts.clear()

    def tell(self, job_ids: Sequence[str]) -> None:
        """Call back for these jobs, soon; several hints before the loop gets round to it are one."""
        with self._lock:
            scheduled = bool(self._untold)
            self._untold.update(dict.fromkeys(job_ids))
        if not scheduled:
            call_on(self._loop, self._flush)

    def _flush(self) -> None:
        with self._lock:
            told, self._untold = self._untold, {}
        if ours := [job_id for job_id in told if job_id in self._counts]:
            self._moved(ours)


def _nobody() -> None:
    """Nobody looks what other processes do, until the engine has started."""
