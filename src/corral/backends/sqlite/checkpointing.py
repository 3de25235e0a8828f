"""Brings the log into the file in a thread of its own: where a commit does that, all that come after it wait for the disk."""

from __future__ import annotations

import logging
import os
import sqlite3
import struct
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from corral.backends.sqlite.connection import connect
from corral.backends.sqlite.lock import WriteLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_log = logging.getLogger("corral.backends")

_PAGES = 4000
"""So long may the log get, 16 MB, before it begins anew."""
_LOOK_COMMITS = 50
_BESIDE = 2
"""So many times all that is there is taken over while others write on: hardly anything is left then."""

# As https://sqlite.org/fileformat2.html#walformat has them: the size of pages, and what all frames of a round say they belong to.
_HEADER = struct.Struct(">8xI4x8s8x")
_FRAME = struct.Struct(">8x8s8x")


class Checkpoints:
    """Told of commits. The little that came meanwhile is taken over in between two of them, and the next one writes at the top."""

    def __init__(self, path: Path, *, sync: str) -> None:
        self._path = path
        self._log_path = path.with_name(path.name + "-wal")
        self._sync = sync
        self._lock = WriteLock(path)
        self._commits = 0
        self._round = b""
        self._done = 0
        """How much of this round of the log was there the last time: somebody may read there, and hold it."""
        self._awake = Event()
        self._closed = False
        self._thread: Thread | None = None

    def committed(self) -> None:
        """Called by the one thread that writes. It hardly ever does more than count: asking the file, it would lose its turn."""
        self._commits += 1
        if self._commits % _LOOK_COMMITS == 0:
            self._awake.set()
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._work, name="corral-sqlite-checkpoints", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Let the thread end."""
        self._closed = True
        self._awake.set()

    def join(self) -> None:
        """Wait, in a thread of the caller's, until it has ended."""
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        connections: tuple[sqlite3.Connection, ...] = ()
        while self._awake.wait() and not self._closed:
            self._awake.clear()
            try:
                if not self._has_grown():
                    continue
                connections = connections or self._connections()
                connection, reader = connections
                for _ in range(_BESIDE):
                    with _reading(reader):
                        _checkpoint(connection)
                with self._lock:
                    self._done = _checkpoint(connection)
            except (sqlite3.Error, OSError) as error:
                # It is tried again, and when the log has grown four times as long, commits do it.
                _log.debug("The log of %s cannot be brought into the file: %s", self._path, error)
                _close(connections)
                connections = ()
        _close(connections)
        self._lock.close()

    def _connections(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        return connect(self._path, sync=self._sync), connect(self._path, sync=self._sync)

    def _has_grown(self) -> bool:
        """Whether the log has so many pages more than the last time, whichever process wrote them."""
        with self._log_path.open("rb", buffering=0) as log:
            header = os.pread(log.fileno(), _HEADER.size, 0)
            if len(header) < _HEADER.size:
                return False
            page_size, now = _HEADER.unpack(header)
            if now != self._round:
                self._round, self._done = now, 0
            at = _HEADER.size + (self._done + _PAGES - 1) * (_FRAME.size + page_size)
            frame = os.pread(log.fileno(), _FRAME.size, at)
        return len(frame) == _FRAME.size and _FRAME.unpack(frame) == (now,)


@contextmanager
def _reading(reader: sqlite3.Connection) -> Iterator[None]:
    """While somebody reads in the log it does not begin anew; and where all of it is in the file, a checkpoint does nothing then.

    SQLite before 3.51.3 may take commits for brought over that are not, and lose them, where a commit begins the log anew in
    the midst of a checkpoint (the "WAL-reset bug"): a process that is stopped there for a while is enough. In a commit, or
    under the writers' lock, that cannot be.
    """
    reader.execute("BEGIN")
    try:
        reader.execute("PRAGMA schema_version").fetchone()
        yield
    finally:
        reader.execute("ROLLBACK")


def _close(connections: tuple[sqlite3.Connection, ...]) -> None:
    for connection in connections:
        connection.close()


def _checkpoint(connection: sqlite3.Connection) -> int:
    """Take over what nobody reads in the log any more; how long it is."""
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return max(0, int(pages))
