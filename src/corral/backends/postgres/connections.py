"""A few connections to PostgreSQL, each lent for one statement and never longer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_CONNECT_S = 5.0
_STATEMENT_S = 30.0
_SLOT_S = 10.0


class NoneFree(TimeoutError):
    """All connections are lent, and none came back in time. The server may be there all the same."""


class Connections:
    """At most `most` connections, opened when they are needed and dropped when they die.

    asyncpg's own pool asks the server to reset each connection it takes back: a round trip per operation, and there is
    nothing to reset after a single statement.
    """

    def __init__(self, dsn: str, *, most: int) -> None:
        self._dsn = dsn
        self._slots = asyncio.Semaphore(most)
        self._idle: list[asyncpg.Connection[Any]] = []

    async def lend(self, use: Callable[[asyncpg.Connection[Any]], Awaitable[T]]) -> T:
        """Lend a connection that lives, as far as we know."""
        if self._slots.locked():
            try:
                await asyncio.wait_for(self._slots.acquire(), _SLOT_S)
            except TimeoutError:
                raise NoneFree(f"no connection became free within {_SLOT_S:g} s") from None
        else:
            await self._slots.acquire()
        try:
            connection = self._take() or await connect(self._dsn)
            try:
                return await use(connection)
            except asyncpg.PostgresError:
                raise  # The server said no; the connection is as good as before.
            except BaseException:
                connection.terminate()
                raise
            finally:
                if not connection.is_closed():
                    self._idle.append(connection)
        finally:
            self._slots.release()

    def drop(self) -> None:
        """Let go of all that nobody uses now: the server they lead to is not the one we want any more."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()

    async def close(self) -> None:
        """Say goodbye on every connection."""
        idle, self._idle = self._idle, []
        for connection in idle:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.close(timeout=1.0)

    def _take(self) -> asyncpg.Connection[Any] | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None


async def connect(dsn: str) -> asyncpg.Connection[Any]:
    """A new connection."""
    return await asyncpg.connect(
        dsn,
        timeout=_CONNECT_S,
        command_timeout=_STATEMENT_S,
        server_settings={"application_name": "corral", "jit": "off"},
    )
