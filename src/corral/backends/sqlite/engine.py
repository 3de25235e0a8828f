"""One process's way to the database file: a thread that writes, a few that read, one that watches."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from corral.backends.lines import Lines
from corral.backends.migration import check_known
from corral.backends.sqlite.checkpointing import Checkpoints
from corral.backends.sqlite.connection import path_of, translated
from corral.backends.sqlite.doorbell import Doorbell
from corral.backends.sqlite.job_hints import JobHints
from corral.backends.sqlite.job_watcher import JobWatcher
from corral.backends.sqlite.migrate import NEWEST_FENCE, STEPS, version_of
from corral.backends.sqlite.reader import Readers, View
from corral.backends.sqlite.results import Errand, Job
from corral.backends.sqlite.standing import Standing
from corral.backends.sqlite.watcher import Watcher
from corral.backends.sqlite.writer import Transaction, Writer
from corral.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.clock import Clock

T = TypeVar("T")

_READERS = 2
_CHECK_S = 2.0
# The kernel frees the lock of a process that dies, but not of one that is stopped in the middle of a transaction.
_PATIENCE_S = 30.0


class Engine:
    """Runs operations off the event loop. Any loop of the process may call; each gets its answer on its own."""

    def __init__(self, url: str, *, sync: str, clock: Clock) -> None:
        self.url = url
        self.path = path_of(url)
        self.lines = Lines()
        self.job_hints = JobHints()
        self.standing = Standing()
        """Claims that wait for work."""
        self._sync = sync
        self._clock = clock
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._watcher: Watcher | None = None
        self._job_watcher: JobWatcher | None = None
        self._doorbell: Doorbell | None = None
        self._checkpoints: Checkpoints | None = None

    async def start(self) -> None:
        """Open the file and bring its schema up to date."""
        if self._writer is not None:
            return
        # Whoever changes the working directory later does not change the database.
        self.path = await asyncio.to_thread(self.path.absolute)
        self._watcher = Watcher(self.path, self.lines, self._clock)
        self._doorbell = doorbell = Doorbell(self.path)
        self._job_watcher = JobWatcher(self.path, self.job_hints, doorbell, self._came)
        self.job_hints.rouse = self._job_watcher.rouse
        self._checkpoints = Checkpoints(self.path, sync=self._sync)
        self._writer = Writer(
            self.path,
            self.url,
            sync=self._sync,
            clock=self._clock,
            moved=self.lines.moved,
            told=self.job_hints.told,
            doorbell=doorbell,
            standing=self.standing,
            expected=self.job_hints.expected,
            committed=self._checkpoints.committed,
        )
        self._readers = Readers(self.path, self.url, threads=_READERS, clock=self._clock)
        self._writer.start()
        try:
            await self.write(lambda _: None)
        except BaseException:
            await self.stop()
            raise
        self.job_hints.rouse()

    async def stop(self) -> None:
        """Finish what was accepted, and close."""
        doorbell, self._doorbell = self._doorbell, None
        parts = (self._writer, self._checkpoints, self._readers, self._watcher, self._job_watcher)
        self._writer = self._checkpoints = self._readers = self._watcher = self._job_watcher = None

        def end() -> None:
            running = [part for part in parts if part is not None]
            for part in running:
                part.finish()
            for part in running:
                part.join()
            if doorbell is not None:
                doorbell.put_down()

        await asyncio.to_thread(end)

    async def check(self) -> None:
        """Make sure that a transaction can begin now, in the file that the URL names now, and that its schema is one we know."""
        try:
            async with asyncio.timeout(_CHECK_S):
                await self.write(self._still_there)
        except TimeoutError:
            raise StoreUnavailable(
                f"The store at {self.url} did not answer within {_CHECK_S:g} seconds: another process holds its lock."
            ) from None

    async def schema_version(self) -> tuple[int, int]:
        """What the file has, and what this program knows."""
        try:
            return await asyncio.to_thread(version_of, self.path), len(STEPS)
        except Exception as error:
            raise translated(error, self.url) from error

    def rouse(self) -> None:
        """A ticket was taken: from now on, look what other processes do to its line."""
        if self._watcher is not None:
            self._watcher.rouse()

    async def write(self, run: Callable[[Transaction], T]) -> T:
        """Run in a transaction; durable when this returns. If the caller is cancelled, it happens all the same."""
        if self._writer is None:
            raise self._not_open()
        return await self._submit(self._writer.put, run)

    async def read(self, run: Callable[[View], T]) -> T:
        """Run on a connection that cannot write."""
        if self._readers is None:
            raise self._not_open()
        return await self._submit(self._readers.put, run)

    def _came(self, tops: dict[tuple[str, int], float]) -> None:
        """Another process made jobs ready: claims that wait here take them, without a way round by their loops."""
        writer = self._writer
        if writer is None or not self.standing.waits:
            self.job_hints.work()
            return
        with contextlib.suppress(StoreUnavailable):  # it closes: nobody here claims any more
            writer.put(Errand(lambda transaction: transaction.job_news.tops.update(tops)))

    async def _submit(self, put: Callable[[Job], None], run: Callable[[Any], T]) -> T:
        loop = asyncio.get_running_loop()
        job = Job(run, loop)
        put(job)
        patience = loop.call_later(_PATIENCE_S, job.give_up, self._too_late)
        try:
            result: T = await job.future
        finally:
            patience.cancel()
        return result

    def _too_late(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"The store at {self.url} did not answer within {_PATIENCE_S:g} seconds: the disk is stuck, or another "
            "process holds the lock and does not move. Whether the last change was kept is not known."
        )

    def _still_there(self, transaction: Transaction) -> None:
        file = transaction.execute("PRAGMA database_list").fetchone()[2]
        if not self.path.exists():
            raise StoreUnavailable(f"The store at {self.url} is gone: somebody removed {file}.")
        (version,) = transaction.execute(NEWEST_FENCE).fetchone()
        check_known(STEPS, version)

    def _not_open(self) -> StoreUnavailable:
        return StoreUnavailable(f"The store at {self.url} is not open; call start() first.")
