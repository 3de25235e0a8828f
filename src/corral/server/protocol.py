"""HTTP/1.1 on uvicorn's httptools protocol, with three things of our own.

A lost connection is told to whoever runs for it, without a task per request. A complete response is written at once,
without two ASGI messages. And a client that sends its headers slowly, or too many of them, is let go.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Callable, Iterable
from operator import methodcaller
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_S_MAX = 10.0
HEAR_OUT_S_MAX = 1.0
"""How long a client may go on sending a body that was refused before it has read so."""
"""A request's head must be there this long after the connection, or after its first byte."""
HEAD_BYTES_MAX = 65_536
BODY_PAUSE_S_MAX = 30.0
"""A body may come slowly, but something of it must come this often."""

_TOGETHER_BYTES_MAX = 32_768
"""Pieces of a stream are written when they are more than this together, even within one turn of the loop."""

_CLOSE = b"connection: close\r\n"
_TOO_LARGE = b"The request headers are too large."

_is_connection = methodcaller("startswith", b"connection:")


class CorralProtocol(HttpToolsProtocol):
    """One connection. It is also what the application finds as `scope["corral.connection"]`."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # there is none before the first request

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Set up as uvicorn does."""
        super().__init__(*args, **kwargs)
        self._running: RequestResponseCycle | None = None
        self._lost: Callable[[], None] | None = None
        self._deaf = False
        """The last answer was given; what still comes is thrown away."""
        self._pieces: list[bytes] = []
        self._piece_bytes = 0
        self._head_bytes = -1
        """Bytes of a request head that is still incomplete; -1 when none is."""
        self._head_large = False
        self._waiting: asyncio.TimerHandle | None = None
        """Runs while a request is incomplete."""
        self._leaving = False
        self._refused = False
        self._idle_since: float | None = None
        """When the last answer was complete; none while a request comes or is answered."""

    # -- for the application

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the client leaves while its request is answered; one at a time."""
        self._lost = callback
        if self.transport.is_closing():
            self.loop.call_soon(callback)

    def forget(self) -> None:
        """Call nobody any more."""
        self._lost = None

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Write a complete response in one go. Names are lower case; names and values are known to be clean."""
        cycle = self._running
        if cycle is None or cycle.disconnected:
            return
        content = self._head(cycle, status, headers)
        content.append(b"\r\n")
        if cycle.scope["method"] != "HEAD":
            content.append(body)
        self.transport.write(b"".join(content))
        self._complete(cycle)

    def begin_stream(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Write the head of a response whose body comes in pieces."""
        cycle = self._running
        if cycle is None or cycle.disconnected:
            return
        content = self._head(cycle, status, headers)
        content.append(b"transfer-encoding: chunked\r\n\r\n")
        self.transport.write(b"".join(content))
        cycle.response_started = True

    def write_piece(self, piece: bytes) -> bool:
        """Write one piece. True: the client reads slowly, so `drain` before the next one.

        Pieces that come in the same turn of the loop leave together, as one chunk.
        """
        pieces = self._pieces
        pieces.append(piece)
        self._piece_bytes += len(piece)
        if len(pieces) == 1:
            self.loop.call_soon(self._write_pieces)
        elif self._piece_bytes > _TOGETHER_BYTES_MAX:
            self._write_pieces()
        return self.flow.write_paused

    def _write_pieces(self) -> None:
        if self._pieces:
            cycle = self._running
            if cycle is not None and not cycle.disconnected:
                self.transport.write(b"%x\r\n%b\r\n" % (self._piece_bytes, b"".join(self._pieces)))
            self._pieces.clear()
            self._piece_bytes = 0

    async def drain(self) -> None:
        """Wait until the client has read, or left."""
        await self.flow.drain()

    def end_stream(self, last: bytes) -> None:
        """Write the last piece, which may be empty, and the end."""
        cycle = self._running
        if cycle is None or cycle.disconnected:
            return
        if last:
            self._pieces.append(last)
            self._piece_bytes += len(last)
        self._write_pieces()
        self.transport.write(b"0\r\n\r\n")
        self._complete(cycle)

    def _head(self, cycle: RequestResponseCycle, status: int, headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        lines = [b"%b: %b\r\n" % header for header in headers]
        content = [STATUS_LINE[status], *[b"%b: %b\r\n" % header for header in cycle.default_headers], *lines]
        if any(map(_is_connection, lines)):
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            content.append(_CLOSE)
        return content

    def _complete(self, cycle: RequestResponseCycle) -> None:
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            if cycle.more_body and self.transport.can_write_eof():
                self._hear_out()
            else:
                self.transport.close()
        cycle.on_response()

    def _hear_out(self) -> None:
        """Close a connection whose client is still sending: closed at once, it would be reset and lose the answer."""
        self._deaf = True
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(HEAR_OUT_S_MAX, self.transport.close)

    # -- for the worker

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._head_bytes < 0 and (self.cycle is None or self.cycle.response_complete)

    def shutdown(self) -> None:
        """Close after what is being read or answered."""
        self._leaving = True
        if self.idle:
            self.transport.close()
        elif self.cycle is not None:
            self.cycle.keep_alive = False

    # -- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin to wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._wait(HEAD_S_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever runs for this client."""
        super().connection_lost(exc)
        self._wait_no_more()
        self._running = None
        if self._lost is not None:
            callback, self._lost = self._lost, None
            callback()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._deaf:
            return
        self._idle_since = None
        if self._refused:
            return
        if len(data) > HEAD_BYTES_MAX:
            self._head_large = True  # possibly: the head is counted when it is complete
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._wait_no_more()
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(*(reason.args if isinstance(reason, _Refused) else (400, b"This is not HTTP.")))
        else:
            if self._waiting is not None or self._head_bytes >= 0 or self._body_comes:
                self._wait_for_the_rest(len(data))

    def _wait_for_the_rest(self, came: int) -> None:
        if self._head_bytes >= 0:
            self._head_bytes += came
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(431, _TOO_LARGE)
            elif self._waiting is None:
                self._wait(HEAD_S_MAX)
        else:
            self._wait_no_more()
            if self._body_comes:
                self._wait(BODY_PAUSE_S_MAX)

    @property
    def _body_comes(self) -> bool:
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self.scope["corral.connection"] = self  # type: ignore[typeddict-unknown-key]  # an extension of ours

    def on_headers_complete(self) -> None:
        """A request's head is there: start to answer it, after the ones before it."""
        self._head_bytes = -1
        if self._waiting is not None:
            self._wait_no_more()
        if self._head_large:
            self._head_large = False
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
                raise _Refused(431, _TOO_LARGE)
        parser, scope = self.parser, self.scope
        http_version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = http_version
        if parser.should_upgrade() and self._should_upgrade():
            return
        try:
            url = httptools.parse_url(self.url)
            raw_path: bytes = url.path
            path = raw_path.decode("ascii")
        except (httptools.HttpParserInvalidURLError, AttributeError, UnicodeDecodeError):
            raise _Refused(400, b"The request target is not valid.") from None
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = url.query or b""
        before = self.cycle
        self.cycle = cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=http_version != "1.0" and parser.should_keep_alive() and not self._leaving,
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the request that came meanwhile, or begin to be idle: one timer looks whether it has lasted too long."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        """Armed once for many requests: a busy connection pays nothing for a timer that is set and unset with each."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self._look_whether_idle)
        else:
            self.timeout_keep_alive_handler()

    # -- requests that are none, or do not come

    def _wait(self, seconds: float) -> None:
        self._waiting = self.loop.call_later(seconds, self._late)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _late(self) -> None:
        self._waiting = None
        if self._head_bytes >= 0:
            self._refuse(408, b"The request headers did not come in time.")
        elif self.cycle is None:
            self.transport.close()
        elif self.flow.read_paused:  # it is us who do not read
            self._wait(BODY_PAUSE_S_MAX)
        elif self._body_comes:
            self._refuse(408, b"The request body did not come in time.")

    def _refuse(self, status: int, reason: bytes) -> None:
        """Answer what is no request and close, after the requests that came before it have been answered."""
        self._refused = True
        self._wait_no_more()
        self._head_bytes = -1
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and cycle.more_body and cycle is not self._running and self.pipeline:
            self.pipeline.popleft()  # its body is broken, and it was not begun
            self.cycle = cycle = self.pipeline[0][0] if self.pipeline else self._running
        if cycle is None or cycle.response_complete or cycle.more_body:
            if cycle is None or cycle.response_complete or not cycle.response_started:
                self.transport.write(
                    b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%b\r\n%b"
                    % (STATUS_LINE[status], len(reason), _CLOSE, reason)
                )
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
            self.transport.close()
        else:
            cycle.keep_alive = False


class _Refused(Exception):
    """A request that the parser took and we do not: status and reason."""
