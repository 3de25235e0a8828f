"""Notice what other processes do to the lines in which this one stands, without asking the file for each of them."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from corral.backends.queries import read_queries
from corral.backends.sqlite.connection import connect

if TYPE_CHECKING:
    from corral.backends.lines import Lines
    from corral.clock import Clock
    from corral.sessions.event import SessionKey

_SQL = read_queries(Path(__file__).with_name("turns.sql"))

_POLL_S = 0.002
# When nothing was written for a while, nobody is about to leave either.
_CALM_POLL_S = 0.01
_CALM_AFTER_S = 5.0
# Who holds a turn need only hear that it was taken away.
_HOLDING_POLL_S = 0.05
_PARK_AFTER_S = 1.0
_RECOVER_S = 1.0

# The turn that is first in a line, and whether its lease had run out when we looked.
_Head = tuple[str, bool]


class Watcher:
    """A thread that looks at `PRAGMA data_version` while this process has tickets, and sleeps when it has none."""

    def __init__(self, path: Path, lines: Lines, clock: Clock) -> None:
        self._path = path
        self._lines = lines
        self._clock = clock
        self._heads: dict[SessionKey, _Head | None] = {}
        self._starting = Lock()
        self._thread: Thread | None = None
        self._awake = Event()
        self._parked = False
        self._closed = False

    def rouse(self) -> None:
        """A ticket was taken: look on, if somebody wants to know."""
        if self._thread is None:
            if self._lines.watched:
                self._start()
        elif self._parked:
            self._awake.set()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._work, name="corral-sqlite-watcher", daemon=True)
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
                self._follow(connection)
            except sqlite3.Error:
                # A hint may be lost: waiters ask by themselves every second. Open the file afresh, not in a hurry.
                if connection is not None:
                    connection.close()
                    connection = None
                self._awake.wait(_RECOVER_S)
                continue
            self._park()
        if connection is not None:
            connection.close()

    def _park(self) -> None:
        self._awake.clear()
        self._parked = True
        if not self._lines.keys() and not self._closed:
            self._awake.wait()
        self._parked = False

    def _follow(self, connection: sqlite3.Connection) -> None:
        """Look on until this process has had no ticket for a while."""
        seen: int | None = None
        due = changed_at = 0.0
        busy_at = time.monotonic()
        while not self._closed:
            started = time.monotonic()
            keys = self._lines.keys()
            if keys:
                busy_at = started
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if version != seen or self._clock.now() >= due or any(key not in self._heads for key in keys):
                    due = self._look(connection, keys)
                if version != seen:
                    seen, changed_at = version, started
            elif started - busy_at > _PARK_AFTER_S:
                return
            time.sleep(self._pause(started, changed_at))

    def _pause(self, started: float, changed_at: float) -> float:
        if not self._lines.waiting:
            pause = _HOLDING_POLL_S
        else:
            pause = _POLL_S if started - changed_at < _CALM_AFTER_S else _CALM_POLL_S
        # Thousands of lines take a while to look at: never spend more than a fifth of a core on it.
        return max(pause, 4 * (time.monotonic() - started))

    def _look(self, connection: sqlite3.Connection, keys: list[SessionKey]) -> float:
        """Compare the head of each line with the last look; returns when the next lease runs out."""
        now = self._clock.now()
        due = float("inf")
        moved = []
        heads: dict[SessionKey, _Head | None] = {}
        for key in keys:
            row = connection.execute(_SQL["head"], (key.tenant, key.session_id)).fetchone()
            head = None if row is None else (row[0], row[1] <= now)
            heads[key] = head
            if key in self._heads:
                if head != self._heads[key]:
                    moved.append(key)
            elif self._news(key, head):
                moved.append(key)
            if row is not None and row[1] > now:
                due = min(due, row[1])
        self._heads = heads
        self._lines.moved(moved)
        return due

    def _news(self, key: SessionKey, head: _Head | None) -> bool:
        """At the first look: do our tickets believe anything else than what is in the file?"""
        if head is None or head[1]:
            return True
        tickets = self._lines.tickets(key)
        holding = [turn for turn, waits in tickets.items() if not waits]
        return tickets.get(head[0], False) or any(turn != head[0] for turn in holding)
