"""A server at an address: each message is a POST, answered with JSON or with a stream of events (streamable HTTP)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from corral.outbound.connection import CallFailed, Connection
from corral.outbound.pool import Pool
from corral.tools.mcp.events import EventReader
from corral.tools.mcp.wire import MESSAGE_BYTES_MAX, Ears, McpLost, Message, decode, encode

_log = logging.getLogger("corral.tools.mcp")

_SESSION = "mcp-session-id"
_VERSION = "mcp-protocol-version"
_EVENTS = "text/event-stream"
_ERRORS_FROM = 400
_ACCEPTED = 202
_NOT_FOUND, _NOT_ALLOWED = 404, 405
_LISTEN_S = 86_400.0
_RESUMES_MAX = 5
_RESUME_S, _RESUME_MAX_S = 0.5, 30.0
_STOP_S = 2.0
_SAID_MAX = 300


class HttpWire:
    """One session with a server. Answers that are streams are taken up again where they broke off, if the server can."""

    def __init__(
        self, name: str, url: str, *, headers: Mapping[str, str] | None = None, connect_s: float, timeout_s: float
    ) -> None:
        """`timeout_s`: the longest that any answer takes."""
        self._name = name
        self._url = url
        self._headers = {key.lower(): value for key, value in (headers or {}).items()}
        self._timeout_s = timeout_s
        self._pool = Pool(connect_s=connect_s, idle_s=timeout_s)
        self._listening = Pool(connect_s=connect_s, idle_s=_LISTEN_S)
        self._session = ""
        self._version = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: dict[object, asyncio.Task[None]] = {}
        """Answers that are still being read, by the number of their question."""
        self._ears: Ears | None = None
        self._stopped = False

    async def start(self, ears: Ears) -> None:
        """Nothing is sent yet: the first message opens the session."""
        self._ears = ears

    async def send(self, message: Message) -> None:
        """POST it; its answer is read while others are sent."""
        ears = self._heard_by()
        is_question = "method" in message and "id" in message
        connection = await self._post(encode(message))
        kind = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
        if message.get("method") == "initialize":
            self._session = connection.headers.get(_SESSION, "")
        if connection.status >= _ERRORS_FROM:
            await self._refused(connection)
        if is_question and kind == _EVENTS:
            number = message["id"]
            self._streams[number] = task = self._spawn(self._stream(connection, ears, number))
            task.add_done_callback(lambda _: self._streams.pop(number, None))
            return
        body = await self._body(connection)
        if is_question and connection.status != _ACCEPTED:
            self._hear(body, ears, message["id"])
        elif message.get("method") == "notifications/initialized":
            self._spawn(self._listen())
        elif message.get("method") == "notifications/cancelled":
            stream = self._streams.get(message["params"]["requestId"])
            if stream is not None:  # nobody reads on
                stream.cancel()

    def agreed(self, version: str) -> None:
        """Say it with every request."""
        self._version = version

    async def stop(self) -> None:
        """End the session."""
        if self._stopped:
            return
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._session:
            with contextlib.suppress(OSError, ValueError, TimeoutError):
                async with asyncio.timeout(_STOP_S), self._asked("DELETE", b"", self._pool, _STOP_S):
                    _log.debug("The session with the MCP server %s is over.", self._name)
        self._pool.close()
        self._listening.close()

    # -- one request

    async def _post(self, body: bytes) -> Connection:
        try:
            return await self._pool.ask("POST", self._url, self._said(), body, timeout_s=self._timeout_s)
        except (OSError, ValueError) as error:
            why = f"{self._url} cannot be reached: {error}"
            self._lost(why)
            raise McpLost(f"The MCP server {self._name!r} at {why}.") from None

    @asynccontextmanager
    async def _asked(
        self, method: str, body: bytes, pool: Pool, timeout_s: float, last_id: str = ""
    ) -> AsyncIterator[Connection]:
        headers = {**self._said(), **({"last-event-id": last_id} if last_id else {})}
        if method == "GET":
            headers["accept"] = _EVENTS
        connection = await pool.ask(method, self._url, headers, body, timeout_s=timeout_s)
        try:
            yield connection
        finally:
            pool.give_back(connection)

    def _said(self) -> dict[str, str]:
        headers = {"accept": f"application/json, {_EVENTS}", "content-type": "application/json", **self._headers}
        if self._session:
            headers[_SESSION] = self._session
        if self._version:
            headers[_VERSION] = self._version
        return headers

    async def _refused(self, connection: Connection) -> None:
        """The server does not take the message. A session it no longer knows is lost: a new one begins with a new wire."""
        status = connection.status
        text = (await self._body(connection))[:_SAID_MAX].decode(errors="replace")
        if status == _NOT_FOUND and self._session:
            self._lost("it has forgotten the session")
        elif not self._version:
            self._lost(f"it answers {status}")
        raise McpLost(f"The MCP server {self._name!r} answers {status}: {text or 'nothing else'}")

    async def _body(self, connection: Connection) -> bytes:
        body = bytearray()
        try:
            while (chunk := await connection.read()) is not None:
                body += chunk
                if len(body) > MESSAGE_BYTES_MAX:
                    raise McpLost(f"The MCP server {self._name!r} answers with more than {MESSAGE_BYTES_MAX} bytes.")
        except CallFailed as error:
            raise McpLost(f"The answer of the MCP server {self._name!r} broke off: {error}.") from None
        finally:
            self._pool.give_back(connection)
        return bytes(body)

    # -- answers that are streams

    async def _stream(self, connection: Connection, ears: Ears, number: object) -> None:
        """Hear all events of an answer; where it breaks off before it has answered, go on from the last event."""
        reader = EventReader()
        try:
            answered = await self._events(connection, reader, ears, number)
        finally:
            self._pool.give_back(connection)
        for attempt in range(_RESUMES_MAX):
            if answered or not reader.last_id:
                break
            await asyncio.sleep(_pause_s(reader, attempt))
            with contextlib.suppress(OSError, ValueError):  # it may be there again at the next attempt
                async with self._asked("GET", b"", self._listening, self._timeout_s, reader.last_id) as resumed:
                    if resumed.status >= _ERRORS_FROM:
                        break
                    answered = await self._events(resumed, reader, ears, number)
        if not answered:
            ears.heard(_broken(number))

    async def _events(self, connection: Connection, reader: EventReader, ears: Ears, number: object) -> bool:
        """Whether the answer to `number` was among them."""
        answered = False
        try:
            while (chunk := await connection.read()) is not None:
                for event in reader.feed(chunk):
                    answered = self._hear(event.data, ears, None, number) or answered
        except (CallFailed, ValueError) as error:
            _log.debug("A stream of the MCP server %s broke off: %s", self._name, error)
        return answered

    def _hear(self, body: bytes, ears: Ears, missing: object, number: object = None) -> bool:
        """Pass on a message, or several. `missing`: the question that is answered by an error if this is no message."""
        try:
            said = decode(body) if body.strip() else []
        except (msgspec.DecodeError, UnicodeError):
            said = []
        messages = [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, dict)]
        for message in messages:
            ears.heard(message)
        if not messages and missing is not None:
            ears.heard(_broken(missing))
        return any("method" not in one and one.get("id") == number for one in messages)

    async def _listen(self) -> None:
        """What the server says without being asked, if it offers that."""
        reader = EventReader()
        attempt = 0
        while not self._stopped:
            try:
                async with self._asked("GET", b"", self._listening, _LISTEN_S, reader.last_id) as connection:
                    kind = connection.headers.get("content-type", "")
                    if connection.status == _NOT_FOUND and self._session:
                        self._lost("it has forgotten the session")
                        return
                    if connection.status >= _ERRORS_FROM or not kind.startswith(_EVENTS):
                        return  # most say 405: they have nothing to say
                    attempt = 0
                    await self._events(connection, reader, self._heard_by(), None)
            except (OSError, ValueError) as error:
                if attempt >= _RESUMES_MAX:
                    self._lost(f"{self._url} cannot be reached: {error}")
                    return
            await asyncio.sleep(_pause_s(reader, attempt))
            attempt += 1

    # -- both

    def _heard_by(self) -> Ears:
        if self._ears is None or self._stopped:
            raise McpLost(f"The MCP server {self._name!r} is not connected.")
        return self._ears

    def _lost(self, why: str) -> None:
        if self._ears is not None:
            self._ears.lost(why)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _pause_s(reader: EventReader, attempt: int) -> float:
    return min(_RESUME_MAX_S, reader.retry_s if reader.retry_s is not None else _RESUME_S * 2.0**attempt)


def _broken(number: object) -> Message:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": -32000, "message": "The answer broke off."}}
