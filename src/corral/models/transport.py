"""HTTP to providers: one pool of connections for each, bounded in time, and its failures in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self

import msgspec

from corral.errors import ModelFailed, ModelStreamBroken, ModelTimeout, ModelUnavailable
from corral.outbound.connection import CallFailed, CallTimedOut, Connection
from corral.outbound.pool import Pool
from corral.version import VERSION

_ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""Of one answer; no model writes as much."""
_AGENT = {"user-agent": f"corral/{VERSION}"}


class HttpAnswer(msgspec.Struct, frozen=True):
    """What came back, read to its end."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class HttpStream:
    """An answer whose body is still coming: `with` it, and `async for` its pieces.

    Leaving closes the connection if the answer was not read to its end.
    """

    __slots__ = ("_connection", "_size", "_transport", "headers", "status")

    def __init__(self, transport: Transport, connection: Connection) -> None:
        """Made by `Transport.stream`."""
        self._transport = transport
        self._connection = connection
        self._size = 0
        self.status = connection.status
        self.headers = connection.headers
        """By lower-case name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.pool.give_back(self._connection)

    @property
    def is_over(self) -> bool:
        """Whether all of it was read: the connection is free."""
        return self._connection.is_over

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The body as it comes. Raises `ModelStreamBroken` if it breaks off, `ModelTimeout` if nothing comes for too long."""
        try:
            chunk = await self._connection.read()
        except CallFailed as error:
            raise self._transport.translated(error, begun=True) from error
        if chunk is None:
            raise StopAsyncIteration
        self._size += len(chunk)
        if self._size > _ANSWER_BYTES_MAX:
            raise ModelStreamBroken(f"The answer has more than {_ANSWER_BYTES_MAX} bytes.")
        return chunk

    async def body(self) -> bytes:
        """All of the body at once."""
        first = await anext(self, b"")
        return first if self._connection.is_over else b"".join([first, *[chunk async for chunk in self]])


class Transport:
    """The connections to one provider. Redirects are not followed: a key goes where the settings say, and nowhere else."""

    def __init__(self, name: str, *, connect_s: float, idle_s: float, timeout_s: float) -> None:
        """`idle_s` is the longest silence, before an answer and within it; `timeout_s` is for all of a call."""
        self.name = name
        self._timeout_s = timeout_s
        self.pool = Pool(connect_s=connect_s, idle_s=idle_s, headers=_AGENT)

    @property
    def open(self) -> int:
        """Calls whose answer is not read to its end."""
        return self.pool.open

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float | None = None
    ) -> HttpAnswer:
        """Send, and read the whole answer, whatever its status. Raises `ModelUnavailable`, `ModelTimeout` or `ModelStreamBroken`."""
        with await self.stream(url, body, headers, timeout_s=timeout_s) as answer:
            return HttpAnswer(answer.status, answer.headers, await answer.body())

    async def get(self, url: str, headers: Mapping[str, str], *, timeout_s: float | None = None) -> HttpAnswer:
        """Read what is there."""
        with await self.stream(url, b"", headers, timeout_s=timeout_s, method="GET") as answer:
            return HttpAnswer(answer.status, answer.headers, await answer.body())

    async def stream(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float | None = None, method: str = "POST"
    ) -> HttpStream:
        """Send, and read the answer as it comes: `with await transport.stream(…) as answer`. Raises as `post` does."""
        seconds = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        try:
            connection = await self.pool.ask(method, url, headers, body, timeout_s=seconds)
        except CallFailed as error:
            raise self.translated(error, begun=False) from error
        except ValueError as error:  # the address itself is not shown: it may hold a secret
            raise ModelFailed(f"{self.name} cannot be called: {error}.", provider=self.name) from None
        return HttpStream(self, connection)

    async def stop(self) -> None:
        """Close every connection. Stopping twice is stopping once."""
        self.pool.close()
        await asyncio.sleep(0)  # the loop closes them in its next turn

    def translated(self, error: CallFailed, *, begun: bool) -> ModelFailed:
        """A failure of the connection in our words; `begun`: some of the answer had come."""
        if isinstance(error, CallTimedOut):
            return ModelTimeout(f"{self.name} did not answer in time.", provider=self.name)
        if begun:
            return ModelStreamBroken(f"{self.name} broke off its answer: {error}.", provider=self.name)
        return ModelUnavailable(f"{self.name} cannot be reached: {error}.", provider=self.name)


def remaining_s(deadline: float | None, now: float) -> float | None:
    """How long a call may still take. Raises `ModelTimeout` if nothing is left."""
    if deadline is None:
        return None
    left = deadline - now
    if left <= 0:
        raise ModelTimeout("The call's time is over.")
    return left
