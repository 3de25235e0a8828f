"""What is known of a server that is away: since when, why, and how long it makes sense to wait for it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import asyncpg

from corral.backends.postgres.connections import NoneFree
from corral.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger("corral.backends.postgres")

# A restart or a failover is over by then: patience would only pile up callers who hear 503 all the same.
_LONG_S = 30.0
_GRACE_S = 1.0
_PAUSE_S = 0.5
_STARTING = "57P03"
_AWAY = (OSError, EOFError, TimeoutError, asyncpg.InterfaceError)


def is_away(error: BaseException) -> bool:
    """Whether nobody lets us in, of an error that came before a connection was made."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state == _STARTING or state.startswith("08")
    return isinstance(error, _AWAY) and not isinstance(error, NoneFree)


class Absence:
    """Shared by all calls of a process, on their home loop. One task looks whether the server is back, for all of them."""

    def __init__(self, url: str, look: Callable[[], Awaitable[object]]) -> None:
        """`look` fails while nobody lets us in."""
        self.since: float | None = None
        """When it was first noticed, by the loop's clock; none: the server answers."""
        self._url = url
        self._look = look
        self._reason = ""
        self._back = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def began(self, error: BaseException) -> None:
        """Nobody let us in."""
        self._reason = str(error) or type(error).__name__
        if self.since is None:
            self.since = asyncio.get_running_loop().time()
            self._back.clear()
        self._have_looked_for()

    def over(self) -> None:
        """Somebody was answered."""
        self.since = None
        self._back.set()

    def is_long(self) -> bool:
        """Whether it has lasted too long for patience."""
        return self.since is not None and asyncio.get_running_loop().time() - self.since >= _LONG_S

    async def outlast(self, arrived: float) -> None:
        """Once it is long: wait until the server is back, but no longer than a moment since the call `arrived`. Raises `StoreUnavailable`."""
        if not self.is_long():
            return
        self._have_looked_for()  # again, if whoever did was cancelled: calls are refused until it is found
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(arrived + _GRACE_S):
                await self._back.wait()
        except TimeoutError:
            lasts_s = loop.time() - (self.since or loop.time())
            raise StoreUnavailable(
                f"The store at {self._url} has not answered for {lasts_s:.0f} seconds, and is waited for no longer; it is tried again "
                f"all the time. It said: {self._reason}"
            ) from None

    async def stop(self) -> None:
        """Look no longer."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])
        self.over()

    def _have_looked_for(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_out())

    async def _look_out(self) -> None:
        said = False
        while True:
            await asyncio.sleep(_PAUSE_S)
            if self.since is None:
                break
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - all calls wait for this one, which must not end before it is over
                if is_away(error):
                    self._reason = str(error) or type(error).__name__
                    said = said or self._has_said_so()
                    continue
            self.over()
            break
        if said:
            _log.info("PostgreSQL is back.")

    def _has_said_so(self) -> bool:
        """Warn once it is long."""
        is_long = self.is_long()
        if is_long:
            _log.warning(
                "PostgreSQL has been away for %g s: until it is back, calls wait for no more than a moment. %s",
                _LONG_S,
                self._reason,
            )
        return is_long
