"""HTTP to providers: one pool of connections for each, bounded in time, and its failures in our words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from corral.errors import ModelFailed, ModelStreamBroken, ModelTimeout, ModelUnavailable
from corral.version import VERSION

if TYPE_CHECKING:
    from pyreqwest.client import Client

_ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""Of one answer; no model writes as much."""


class HttpAnswer(msgspec.Struct, frozen=True):
    """What came back, read to its end."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class HttpStream:
    """An answer whose body is still coming."""

    def __init__(self, transport: Transport, response: Any) -> None:
        """Made by `Transport.stream`."""
        self._transport = transport
        self._response = response
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `ModelStreamBroken` if it breaks off, `ModelTimeout` if nothing comes for too long."""
        reader, size = self._response.body_reader, 0
        while True:
            try:
                chunk = await reader.read_chunk()
            except Exception as error:
                raise self._transport.translated(error, begun=True) from error
            if chunk is None:
                return
            size += len(chunk)
            if size > _ANSWER_BYTES_MAX:
                raise ModelStreamBroken(f"The answer has more than {_ANSWER_BYTES_MAX} bytes.")
            yield chunk.to_bytes()

    async def body(self) -> bytes:
        """All of the body: of an answer that turned out to be an error."""
        return b"".join([chunk async for chunk in self.chunks()])


class Transport:
    """The connections to one provider. Redirects are not followed: a key goes where the settings say, and nowhere else."""

    def __init__(self, name: str, *, connect_s: float, idle_s: float, timeout_s: float) -> None:
        """`idle_s` is the longest silence, before an answer and within it; `timeout_s` is for all of a call."""
        self.name = name
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self.open = 0
        """Calls whose answer is not read to its end."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float | None = None
    ) -> HttpAnswer:
        """Send, and read the whole answer, whatever its status. Raises `ModelUnavailable` or `ModelTimeout`."""
        return await self._whole("POST", url, body, headers, timeout_s)

    async def get(self, url: str, headers: Mapping[str, str], *, timeout_s: float | None = None) -> HttpAnswer:
        """Read what is there."""
        return await self._whole("GET", url, b"", headers, timeout_s)

    async def _whole(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float | None
    ) -> HttpAnswer:
        request = self._request(method, url, body, headers, timeout_s).build()
        self.open += 1
        try:
            response = await request.send()
            content = (await response.bytes()).to_bytes()
        except Exception as error:
            raise self.translated(error, begun=False) from error
        finally:
            self.open -= 1
        return HttpAnswer(response.status, response.headers, content)

    @asynccontextmanager
    async def stream(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float | None = None
    ) -> AsyncIterator[HttpStream]:
        """Send, and read the answer as it comes; leaving closes the connection if it was not read to its end."""
        request = self._request("POST", url, body, headers, timeout_s).build_streamed()
        self.open += 1
        try:
            try:
                response = await request.__aenter__()
            except Exception as error:
                raise self.translated(error, begun=False) from error
            try:
                yield HttpStream(self, response)
            finally:
                await request.__aexit__(None, None, None)
        finally:
            self.open -= 1

    def _request(self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float | None) -> Any:
        from pyreqwest.exceptions import BuilderError  # noqa: PLC0415 - loaded by the first call

        try:
            request = self._ready().request(method, url).headers(headers)
            if body:
                request = request.body_bytes(body)
            if timeout_s is not None:
                request = request.timeout(timedelta(seconds=max(timeout_s, 0.001)))
        except (BuilderError, ValueError) as error:
            raise ModelFailed(f"{self.name}: {url} cannot be called: {error}", provider=self.name) from None
        return request

    def _ready(self) -> Client:
        if self._client is None:
            # Made in the process that uses it: its threads would not live through a fork.
            from pyreqwest.client import ClientBuilder  # noqa: PLC0415 - as above

            self._client = (
                ClientBuilder()
                .user_agent(f"corral/{VERSION}")
                .follow_redirects(enable=False)
                .connect_timeout(timedelta(seconds=self._connect_s))
                .read_timeout(timedelta(seconds=self._idle_s))
                .timeout(timedelta(seconds=self._timeout_s))
                .build()
            )
        return self._client

    async def stop(self) -> None:
        """Close every connection. Stopping twice is stopping once."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def translated(self, error: Exception, *, begun: bool) -> ModelFailed:
        """A failure of the client in our words; `begun`: some of the answer had come."""
        from pyreqwest.exceptions import (  # noqa: PLC0415 - as above
            ClientClosedError,
            PyreqwestError,
            RequestTimeoutError,
        )

        if isinstance(error, RequestTimeoutError | TimeoutError):
            return ModelTimeout(f"{self.name} did not answer in time.", provider=self.name)
        if isinstance(error, ClientClosedError):
            return ModelUnavailable(f"{self.name} is shut down here.", provider=self.name)
        if not isinstance(error, PyreqwestError):
            raise error
        reason = _reason(error)
        if begun:
            return ModelStreamBroken(f"{self.name} broke off its answer: {reason}", provider=self.name)
        return ModelUnavailable(f"{self.name} cannot be reached: {reason}", provider=self.name)


def _reason(error: Exception) -> str:
    """The innermost cause: the outer ones repeat the address, which may hold a secret."""
    causes = (getattr(error, "details", None) or {}).get("causes") or []
    return str(causes[-1]["message"]) if causes else type(error).__name__


def remaining_s(deadline: float | None, now: float) -> float | None:
    """How long a call may still take. Raises `ModelTimeout` if nothing is left."""
    if deadline is None:
        return None
    left = deadline - now
    if left <= 0:
        raise ModelTimeout("The call's time is over.")
    return left
