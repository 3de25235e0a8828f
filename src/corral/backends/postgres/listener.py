"""Hears, on a connection of its own, which lines other processes move."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from corral.backends.postgres.connections import connect
from corral.sessions.event import SessionKey

if TYPE_CHECKING:
    from corral.backends.lines import Lines

_log = logging.getLogger("corral.backends.postgres")

_CHANNEL = "corral_lines"
# A connection that died without a word is found out this late; waiters ask by themselves every second anyway.
_PROBE_S = 15.0
_PROBE_TIMEOUT_S = 5.0
_PAUSE_S = 0.1
_PAUSE_MAX_S = 2.0

_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_payload = msgspec.json.Decoder(tuple[str, str])


class Listener:
    """Subscribes, and subscribes again after every loss; then all our lines may have moved unheard."""

    def __init__(self, dsn: str, lines: Lines) -> None:
        self._dsn = dsn
        self._lines = lines
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _listen(self) -> None:
        pause = _PAUSE_S
        while True:
            try:
                connection = await connect(self._dsn)
                try:
                    await self._follow(connection)
                finally:
                    connection.terminate()
                pause = _PAUSE_S
            except _FAILURES as error:
                _log.debug("Not listening to PostgreSQL now, will try again: %s", error)
                pause = min(pause * 2, _PAUSE_MAX_S)
            await asyncio.sleep(pause)

    async def _follow(self, connection: asyncpg.Connection[Any]) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(_CHANNEL, self._heard)
        self._lines.moved(self._lines.keys())
        while not lost.is_set():
            try:
                await asyncio.wait_for(lost.wait(), _PROBE_S)
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=_PROBE_TIMEOUT_S)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            tenant, session_id = _payload.decode(str(payload))
        except msgspec.MsgspecError:
            _log.warning("Somebody else notifies on %r: %r", _CHANNEL, payload)
            return
        self._lines.moved([SessionKey(tenant, session_id)])
