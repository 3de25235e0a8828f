"""One request and its answer, as ASGI knows them: uvicorn's, without what is set up for a request that is answered at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from uvicorn._types import ASGIReceiveEvent, HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from corral.server.protocol import CorralProtocol

_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange(RequestResponseCycle):
    """What came of a request and was not read yet, and how far its answer is.

    Exchanges of one connection share the event by which who waits for more of a request hears that something came.
    """

    # What only ASGI's own messages need, or nobody but uvicorn; few requests set any of it.
    access_log = False
    logger = logging.getLogger("uvicorn.error")
    waiting_for_100_continue = True
    """Nobody waited for the body yet."""
    was_read = is_told = False
    """Whether something of the body was read, and whether all of it was."""
    waiting = 0
    """How many wait for more of it."""
    chunked_encoding = None
    expected_content_length = 0

    def __init__(self, connection: CorralProtocol, scope: HTTPScope, *, keep_alive: bool) -> None:
        """In place of uvicorn's own, which sets up a dozen things more."""
        self.connection = connection
        self.scope = scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.message_event = connection.something_came
        self.default_headers = connection.server_state.default_headers
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""  # type: ignore[assignment]  # as it came: most bodies come in one piece, which is not copied
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False

    def on_response(self) -> None:
        """The answer is complete."""
        self.connection.on_response_complete()

    def all_read(self) -> bytes:
        """What came and was not read; `receive` has no more of it then."""
        self.flow.resume_reading()
        self.was_read, self.is_told = True, not self.more_body
        body, self.body = self.body, b""
        return bytes(body)

    async def receive(self) -> ASGIReceiveEvent:
        """What came meanwhile, or that the client has gone."""
        while not (self.body or self.disconnected or self.response_complete) and (self.more_body or self.is_told):
            self._ask_for_more()
            self.message_event.clear()
            self.waiting += 1
            try:
                await self.message_event.wait()
            finally:
                self.waiting -= 1
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self.all_read(), "more_body": self.more_body}

    def _ask_for_more(self) -> None:
        """Some clients send a body only when they are told to."""
        if (
            self.waiting_for_100_continue
            and not (self.response_started or self.transport.is_closing())
            and any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.scope["headers"])
        ):
            self.transport.write(_GO_ON)
        self.waiting_for_100_continue = False
        self.flow.resume_reading()
