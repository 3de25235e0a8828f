"""HTTP/1.1 on uvicorn's httptools protocol, with three things of our own.

A lost connection is told to whoever runs for it, without a task per request. A complete response is written at once,
without two ASGI messages. And a client that sends its headers slowly, or too many of them, is let go.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from corral.server.exchange import Exchange

HEAD_S_MAX = 10.0
"""A request's head must be there this long after the connection, or after its first byte."""
HEAR_OUT_S_MAX = 1.0
"""How long a client may go on sending a body that was refused before it has read so."""
HEAD_BYTES_MAX = 65_536
BODY_PAUSE_S_MAX = 30.0
"""A body may come slowly, but something of it must come this often."""

_TOGETHER_BYTES_MAX = 32_768
"""Pieces of a stream are written when they are more than this together, even within one turn of the loop."""

_CLOSE = b"connection: close"
_TOO_LARGE = b"The request headers are too large."
_STATUS = {status: line.removesuffix(b"\r\n") for status, line in STATUS_LINE.items()}
_join_lines, _join_header = b"\r\n".join, b": ".join


class CorralProtocol(HttpToolsProtocol):
    """One connection. It is also what the application finds as `scope["corral.connection"]`."""

    cycle: Exchange | None  # type: ignore[assignment]  # the last that came; there is none before the first

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Set up as uvicorn does."""
        super().__init__(*args, **kwargs)
        self.something_came = asyncio.Event()
        """Of the exchange that somebody waits for; see `Exchange.receive`."""
        self._running: Exchange | None = None
        self._arriving: Exchange | None = None
        """The one whose body is still to come."""
        self._lost: Callable[[], None] | None = None
        self._deaf = False
        """What still comes is thrown away: the last answer was given, or what came before was no request."""
        self._pieces: list[bytes] = []
        self._piece_bytes = 0
        self._head_bytes = -1
        """Bytes of a request head that is still incomplete; -1 when none is."""
        self._head_large = False
        self._waiting: asyncio.TimerHandle | None = None
        """Runs while a request is incomplete."""
        self._leaving = False
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

    def whole_body(self, scope: Any) -> bytes | None:
        """The body of the request of this scope, if all of it is there already and was not read: it need not be waited for.

        None as well once another request is answered: whoever reads late must not get that one's.
        """
        cycle = self._running
        if cycle is None or cycle.more_body or cycle.was_read or cycle.scope is not scope:
            return None
        return cycle.all_read()

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Write a complete response in one go. Names are lower case; names and values are known to be clean."""
        cycle = self._running
        if cycle is None or cycle.disconnected:
            return
        head = self._head(cycle, status, headers)
        self.transport.write(b"".join((head, b"\r\n\r\n", b"" if cycle.scope["method"] == "HEAD" else body)))
        self._complete(cycle)

    def begin_stream(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Write the head of a response whose body comes in pieces."""
        cycle = self._running
        if cycle is None or cycle.disconnected:
            return
        self.transport.write(self._head(cycle, status, headers) + b"\r\ntransfer-encoding: chunked\r\n\r\n")
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
            if cycle is not None and not cycle.disconnected and cycle.scope["method"] != "HEAD":
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
        if cycle.scope["method"] != "HEAD":
            self.transport.write(b"0\r\n\r\n")
        self._complete(cycle)

    def _head(self, cycle: Exchange, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """All of a head but what ends its last line."""
        head = _join_lines((_STATUS[status], *map(_join_header, cycle.default_headers), *map(_join_header, headers)))
        if head.count(b"\nconnection:"):  # in half the time of `in`
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            return _join_lines((head, _CLOSE))
        return head

    def _complete(self, cycle: Exchange) -> None:
        cycle.response_started = cycle.response_complete = True
        if cycle.waiting:
            self.something_came.set()
        if not cycle.keep_alive:
            if cycle.more_body and self.transport.can_write_eof():
                self._hear_out()
            else:
                self.transport.close()
        self.on_response_complete()

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
        if self._running is not None:
            self._running.disconnected = True
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
        if len(data) > HEAD_BYTES_MAX:
            self._head_large = True  # possibly: the head is counted when it is complete
        try:
            goes_on = self._parse(data)
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(*(reason.args if isinstance(reason, _Refused) else (400, b"This is not HTTP.")))
        else:
            if not goes_on:
                self._wait_no_more()
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
            elif self._waiting is not None or self._head_bytes >= 0 or self._arriving is not None:
                self._wait_for_the_rest(len(data))

    def _parse(self, data: bytes) -> bool:
        """Whether what comes now is still HTTP."""
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                used: int = upgrade.args[0]
            else:
                return True
            if self._should_upgrade() or not self._wants_another():
                return False
            # The parser takes a request that asks for another protocol for the last one, and what comes for no body of it.
            # Here it is one like any other: some clients ask so with each, Java's and curl's among them.
            rest = memoryview(rest)[used:]
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)

    def _wants_another(self) -> bool:
        """Whether the request whose head came last names another protocol."""
        return any(name == b"upgrade" for name, _ in self.headers)

    def _head_without_upgrade(self) -> bytes:
        """The head that came last, as who wants no other protocol sends it."""
        parser = self.parser
        first = b"%b %b HTTP/%b" % (parser.get_method(), self.url, parser.get_http_version().encode())
        lines = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return _join_lines((first, *lines, b"", b""))

    def _wait_for_the_rest(self, came: int) -> None:
        if self._head_bytes >= 0:
            self._head_bytes += came
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(431, _TOO_LARGE)
            elif self._waiting is None:
                self._wait(HEAD_S_MAX)
        elif self.cycle is not None:  # blank lines before the first request are not yet one
            self._wait_no_more()
            if self._body_comes:
                self._wait(BODY_PAUSE_S_MAX)

    @property
    def _body_comes(self) -> bool:
        return self._arriving is not None and not self._arriving.response_complete

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url = b""
        self.headers = []
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """One more header."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """A request's head is there: start to answer it, after the ones before it."""
        self._head_bytes = -1
        if self._waiting is not None:
            self._wait_no_more()
        if self._head_large:
            self._head_large = False
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
                raise _Refused(431, _TOO_LARGE)
        parser = self.parser
        http_version = parser.get_http_version()
        try:
            url = httptools.parse_url(self.url)
            raw_path: bytes = url.path
            path = raw_path.decode("ascii")
        except (httptools.HttpParserInvalidURLError, AttributeError, UnicodeDecodeError):
            raise _Refused(400, b"The request target is not valid.") from None
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": http_version,
            "method": parser.get_method().decode(),
            "scheme": self.scheme,
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "root_path": self.root_path,
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "state": self.app_state.copy(),
            "corral.connection": self,  # an extension of ours
        }
        self.scope = scope
        if parser.should_upgrade() and (self._should_upgrade() or self._wants_another()):
            return  # it is begun when the parser has stopped at it
        before = self.cycle
        self.cycle = self._arriving = cycle = Exchange(
            self, scope, keep_alive=http_version != "1.0" and parser.should_keep_alive() and not self._leaving
        )
        if before is None or before.response_complete:
            self._begin(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _begin(self, cycle: Exchange) -> None:
        self._running = cycle
        task = asyncio.Task(cycle.run_asgi(self.app), loop=self.loop, name="corral-request")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        """A piece of a body came. What comes after a request for another protocol is no body."""
        cycle = self._arriving
        if cycle is not None and not cycle.response_complete:
            if not cycle.body:
                cycle.body = body
            else:
                if type(cycle.body) is bytes:  # of many pieces, each would be copied with every one that follows
                    cycle.body = bytearray(cycle.body)
                cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            if cycle.waiting:
                self.something_came.set()

    def on_message_complete(self) -> None:
        """All of a request is there."""
        cycle, self._arriving = self._arriving, None
        if cycle is not None:
            cycle.more_body = False
            if cycle.waiting:
                self.something_came.set()

    def on_response_complete(self) -> None:
        """Go on with the request that came meanwhile, or begin to be idle: one timer looks whether it has lasted too long."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._begin(self.pipeline.pop()[0])  # type: ignore[arg-type]  # each is ours
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        """Armed once for many requests: a busy connection pays nothing for a timer that is set and unset with each."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            if not self.idle:
                return
            self._idle_since = self.loop.time()  # what came was no request: the rest of a refused one, or blank lines
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
        self._deaf = True
        self._wait_no_more()
        self._head_bytes = -1
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and cycle.more_body and cycle is not self._running and self.pipeline:
            self.pipeline.popleft()  # its body is broken, and it was not begun
            self.cycle = cycle = self.pipeline[0][0] if self.pipeline else self._running  # type: ignore[assignment]  # as above
        if cycle is None or cycle.response_complete or cycle.more_body:
            if cycle is None or cycle.response_complete or not cycle.response_started:
                self.transport.write(
                    b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%b\r\n\r\n%b"
                    % (STATUS_LINE[status], len(reason), _CLOSE, reason)
                )
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
            self.transport.close()
        else:
            cycle.keep_alive = False


class _Refused(Exception):
    """A request that the parser took and we do not: status and reason."""
