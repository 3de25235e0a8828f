"""Wake those who wait for a session's turn: at once within this process, within milliseconds across processes."""

from __future__ import annotations

import sqlite3
import time
from asyncio import AbstractEventLoop, get_running_loop
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from corral.backends.queries import read_queries
from corral.backends.sqlite.connection import connect
from corral.backends.sqlite.results import call_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.clock import Clock
    from corral.sessions.event import SessionKey

_SQL = read_queries(Path(__file__).with_name("turns.sql"))

_POLL_S = 0.002
# When nothing was written for a while, nobody is about to leave either.
_CALM_POLL_S = 0.01
_CALM_AFTER_S = 5.0

# The turn that is first in a line, and whether its lease had run out when we looked.
_Head = tuple[str, bool]


class Watcher:
    """Who waits, and who wants to know. Looks at the file only while somebody waits."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = Lock()
        self._watching: list[tuple[AbstractEventLoop, Callable[[SessionKey], None]]] = []
        self._waiting: dict[SessionKey, set[str]] = {}
        self._heads: dict[SessionKey, _Head] = {}
        self._somebody = Event()
        self._closed = False
        self._thread: Thread | None = None

    def watch(self, woken: Callable[[SessionKey], None]) -> Callable[[], None]:
        """Call `woken` on the running loop whenever a line in which somebody here waits may have moved."""
        entry = (get_running_loop(), woken)
        with self._lock:
            self._watching = [*self._watching, entry]

        def unwatch() -> None:
            with self._lock:
                self._watching = [other for other in self._watching if other is not entry]

        return unwatch

    def wait(self, key: SessionKey, turn: str) -> None:
        """From now on `turn` waits here. Called inside the transaction that takes the ticket, so no move is missed."""
        with self._lock:
            self._waiting.setdefault(key, set()).add(turn)
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._work, name="corral-sqlite-watcher", daemon=True)
                self._thread.start()
        self._somebody.set()

    def forget(self, key: SessionKey, turn: str) -> None:
        """`turn` waits no longer: it was granted, lost or given back."""
        if key not in self._waiting:
            return
        with self._lock:
            turns = self._waiting.get(key, set())
            turns.discard(turn)
            if not turns:
                self._waiting.pop(key, None)
                self._heads.pop(key, None)

    def moved(self, keys: list[SessionKey]) -> None:
        """These lines moved, in this process and just now."""
        for key in dict.fromkeys(keys):
            if key in self._waiting:
                self._wake(key)

    def finish(self) -> None:
        """Let the thread end."""
        self._closed = True
        self._somebody.set()

    def join(self) -> None:
        """Wait, in a thread of the caller's, until it has ended."""
        if self._thread is not None:
            self._thread.join()

    def _wake(self, key: SessionKey) -> None:
        for loop, woken in self._watching:
            call_on(loop, woken, key)

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while True:
            self._somebody.wait()
            if self._closed:
                break
            try:
                if connection is None:
                    connection = connect(self._path, sync="normal")
                    connection.execute("PRAGMA query_only = ON")
                self._follow(connection)
            except sqlite3.Error:
                # A hint may be lost: waiters ask by themselves every second. Open the file afresh, not in a hurry.
                if connection is not None:
                    connection.close()
                    connection = None
                time.sleep(1.0)
        if connection is not None:
            connection.close()

    def _follow(self, connection: sqlite3.Connection) -> None:
        """Look on as long as somebody waits."""
        seen: int | None = None
        due = changed_at = 0.0
        while not self._closed:
            with self._lock:
                keys = list(self._waiting)
                if not keys:
                    self._somebody.clear()
                    return
            started = time.monotonic()
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            new = any(key not in self._heads for key in keys)
            if version != seen or new or self._clock.now() >= due:
                due = self._look(connection, keys)
                if version != seen:
                    seen, changed_at = version, started
            pause = _POLL_S if started - changed_at < _CALM_AFTER_S else _CALM_POLL_S
            # Thousands of lines take a while to look at: never spend more than a fifth of a core on it.
            time.sleep(max(pause, 4 * (time.monotonic() - started)))

    def _look(self, connection: sqlite3.Connection, keys: list[SessionKey]) -> float:
        """Compare the head of each line with the last look; returns when the next lease runs out."""
        now = self._clock.now()
        due = float("inf")
        for key in keys:
            head = connection.execute(_SQL["head"], (key.tenant, key.session_id)).fetchone()
            with self._lock:
                turns = self._waiting.get(key)
                if turns is None:
                    continue
                if head is None:  # Every ticket is void, ours too.
                    del self._waiting[key]
                    moved = True
                else:
                    turn, lease_until = head
                    before, seen = self._heads.get(key), (turn, lease_until <= now)
                    moved = seen != before and (before is not None or turn in turns or seen[1])
                    self._heads[key] = seen
            if moved:
                self._wake(key)
            if head is not None and head[1] > now:
                due = min(due, head[1])
        return due
