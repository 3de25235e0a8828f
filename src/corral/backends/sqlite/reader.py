"""A few threads that read. They see what was committed last, and never wait for a writer."""

from __future__ import annotations

import sqlite3
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING

from corral.backends.sqlite.connection import connect, translated
from corral.backends.sqlite.results import Job, deliver
from corral.errors import StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from corral.clock import Clock


class View:
    """What a read gets: a connection that cannot write, and the store's time."""

    __slots__ = ("connection", "execute", "now")

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.now = now


class Readers:
    """Reader threads with a connection each, started when somebody first reads."""

    def __init__(self, path: Path, url: str, *, threads: int, clock: Clock) -> None:
        self._path = path
        self._url = url
        self._clock = clock
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._gate = Lock()
        self._closed = False
        self._started = False
        self._threads = [
            Thread(target=self._work, name=f"corral-sqlite-reader-{number}", daemon=True) for number in range(threads)
        ]

    def put(self, job: Job) -> None:
        """Queue a read; its `run` gets a `View`."""
        with self._gate:
            if self._closed:
                raise StoreUnavailable(f"The store at {self._url} is closed.")
            if not self._started:
                self._started = True
                for thread in self._threads:
                    thread.start()
            self._queue.put(job)

    def finish(self) -> None:
        """Let every thread end after what is queued now."""
        with self._gate:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)

    def join(self) -> None:
        """Wait, in a thread of the caller's, until all have ended."""
        for thread in self._threads:
            if self._started:
                thread.join()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while (job := self._queue.get()) is not None:
            try:
                if connection is None:
                    connection = connect(self._path, sync="normal")
                    connection.execute("PRAGMA query_only = ON")
                job.result = job.run(View(connection, self._clock.now()))
            except Exception as error:  # noqa: BLE001 - whatever it was, the caller is told
                job.error = translated(error, self._url)
                if connection is not None and isinstance(error, sqlite3.DatabaseError):
                    connection.close()
                    connection = None
            deliver([job])
        if connection is not None:
            connection.close()
