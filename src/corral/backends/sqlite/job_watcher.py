"""Notice what other processes do to jobs that somebody waits for here: one look at `PRAGMA data_version`, mostly."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from corral.backends.encoding import encode
from corral.backends.queries import read_queries
from corral.backends.sqlite.connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.sqlite.doorbell import Doorbell
    from corral.backends.sqlite.job_hints import JobHints

_SQL = read_queries(Path(__file__).with_name("job_watcher.sql"))

# Without a doorbell the file is looked at more often, while there is news.
_POLL_S = 0.002
_CALM_POLL_S = 0.01
# With one that all know: it would have been lost on its way. Each look has the loop give the interpreter away three times.
_RUNG_POLL_S = 0.05
# How much rest may be put off, so that a few looks in a row are quick ones.
_OWED_MAX_S = 0.01
_CALM_AFTER_S = 5.0
_PARK_AFTER_S = 1.0
_RECOVER_S = 1.0
# Followed jobs are asked for so many at a time.
_CHUNK = 500

# Attempt, state and wish to cancel of a followed job, and the number of its newest event.
_Look = tuple[object, int]


class JobWatcher:
    """A thread that looks on while somebody in this process waits for jobs, and sleeps while nobody does."""

    def __init__(
        self, path: Path, hints: JobHints, doorbell: Doorbell, came: Callable[[dict[tuple[str, int], float]], None]
    ) -> None:
        """`came` is told of ranks of queues in which others made jobs ready, with the highest passes they gave there."""
        self._path = path
        self._hints = hints
        self._doorbell = doorbell
        self._came = came
        self._starting = Lock()
        self._thread: Thread | None = None
        self._awake = Event()
        self.parked = False
        """Whether the thread sleeps because nobody waits."""
        self._closed = False
        self._tops: dict[tuple[str, int], float] | None = None
        self._due: float | None = None
        self._outbox: tuple[int, float] | None = None
        self._known: dict[str, _Look] = {}
        self._seen: int | None = None
        """The version of the file that was looked at last."""
        self._follows = -1

    def rouse(self) -> None:
        """Somebody waits: look on."""
        if self._thread is None:
            if self._hints.watched:
                self._start()
        elif self.parked:
            self._awake.set()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._work, name="corral-sqlite-job-watcher", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Let the thread end."""
        with self._starting:
            self._closed = True
        self._awake.set()

    def join(self) -> None:
        """Wait, in a thread of the caller's, until it has ended."""
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while not self._closed:
            try:
                if connection is None:
                    connection = connect(self._path, sync="normal")
                    connection.execute("PRAGMA query_only = ON")
                self._doorbell.hang()
                self._watch(connection)
            except sqlite3.Error:
                # A hint may be lost: who waits asks by itself as well. Open the file afresh, not in a hurry.
                if connection is not None:
                    connection.close()
                    connection = None
                time.sleep(_RECOVER_S)
                continue
            self._park()
        self._doorbell.take_down()
        if connection is not None:
            connection.close()

    def _park(self) -> None:
        self._awake.clear()
        self.parked = True
        if not self._hints.watched and not self._closed:
            self._doorbell.take_down()
            self._awake.wait()
        self.parked = False

    def _watch(self, connection: sqlite3.Connection) -> None:
        """Look on until nobody has waited for a while. What happened while nobody looked is not known: hint at it."""
        self._tops = self._due = self._outbox = None
        self._known = {}
        self._seen = None
        owed = 0.0
        news_at = watched_at = rested = time.monotonic()
        while not self._closed:
            started = time.monotonic()
            if self._hints.watched:
                watched_at = started
                version = _version_of(connection)
                has_changed = version != self._seen
                self._seen = version
                # What this process did itself, such as renewing a claim, is no reason to look more often.
                if self._look(connection, has_changed=has_changed):
                    news_at = started
            elif started - watched_at > _PARK_AFTER_S:
                return
            # Thousands of jobs take a while to look at: for long, never spend more than a fifth of a core on it.
            looked = time.monotonic()
            owed = max(0.0, owed - (started - rested)) + 4 * (looked - started)
            rested = looked
            is_calm = self._doorbell.hangs or started - news_at >= _CALM_AFTER_S
            pause = _RUNG_POLL_S if self._doorbell.is_known else _CALM_POLL_S if is_calm else _POLL_S
            rest = max(0.0, owed - _OWED_MAX_S)
            if rest > 0:
                time.sleep(rest)
            if pause > rest:
                self._doorbell.wait(pause - rest)

    def _look(self, connection: sqlite3.Connection, *, has_changed: bool) -> bool:
        """True: there was something to hint at. Work comes last: whoever claims it then has the interpreter for itself."""
        hints = self._hints
        is_news = False
        if has_changed and hints.expected:
            is_news |= self._look_for_ends(connection, list(hints.expected))
        if hints.wants_outbox:
            if has_changed or self._outbox is None:
                is_news |= self._look_for_callbacks(connection)
        else:
            self._outbox = None
        follows = hints.follows
        if has_changed or follows != self._follows:
            self._follows = follows
            is_news |= self._look_at_jobs(connection, hints.followed(), has_changed=has_changed)
        if hints.wants_work:
            if has_changed or self._tops is None:
                is_news |= self._look_for_work(connection)
        else:
            self._tops = None
        return is_news

    def _look_for_work(self, connection: sqlite3.Connection) -> bool:
        """Did anything get ready that this process did not make ready, or is anything due earlier than before?"""
        tops = {(queue, rank): top for queue, rank, top in connection.execute(_SQL["tops"])}
        first = connection.execute(_SQL["first_due"]).fetchone()
        due = None if first is None else first[0]
        known, ours = self._tops, self._hints.tops
        is_earlier = due is not None and (self._due is None or due < self._due)
        self._tops, self._due = tops, due
        higher = {
            place: top
            for place, top in tops.items()
            if top > (known or {}).get(place, -1.0) and top > ours.get(place, -1.0)
        }
        if known is None or is_earlier:
            self._hints.work()
        elif higher:
            self._came(higher)
        return known is None or is_earlier or bool(higher)

    def _look_for_callbacks(self, connection: sqlite3.Connection) -> bool:
        """Did a callback come into the outbox, or is one due earlier than before?"""
        last, due = connection.execute(_SQL["outbox"]).fetchone()
        known = self._outbox
        self._outbox = (last, due)
        is_news = known is None or last > known[0] or due < known[1]
        if is_news:
            self._hints.outbox()
        return is_news

    def _look_for_ends(self, connection: sqlite3.Connection, expected: Sequence[str]) -> bool:
        """Which of the jobs that somebody waits for have ended: handed over as they are."""
        is_news = False
        for start in range(0, len(expected), _CHUNK):
            chunk = encode(expected[start : start + _CHUNK], "Ids").decode()
            for row in connection.execute(_SQL["ends"], (chunk,)).fetchall():
                is_news = True
                self._hints.ended(row)
        return is_news

    def _look_at_jobs(self, connection: sqlite3.Connection, followed: Sequence[str], *, has_changed: bool) -> bool:
        """Which followed jobs are not as they were; those seen for the first time count if anything changed meanwhile."""
        known = self._known
        asked = followed if has_changed else [job_id for job_id in followed if job_id not in known]
        looks: dict[str, _Look] = {}
        for start in range(0, len(asked), _CHUNK):
            chunk = encode(asked[start : start + _CHUNK], "Ids").decode()
            for job_id, look, seq in connection.execute(_SQL["looks"], (chunk,)):
                looks[job_id] = (look, seq)
        if not has_changed:
            if _version_of(connection) == self._seen:  # else this may be news already, which the next look tells
                known.update(looks)
            return False
        self._known = looks
        moved = [job_id for job_id, look in looks.items() if self._is_news(job_id, known.get(job_id), look)]
        self._hints.moved(moved)
        return bool(moved)

    def _is_news(self, job_id: str, before: _Look | None, look: _Look) -> bool:
        if before is None or before[0] != look[0]:
            return True
        return before[1] != look[1] and look[1] > self._hints.seqs.get(job_id, 0)


def _version_of(connection: sqlite3.Connection) -> int:
    """Another one than before once others have written."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)
