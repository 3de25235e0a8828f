"""One process's way to PostgreSQL: connections on one home loop, whichever loop asks; and what to do when it is away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from corral.backends.lines import Lines
from corral.backends.migration import check_known
from corral.backends.postgres.absence import Absence, is_away
from corral.backends.postgres.connections import Connections, connect
from corral.backends.postgres.failures import Fate, fate_of, translated, without_password
from corral.backends.postgres.job_watch import CHANNEL, WatchedJobs
from corral.backends.postgres.listener import Channel, Listener, channel_of_lines
from corral.backends.postgres.migrate import NEWEST_FENCE, STEPS, applied, migrate
from corral.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

T = TypeVar("T")

# A restart of PostgreSQL takes a second or two; a failover longer. Who asks waits this long before hearing 503, until it is
# away for long (see `Absence`).
_PATIENCE_S = 10.0
_CHECK_S = 2.0
_PAUSE_S = 0.05
_PAUSE_MAX_S = 0.5


class Engine:
    """Runs statements, each on a connection of its own for as long as it takes."""

    def __init__(self, dsn: str, *, pool_max: int) -> None:
        self.url = without_password(dsn)
        self.lines = Lines()
        self.jobs = WatchedJobs(self)
        self._dsn = dsn
        self._pool_max = pool_max
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: Connections | None = None
        self._listener: Listener | None = None
        self._absence = Absence(self.url, self._look)
        self._running: set[asyncio.Task[Any]] = set()
        self._latest: dict[str, asyncio.Task[Any]] = {}

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect once, bring the schema up to date, and make this loop the home of all connections."""
        if self._connections is not None:
            return
        connections = Connections(self._dsn, most=self._pool_max)
        try:
            await connections.lend(lambda connection: migrate(connection, self.url))
        except Exception as error:
            await connections.close()
            raise translated(error, self.url, sent=False) from error
        self._loop = asyncio.get_running_loop()
        self._connections = connections
        self.listen()

    async def stop(self) -> None:
        """Finish what was accepted, and close. Called on the home loop."""
        connections, self._connections = self._connections, None
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stop()
        while self._running:
            await asyncio.wait(list(self._running))
        await self._absence.stop()
        if connections is not None:
            await connections.close()

    async def check(self) -> None:
        """Ask which schema there is, take no for an answer after two seconds, and refuse one that is newer than this program."""
        try:
            async with asyncio.timeout(_CHECK_S):
                ((version,),) = await self.fetch(NEWEST_FENCE, patience_s=0.0)
        except TimeoutError:
            raise StoreUnavailable(f"The store at {self.url} did not answer within {_CHECK_S:g} seconds.") from None
        check_known(STEPS, version)

    async def schema_version(self) -> tuple[int, int]:
        """What the database has, and what this program knows. Needs no start."""
        try:
            connection = await connect(self._dsn)
            try:
                return max(await applied(connection), default=0), len(STEPS)
            finally:
                await connection.close()
        except Exception as error:
            raise translated(error, self.url, sent=False) from error

    def listen(self) -> None:
        """Hear from now on what somebody here watches. A process in which nobody does spends no connection on it."""
        if self._loop is None or self._connections is None:
            return
        if self._listener is None:
            self._listener = Listener(self._dsn)
        if self.lines.watched:
            self._loop.call_soon_threadsafe(self._listener.hear, channel_of_lines(self.lines))
        if self.jobs.watched:
            channel = Channel(CHANNEL, self.jobs.heard, self.jobs.missed)
            self._loop.call_soon_threadsafe(self._listener.hear, channel)

    # -- statements --------------------------------------------------------------------------------------------------

    async def fetch(
        self,
        sql: str,
        *args: object,
        again: bool = True,
        patience_s: float | None = None,
        about: str | None = None,
    ) -> Sequence[Any]:
        """Run one statement, a transaction by itself. If the caller is cancelled, it happens all the same.

        `again`: doing it twice is doing it once, so that it may be repeated when the connection breaks meanwhile.
        `about`: statements about the same thing happen one after the other, whether their callers still wait or not.
        """
        loop = self._loop
        if self._connections is None or loop is None:
            raise StoreUnavailable(f"The store at {self.url} is not open; call start() first.")
        arrived = time.monotonic()  # which is the clock of every loop
        work = self._persist(
            lambda connection: connection.fetch(sql, *args), arrived, again=again, patience_s=patience_s
        )
        if about is not None:
            work = self._in_order(about, work)
        if asyncio.get_running_loop() is loop:
            return await asyncio.shield(self._task(work))
        return await asyncio.shield(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._counted(work), loop)))

    async def fetch_one(self, sql: str, *args: object, again: bool = True, about: str | None = None) -> Any:
        """The first row, or none."""
        rows = await self.fetch(sql, *args, again=again, about=about)
        return rows[0] if rows else None

    async def _in_order(self, about: str, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - made by `_task`
        before, self._latest[about] = self._latest.get(about), task
        try:
            if before is not None:
                await asyncio.wait([before])
            return await work
        finally:
            if self._latest[about] is task:
                del self._latest[about]

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            task.exception()  # Looked at, in case the caller was cancelled and nobody else does.

    async def _counted(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._task(work)

    async def _persist(
        self,
        use: Callable[[asyncpg.Connection[Any]], Awaitable[T]],
        arrived: float,
        *,
        again: bool,
        patience_s: float | None,
    ) -> T:
        """Try until it is done, refused, or the patience is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (_PATIENCE_S if patience_s is None else patience_s)
        pause = _PAUSE_S
        absence = self._absence
        while True:
            if absence.since is not None:
                await absence.outlast(arrived)
            sent = False

            async def tried(connection: asyncpg.Connection[Any]) -> T:
                nonlocal sent
                sent = True
                return await use(connection)

            connections = self._connections
            if connections is None:
                raise StoreUnavailable(f"The store at {self.url} is closed.")
            try:
                return self._answered(await connections.lend(tried))
            except Exception as error:
                if not sent and is_away(error):
                    absence.began(error)
                fate = fate_of(error, sent=sent)
                if fate is Fate.WRONG_SERVER:
                    connections.drop()
                may = fate in {Fate.NOT_DONE, Fate.WRONG_SERVER} or (fate is Fate.UNKNOWN and again)
                if not may or loop.time() + pause > until:
                    raise translated(error, self.url, sent=sent) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PAUSE_MAX_S)

    def _answered(self, answer: T) -> T:
        if self._absence.since is not None:
            self._absence.over()
        return answer

    async def _look(self) -> None:
        """Whether the server lets us in."""
        connection = await connect(self._dsn)
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.close(timeout=1.0)
