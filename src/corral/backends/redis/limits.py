"""What all workers know together of limits, in Redis or Valkey: a hash per key, changed by one script."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from corral.backends.redis.hints import TOLD, shown
from corral.errors import StoreUnavailable
from corral.limits.store import FORGOTTEN_S, Shared

_LUA = Path(__file__).with_name("limits.lua").read_text(encoding="utf-8")

_SHA = hashlib.sha1(_LUA.encode(), usedforsecurity=False).hexdigest()
"""The name that the server has for the script."""
_Asked = tuple[tuple[str, int, bytes, int], asyncio.Future[list[Any]]]
_LOOK = -1
_TIMEOUT_S = 2.0
_CONNECTIONS_MAX = 32
_RETRIES = 3


class RedisLimits:
    """Answers in a fraction of a millisecond. What a server that dies forgets is made up for within a minute.

    There is no other store behind it: with two of them, workers that reach different ones would use a limit twice.
    """

    def __init__(self, url: str) -> None:
        """`url` is `redis://…` or `rediss://…`."""
        self._shown = shown(url)
        self._url = url
        self._redis: Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._line: list[_Asked] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Be ready, on this loop; whether a server is there is found out by asking it."""
        if self._redis is None:
            self._loop = asyncio.get_running_loop()
            self._redis = Redis.from_url(
                self._url,
                socket_connect_timeout=_TIMEOUT_S,
                socket_timeout=_TIMEOUT_S,
                max_connections=_CONNECTIONS_MAX,
                # A connection that broke while it was idle; a swap that was made twice fails the second time.
                retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), _RETRIES),
                protocol=2,
                **TOLD,
            )

    async def stop(self) -> None:
        """Close. Stopping twice is stopping once."""
        redis, self._redis = self._redis, None
        if redis is not None:
            if self._tasks:
                await asyncio.wait(self._tasks)
            await redis.aclose()

    async def read(self, key: str) -> Shared:
        """What is there."""
        return (await self._ask(key, _LOOK, b""))[1]

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        """Compare, and put."""
        return await self._ask(key, version, body)

    async def forget(self, *, idle_s: float = FORGOTTEN_S, limit: int = 1000) -> int:
        """Nothing: the server forgets by itself."""
        del idle_s, limit
        return 0

    async def _ask(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        if self._redis is None or self._loop is None:
            raise StoreUnavailable(f"The store of limits at {self._shown} is not open; call start() first.")
        if asyncio.get_running_loop() is not self._loop:
            asked = asyncio.run_coroutine_threadsafe(self._ask(key, version, body), self._loop)
            return await asyncio.wrap_future(asked)
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        self._line.append(((f"corral:limits:{key}", version, body, int(FORGOTTEN_S)), answer))
        if len(self._line) == 1:
            self._loop.call_soon(self._send)
        done, kept, now_version, now = await answer
        return bool(done), Shared(kept, now_version, float(now))

    def _send(self) -> None:
        """What was asked in one turn of the loop travels together."""
        line, self._line = self._line, []
        task = asyncio.get_running_loop().create_task(self._exchange(line))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(self, line: list[_Asked]) -> None:
        try:
            answers = await self._answers(line)
        except BaseException as error:
            failure = self._failure(error) if isinstance(error, RedisError | OSError) else error
            for _, answer in line:
                if not answer.done():
                    answer.set_exception(failure)
            if failure is error:
                raise
            return
        for (_, answer), found in zip(line, answers, strict=True):
            if answer.done():
                continue  # whoever asked has gone
            if isinstance(found, Exception):
                answer.set_exception(self._failure(found))
            else:
                answer.set_result(found)

    async def _answers(self, line: list[_Asked]) -> list[Any]:
        """One for each. A server that does not know the script yet, or not any more, is told."""
        redis = self._redis
        if redis is None:
            raise StoreUnavailable(f"The store of limits at {self._shown} was closed.")
        answers = await _run(redis, line)
        unknown = [at for at, found in enumerate(answers) if isinstance(found, NoScriptError)]
        if unknown:
            await redis.script_load(_LUA)
            again = await _run(redis, [line[at] for at in unknown])
            for at, found in zip(unknown, again, strict=True):
                answers[at] = found
        return answers

    def _failure(self, error: BaseException) -> StoreUnavailable:
        if isinstance(error, ResponseError):
            return StoreUnavailable(f"The store of limits at {self._shown} (`store.hot`) refuses: {error}")
        return StoreUnavailable(
            f"The store of limits at {self._shown} does not answer: {error} (setting `store.hot`, environment "
            "`CORRAL_STORE_HOT`, flag `--hot`)."
        )


async def _run(redis: Redis, line: list[_Asked]) -> list[Any]:
    pipe = redis.pipeline(transaction=False)
    for args, _ in line:
        pipe.execute_command("EVALSHA", _SHA, 1, *args)
    answers: list[Any] = await pipe.execute(raise_on_error=False)
    return answers
