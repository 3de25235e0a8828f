"""Hears, on a connection of its own, what other processes notify."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from corral.backends.postgres.connections import connect
from corral.sessions.event import SessionKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.backends.lines import Lines

_log = logging.getLogger("corral.backends.postgres")

LINES = "corral_lines"
# A connection that died without a word is found out this late; waiters ask by themselves every second anyway.
_PROBE_S = 15.0
_PROBE_TIMEOUT_S = 5.0
_PAUSE_S = 0.1
_PAUSE_MAX_S = 2.0

_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_payload = msgspec.json.Decoder(tuple[str, str])


class Channel:
    """What to do about one channel: `heard` with each payload, `missed` when payloads may have got lost."""

    def __init__(self, name: str, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        self.name = name
        self.missed = missed
        self._heard = heard

    def __call__(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        """Called by asyncpg."""
        self._heard(str(payload))


def channel_of_lines(lines: Lines) -> Channel:
    """The channel on which moves of lines are told."""

    def heard(payload: str) -> None:
        try:
            tenant, session_id = _payload.decode(payload)
        except msgspec.MsgspecError:
            _log.warning("Somebody else notifies on %r: %r", LINES, payload)
            return
        lines.moved([SessionKey(tenant, session_id)])

    return Channel(LINES, heard, lambda: lines.moved(lines.keys()))


class Listener:
    """Subscribes, and subscribes again after every loss; then anything may have been told unheard."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._channels: dict[str, Channel] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def hear(self, channel: Channel) -> None:
        """Subscribe to a channel as well. Called on the loop that is home to the connection."""
        if channel.name not in self._channels:
            self._channels[channel.name] = channel
            self._news.set()
        if self._task is None:
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
        heard: set[str] = set()
        connection.add_termination_listener(lambda _: self._news.set())
        while not connection.is_closed():
            self._news.clear()
            for name, channel in list(self._channels.items()):
                if name not in heard:
                    await connection.add_listener(name, channel)
                    heard.add(name)
                    channel.missed()
            try:
                await asyncio.wait_for(self._news.wait(), _PROBE_S)
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=_PROBE_TIMEOUT_S)
