"""Hints between processes over pub/sub: sent in groups, heard by all others, never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from redis import __version__
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from corral.clock import new_id
from corral.errors import ConfigError

# The client tells the server its version, which newer ones would read from disk for each connection.
TOLD: dict[str, Any] = {}
with contextlib.suppress(ImportError):  # before 7.2
    from redis.driver_info import DriverInfo

    TOLD["driver_info"] = DriverInfo(lib_version=__version__)

_log = logging.getLogger("corral.backends")

_CHANNEL = "corral:jobs"
_WORK = "*"
"""Stands among the ids of a message: there may be something to claim."""
_IDS_MAX = 1000
"""Ids in one message."""
_PENDING_MAX = 20_000
"""More hints than this wait for nobody: who is behind learns from the store."""
_PAUSE_S = 0.1
_PAUSE_MAX_S = 5.0
_TIMEOUT_S = 5.0
_IDLE_S = 15.0
"""After so much silence the server is asked whether it is there."""

Heard = Callable[[bool, Sequence[str]], None]
"""Called with whether there may be work, and with the jobs that changed."""


class Hints:
    """One connection that sends and one that listens, for a whole process; both come back by themselves."""

    def __init__(self, url: str, *, heard: Heard) -> None:
        """`url` is `redis://…` or `rediss://…`; `heard` is called for what other processes said."""
        self.shown = shown(url)
        self._heard = heard
        self._self = new_id()
        try:
            self._redis: Redis = Redis.from_url(
                url,
                socket_connect_timeout=_TIMEOUT_S,
                socket_timeout=_TIMEOUT_S,
                decode_responses=True,
                protocol=2,
                **TOLD,
            )
        except ValueError as error:
            raise ConfigError(f"{error} (setting `store.hot`, environment `CORRAL_STORE_HOT`, flag `--hot`).") from None
        self._pending: dict[str, None] = {}
        self._some = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failing = False
        self._stopping = False
        self.listening = asyncio.Event()
        """Set while what others say is heard."""

    def start(self) -> None:
        """Begin to send and to listen; whether a server is there is found out on the way."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._forever(part)) for part in (self._send, self._listen)]

    async def stop(self) -> None:
        """End. Hints that were not sent yet are lost. Stopping twice is stopping once."""
        self._stopping = True
        tasks: set[asyncio.Task[None]] = set(self._tasks)
        while tasks:
            for task in tasks:
                task.cancel()
            # The client may answer a cancellation with an error of its own, and then goes on: it is told again.
            _, tasks = await asyncio.wait(tasks, timeout=0.1)
        self._tasks = []
        with contextlib.suppress(RedisError, OSError):  # it is closed, however it went
            await self._redis.aclose()

    def say(self, ids: Sequence[str], *, work: bool = False) -> None:
        """Tell the others, soon. Costs a dictionary operation per id."""
        if not self._failing and len(self._pending) + len(ids) <= _PENDING_MAX:
            self._pending.update(dict.fromkeys(ids))
            if work:
                self._pending[_WORK] = None
            self._some.set()

    async def _forever(self, part: Callable[[], Any]) -> None:
        pause_s = _PAUSE_S
        while not self._stopping:
            try:
                await part()
            except Exception as error:  # noqa: BLE001 - whatever ails it, the next attempt may succeed, and jobs go on
                level = logging.DEBUG if self._failing else logging.WARNING  # one warning per outage
                _log.log(level, "No hints by %s (`store.hot`): %s. Jobs go on, a little later.", self.shown, error)
                if not self._failing:
                    pause_s = _PAUSE_S
                self._failing = True
            self._pending.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)

    async def _send(self) -> None:
        await self._redis.ping()
        self._over()
        while True:
            await self._some.wait()
            self._some.clear()
            pending, self._pending = list(self._pending), {}
            for start in range(0, len(pending), _IDS_MAX):
                message = ",".join([self._self, *pending[start : start + _IDS_MAX]])
                await self._redis.publish(_CHANNEL, message)

    async def _listen(self) -> None:
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(_CHANNEL)
            try:
                while True:
                    message = await pubsub.get_message(timeout=_IDLE_S)
                    if message is None:
                        message = await self._asked(pubsub)
                    if message["type"] == "message":
                        self._take(message["data"])
                    elif message["type"] == "subscribe":
                        self._over()
                        self.listening.set()
                        self._heard(True, ())  # whatever was said meanwhile was not heard
            finally:
                self.listening.clear()

    async def _asked(self, pubsub: PubSub) -> Any:
        """It has been silent: whether it is still there shows in an answer."""
        await pubsub.ping()
        message = await pubsub.get_message(timeout=_TIMEOUT_S)
        if message is None:
            raise RedisConnectionError("it does not answer any more")
        return message

    def _take(self, message: str) -> None:
        origin, *ids = message.split(",")
        if origin != self._self:  # the store told this process already
            work = _WORK in ids
            self._heard(work, [job_id for job_id in ids if job_id != _WORK] if work else ids)

    def _over(self) -> None:
        if self._failing:
            self._failing = False
            _log.info("Hints by %s come again.", self.shown)


def shown(url: str) -> str:
    """The URL without its password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
