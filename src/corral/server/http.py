"""One HTTP request and its response, close to the ASGI messages: nothing is parsed that nobody asks for."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from corral.context import Context
from corral.errors import InvalidEncoding, InvalidJson, PayloadTooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
PROBLEM = b"application/problem+json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

_decode = msgspec.json.Decoder().decode
_STRING = re.compile(rb'"[^"]*"?')
_NO_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_ALL_SQUARE = bytes.maketrans(b"{}", b"[]")
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")
"""Brackets as steps down and up."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Request:
    """A request while it is answered. `status` says what was answered, for the access log."""

    __slots__ = (
        "_query",
        "body_max_bytes",
        "body_said",
        "call",
        "context",
        "dialect",
        "failure",
        "headers",
        "json_depth_max",
        "method",
        "params",
        "quiet",
        "receive",
        "response_headers",
        "route",
        "scope",
        "send",
        "started_at",
        "status",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        started_at: float,
        body_max_bytes: int = 100_000_000,
        json_depth_max: int = 128,
    ) -> None:
        """`started_at` is on the monotonic clock."""
        self.scope = scope
        self.receive = receive
        self.send = send
        self.started_at = started_at
        self.status = 0
        self.method: str = scope.get("method", "WEBSOCKET")
        """In capitals."""
        self.body_max_bytes = body_max_bytes
        self.body_said = "(`server.body_max_bytes`)."
        self.json_depth_max = json_depth_max
        self.params: dict[str, str] = {}
        self.route = ""
        self.quiet = False
        """Not worth a line in the log: a health check."""
        self.response_headers: list[Header] = []
        """Headers that go on the response whatever it is."""
        self.context: Context
        self.call: Any = None
        self.failure: BaseException | None = None
        self.dialect: Any = None
        """How errors look on the route that was found."""
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        """Header values by lower-case name; the last of several."""
        self._query: dict[str, str] | None = None

    def header(self, name: bytes) -> str | None:
        """One header as text."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; the last of several."""
        if self._query is None:
            raw: bytes = self.scope.get("query_string", b"")
            self._query = dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}
        return self._query

    async def body(self) -> bytes:
        """The whole body, or `PayloadTooLarge` as soon as it is known to be too large. It may be asked for again."""
        body: bytes | None = self.scope.get("corral.body")
        if body is None:
            connection = self.scope.get("corral.connection")
            body = None if connection is None else connection.whole_body(self.scope)
            if body is None:
                body = await self._received()
            self.scope["corral.body"] = body  # for an agent that wants to see the request itself
        if len(body) > self.body_max_bytes:
            raise self._too_large()
        return body

    async def _received(self) -> bytes:
        """What comes, to its end."""
        limit = self.body_max_bytes
        if int(self.headers.get(b"content-length", b"0")) > limit:
            raise self._too_large()
        pieces: list[bytes] = []
        length, more = 0, True
        while more:
            if length > limit:
                raise self._too_large()
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            pieces.append(message.get("body", b""))
            length += len(pieces[-1])
            more = message.get("more_body", False)
        return b"".join(pieces)

    def _too_large(self) -> PayloadTooLarge:
        self.response_headers.append((b"connection", b"close"))  # the rest of the body is not read
        return PayloadTooLarge(f"The request body is larger than {self.body_max_bytes} bytes {self.body_said}")

    def bound_body(self, limit: int, said: str) -> None:
        """Take no larger body than this, whatever the server takes elsewhere; `said` is the end of the sentence that refuses."""
        if limit < self.body_max_bytes:
            self.body_max_bytes, self.body_said = limit, said

    async def json(self) -> Any:
        """The body as JSON, or `InvalidJson`, `InvalidEncoding`."""
        return parse_json(await self.body(), self.json_depth_max)

    async def respond(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: Iterable[Header] = ()
    ) -> None:
        """Send a complete response."""
        self.status = status
        content: list[Header] = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", content_type),
            *self.response_headers,
            *headers,
        ]
        connection = self.scope.get("corral.connection")
        if connection is not None:  # our own server writes it in one go
            connection.respond(status, content, body)
            return
        await self.send({"type": "http.response.start", "status": status, "headers": content})
        await self.send({"type": "http.response.body", "body": body})

    async def open_stream(self, status: int, content_type: bytes, headers: Iterable[Header] = ()) -> StreamWriter:
        """Send the head of a response whose body comes in pieces."""
        self.status = status
        content = [(b"content-type", content_type), *self.response_headers, *headers]
        connection = self.scope.get("corral.connection")
        if connection is not None:
            connection.begin_stream(status, content)
            return connection  # type: ignore[no-any-return]  # an untyped extension of the scope
        await self.send({"type": "http.response.start", "status": status, "headers": content})
        return _AsgiStream(self.send)

    async def respond_json(self, value: Any, status: int = 200, headers: Iterable[Header] = ()) -> None:
        """Send a value as JSON."""
        await self.respond(status, msgspec.json.encode(value), JSON, headers)

    async def respond_nothing(self) -> None:
        """Send 204: it is done, and there is nothing to say."""
        self.status = 204
        await self.send({"type": "http.response.start", "status": 204, "headers": self.response_headers})
        await self.send({"type": "http.response.body", "body": b""})


class StreamWriter(Protocol):
    """Where the pieces of a response go."""

    def write_piece(self, piece: bytes) -> bool:
        """Write one. True: `drain` before the next one."""
        ...

    async def drain(self) -> None:
        """Wait until the client can take more, or has left."""
        ...

    def end_stream(self, last: bytes) -> object:
        """Write the last piece, which may be empty, and the end; await what it returns, if it is awaitable."""
        ...


class _AsgiStream:
    """On another ASGI server every piece is a message."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._piece = b""

    def write_piece(self, piece: bytes) -> bool:
        self._piece = piece
        return True

    async def drain(self) -> None:
        await self._send({"type": "http.response.body", "body": self._piece, "more_body": True})

    async def end_stream(self, last: bytes) -> None:
        await self._send({"type": "http.response.body", "body": last})


def parse_json(body: bytes, depth_max: int = 128) -> Any:
    """A JSON document as Python values. Errors read as `json`'s own, which AgentCore's clients know."""
    # How many brackets there are is found sooner by leaving them out than by counting.
    if len(body) - len(body.replace(b"[", b"").replace(b"{", b"")) > depth_max:
        _check_depth(body, depth_max)
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parse_slowly(body)


def _parse_slowly(body: bytes) -> Any:
    """Msgspec said no: `json` says why, or takes what only it takes (other encodings, very large numbers)."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
        msgspec.json.encode(value)
    except json.JSONDecodeError as error:
        raise InvalidJson(str(error)) from None
    except UnicodeError as error:
        raise InvalidEncoding(str(error)) from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidJson(str(error)) from None
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def too_deep(depth_max: int) -> InvalidJson:
    """What is wrong with JSON that has more levels than that."""
    return InvalidJson(f"The JSON is nested deeper than {depth_max} levels (`server.json_depth_max`).")


def _check_depth(body: bytes, depth_max: int) -> None:
    """Count open brackets outside of strings, all of it in C: a body may be large."""
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # Two quotes side by side hold nothing: an empty string is gone, or two strings become one, and brackets stay where they are.
    brackets = _STRING.sub(b"", body.translate(_ALL_SQUARE, _NO_STRUCTURE).replace(b'""', b""))
    levels = 0
    while brackets:
        inner = brackets.replace(b"[]", b"")  # the leaves: most of what is wide is gone after a few levels
        if 2 * len(inner) > len(brackets):
            levels += max(itertools.accumulate(memoryview(brackets.translate(_STEPS)).cast("b")))
            break
        brackets, levels = inner, levels + 1
    if levels > depth_max:
        raise too_deep(depth_max)
