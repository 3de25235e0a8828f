"""A real HTTP server that answers as it is told, well or badly, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec


class Asked(msgspec.Struct):
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return msgspec.json.decode(self.body)


class Answer(msgspec.Struct):
    """What to answer: `fault` is `` (all is well), `cut` (closed after the pieces), `hang` (silent after them), `reset` (torn off after
    them), `close` (closed before the head), `silent` (nothing at all), or `tear` (torn off before the head)."""

    status: int = 200
    headers: dict[str, str] = {}
    pieces: Sequence[bytes] = ()
    fault: str = ""
    pause_s: float = 0.0


class FaultyServer:
    """Answers with what `answers` gives for a request; by default always the same."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer = Answer()
        self.answers: Callable[[Asked], Answer] = lambda _: self.answer
        self.left = asyncio.Event()
        self.connections = 0
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = first.split(" ")
                self.asked.append(Asked(method, path, headers, body))
                answer = self.answers(self.asked[-1])
                if answer.fault == "close":
                    return
                if answer.fault not in {"silent", "tear"}:
                    await self._write(writer, answer)
                if answer.fault in {"hang", "silent"}:
                    await reader.readexactly(1)
                if answer.fault in {"reset", "tear"}:
                    _tear(writer)
                if answer.fault in {"cut", "reset", "tear"}:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Close every connection that is still there."""
        for writer in self._writers:
            writer.transport.abort()

    async def _write(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        headers = "".join(f"{key}: {value}\r\n" for key, value in answer.headers.items())
        writer.write(f"HTTP/1.1 {answer.status} Answer\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode())
        for piece in answer.pieces:
            if answer.pause_s:
                await writer.drain()
                await asyncio.sleep(answer.pause_s)
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if not answer.fault:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


def _tear(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side hears of a reset and not of an end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def faulty_server() -> AsyncIterator[FaultyServer]:
    """It runs, and afterwards nobody is connected any more."""
    faulty = FaultyServer()
    server = await asyncio.start_server(faulty._serve, "127.0.0.1", 0)
    faulty.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield faulty
    finally:
        server.close()
        faulty.hang_up()
        await server.wait_closed()


def sliced(body: bytes, size: int) -> list[bytes]:
    """The bytes in pieces, wherever they are cut."""
    return [body[at : at + size] for at in range(0, len(body), size)]
