"""Small HTTP servers that behave as told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Self

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(answer: bytes) -> Behaviour:
    """Reads the request and says this, then closes."""

    async def behave(reader, writer):
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    return behave


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


class Listening:
    """A server on a free port of the loopback."""

    def __init__(self, behave: Behaviour, tls=None, host: str = "127.0.0.1") -> None:
        self.behave = behave
        self.host = host
        self.port = 0
        self.connections = 0
        self._tls = tls
        self._running: set[asyncio.Task] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self.host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error) -> None:
        self._server.close()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _connected(self, reader, writer) -> None:
        self.connections += 1
        task = asyncio.current_task()
        self._running.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.behave(reader, writer)
        finally:
            self._running.discard(task)
            writer.transport.abort() if self._tls else writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
