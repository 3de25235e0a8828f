"""The one thread of this process that writes: everything that queued up meanwhile goes into one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING

from corral.backends.sqlite.connection import open_database, translated
from corral.backends.sqlite.job_news import JobNews
from corral.backends.sqlite.lock import WriteLock
from corral.backends.sqlite.migrate import migrate
from corral.backends.sqlite.results import Job, deliver
from corral.errors import CorralError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

    from corral.backends.sqlite.doorbell import Doorbell
    from corral.backends.sqlite.standing import Standing
    from corral.clock import Clock
    from corral.sessions.event import SessionKey

# A transaction that took in everything under load would make the first caller wait for the last.
_BATCH_MAX = 256


class Transaction:
    """What an operation gets: a connection inside a transaction, the store's time, and a way to wake waiters."""

    __slots__ = ("_job_news", "connection", "execute", "expected", "now", "woken")

    def __init__(self, connection: sqlite3.Connection, now: float, expected: Container[str] = ()) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.now = now
        self.expected = expected
        """Jobs that somebody in this process wants to have, whole, as they end."""
        self.woken: list[SessionKey] = []
        self._job_news: JobNews | None = None

    @property
    def job_news(self) -> JobNews:
        """What to tell about jobs when this transaction is committed; none of its operations need be alone in it."""
        if self._job_news is None:
            self._job_news = JobNews()
        return self._job_news

    @property
    def news(self) -> JobNews | None:
        """What there is to tell, if anything is."""
        return self._job_news


class Writer:
    """Group commit. Each operation succeeds or fails alone; those of a batch become durable together."""

    def __init__(  # noqa: PLR0913 - who is to be woken, each by name
        self,
        path: Path,
        url: str,
        *,
        sync: str,
        clock: Clock,
        moved: Callable[[list[SessionKey]], None],
        told: Callable[[JobNews], None],
        doorbell: Doorbell,
        standing: Standing,
        expected: Container[str],
        committed: Callable[[], None],
    ) -> None:
        """`moved` and `told` wake who waits in this process, `doorbell` those of other processes."""
        self._path = path
        self._url = url
        self._sync = sync
        self._clock = clock
        self._moved = moved
        self._told = told
        self._doorbell = doorbell
        self._news: list[JobNews] = []
        self._standing = standing
        self._expected = expected
        self._committed = committed
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._gate = Lock()
        self._closed = False
        self._lock = WriteLock(path)
        self._connection: sqlite3.Connection | None = None
        self._thread = Thread(target=self._work, name="corral-sqlite-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, job: Job) -> None:
        """Queue an operation; its `run` gets a `Transaction`. It may run twice: only the last time counts."""
        with self._gate:
            if self._closed:
                raise StoreUnavailable(f"The store at {self._url} is closed.")
            self._queue.put(job)

    def finish(self) -> None:
        """Let the thread end after what is queued now."""
        with self._gate:
            self._closed = True
            self._queue.put(None)

    def join(self) -> None:
        """Wait, in a thread of the caller's, until it has ended."""
        self._thread.join()

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._write(batch)
            self._tell(batch)
            self._committed()
        self._close_connection()
        self._lock.close()

    def _tell(self, batch: list[Job]) -> None:
        """Wake all who wait for what was written.

        Other processes first, who have the longest way; then this one's loops, in one go: one that is woken twice is woken late.
        """
        news, self._news = self._news, []
        if news:
            self._doorbell.ring_known()
        for one in news:
            self._told(one)
        moved = [key for job in batch for key in job.woken]
        if moved:
            self._moved(moved)
        deliver(batch)
        if news:
            self._doorbell.ring_new()

    def _next_batch(self) -> list[Job] | None:
        job = self._queue.get()
        if job is None:
            return None
        batch = [job]
        with contextlib.suppress(Empty):
            while len(batch) < _BATCH_MAX:
                job = self._queue.get_nowait()
                if job is None:
                    self._queue.put(None)
                    break
                batch.append(job)
        return batch

    def _write(self, batch: list[Job]) -> None:
        try:
            if self._connection is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._commit(batch)
        except Exception as error:  # noqa: BLE001 - whatever it was, the callers are told
            for job in batch:
                job.fail(translated(error, self._url))

    def _commit(self, batch: list[Job]) -> None:
        try:
            self._transact(self._open(), batch)
        except Exception as error:  # noqa: BLE001 - a lone operation is told; among many, the guilty one is found
            self._undo(error)
            if len(batch) == 1:
                batch[0].fail(translated(error, self._url))
                return
            for job in batch:
                self._commit([job])

    def _transact(self, connection: sqlite3.Connection, batch: list[Job]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        # Microseconds are what the file keeps: what is told now reads the same later.
        transaction = Transaction(connection, round(self._clock.now(), 6), self._expected)
        for job in batch:
            if not job.abandoned:
                _run(job, transaction)
        while transaction.news is not None and transaction.news.tops and not transaction.news.all_taken:
            waiting = self._standing.next()
            if waiting is None:
                break
            batch.append(waiting)
            _run(waiting, transaction)
        connection.execute("COMMIT")
        if transaction.news is not None:
            self._news.append(transaction.news)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = open_database(self._path, self._url, sync=self._sync)
            try:
                migrate(connection, self._url, self._clock.now())
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _undo(self, error: Exception) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._close_connection()
        # After a full disk or a bad read the file is opened afresh, so that nothing stale outlives the fault.
        if isinstance(error, sqlite3.OperationalError):
            self._close_connection()

    def _close_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _run(job: Job, transaction: Transaction) -> None:
    connection = transaction.connection
    changes = connection.total_changes
    transaction.woken = job.woken = []
    job.error = None
    try:
        job.result = job.run(transaction)
    except CorralError as error:
        if connection.total_changes != changes:
            raise  # It wrote and then failed: the transaction is undone, and each operation runs by itself.
        job.fail(error)
