"""One HTTP/1.1 connection as a client: a request at a time, its answer as it comes, and no task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools

_BUFFERED_MAX = 262_144
"""Bytes that may wait for who reads a body; then the other side has to wait."""
_HEAD_BYTES_MAX = 65_536
_OK = 200


class CallFailed(OSError):
    """The other side could not be reached, or broke off."""


class CallTimedOut(CallFailed):
    """The other side took too long."""


class Connection(asyncio.Protocol):
    """Made by `Pool`. Who reads an answer calls `read` until there is none, then `Pool.give_back`."""

    on_body: Callable[[bytes], None]
    """What the parser says of a piece of the body: it is put down, and nothing else."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Not connected yet."""
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._failure: CallFailed | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._idle_s = 0.0
        self._until = 0.0
        self._head_bytes = 0
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append
        self._buffered = 0
        self._paused = False
        self._complete = True
        """All of the answer has come; or none was asked for yet."""
        self._keeps_alive = False
        self.origin = ("", "", 0)
        """Where it leads, as the pool knows it."""
        self.status = 0
        """Of the answer; 0: its head is not there yet."""
        self.headers: dict[str, str] = {}
        self.heard = False
        """Some of the answer has come."""
        self.heard_at = 0.0
        """When something came last."""

    # -- asking

    def send(self, request: bytes, *, idle_s: float, until: float) -> None:
        """Send a request; its head is there once there is a `status`. Raises `CallFailed`.

        `idle_s`: the longest silence; `until`: when all of the answer has to be there, on the loop's clock.
        """
        if self._transport is None:
            raise CallFailed("the connection was closed")
        self.status, self.headers, self._head_bytes = 0, {}, 0
        self.heard = self._complete = self._keeps_alive = False
        self._idle_s, self._until = idle_s, until
        now = self.heard_at = self._loop.time()
        due = now + idle_s
        due = due if due < until else until  # noqa: FURB136 - for every request, in a third of the time
        if self._timer is None or due < self._timer_at:
            self._arm(due)
        self._transport.write(request)

    async def read(self) -> bytes | None:
        """The next piece of the body, or none at its end. Raises `CallFailed` if it breaks off."""
        while not self._chunks:
            if self._complete:
                return None
            await self.news()
        chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    def news(self) -> asyncio.Future[None]:
        """To be awaited. Raises `CallFailed` if there will be none."""
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        return self._waiter

    @property
    def is_over(self) -> bool:
        """Whether the whole answer came and was read."""
        return self._complete and not self._chunks

    @property
    def reusable(self) -> bool:
        """Whether the answer was read to its end, and the next request may be sent."""
        return self._keeps_alive and not self._chunks

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Close it now: the other side sees that nobody reads on."""
        self.rest()
        if self._transport is not None:
            self._transport.abort()

    def rest(self) -> None:
        """It carries no more answers, and nothing is timed."""
        self._keeps_alive = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- time

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._check_time)

    def _check_time(self) -> None:
        """Armed once, not with every piece or call: it looks when something was heard last."""
        self._timer = None
        if self._complete:
            return
        now, due = self._loop.time(), min(self._until, self.heard_at + self._idle_s)
        if now >= due:
            self._fail(CallTimedOut("no answer in time"))
            self.abort()
        else:
            self._arm(due)

    def _fail(self, failure: CallFailed) -> None:
        if self._failure is None and not self._complete:
            self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- what the loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is connected (again, once it speaks TLS)."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self.heard = True
        self.heard_at = self._loop.time()
        if self._complete:
            self._fail(CallFailed("an answer that nobody asked for"))
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(CallFailed(f"no HTTP: {error}"))
            self.abort()
            return
        if self._chunks:
            self._buffered += len(data)
            if self._buffered > _BUFFERED_MAX and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        elif not self.status:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES_MAX:
                self._fail(CallFailed("headers without end"))
                self.abort()
        self._wake()

    def eof_received(self) -> None:
        """The other side says no more; `connection_lost` follows."""

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed."""
        if self.status and not self._complete and error is None and self._ends_with_connection():
            self._complete, self._keeps_alive = True, False
        self._fail(CallFailed(str(error) if error is not None else "the connection was closed"))
        self._transport = self._parser = None
        self.rest()

    def _ends_with_connection(self) -> bool:
        headers = self.headers
        return "content-length" not in headers and "chunked" not in headers.get("transfer-encoding", "")

    # -- what the parser says

    def on_message_begin(self) -> None:
        """An answer begins, or an interim one."""
        if self._complete:  # its beginning must not become that of the next answer
            raise CallFailed("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is there, unless it is an interim one."""
        status = self._parser.get_status_code()
        if status < _OK:
            self.headers = {}
        else:
            self.status = status

    def on_message_complete(self) -> None:
        """The end of the answer, or of an interim one."""
        if self.status and not self._complete:
            self._complete = True
            self._keeps_alive = self._parser.should_keep_alive()
