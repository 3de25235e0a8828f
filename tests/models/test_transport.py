from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from corral.errors import ModelFailed, ModelStreamBroken, ModelTimeout, ModelUnavailable
from corral.models import transport as module
from corral.models.transport import HttpStream, Transport, remaining_s

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Wild:
    """A server that does what it is told, and knows which connections were closed on it."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.asked = asyncio.Event()
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                self.asked.set()
                size = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(size[0] if size else 0)
                if not await self.answer(head.split(b" ")[1], reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def answer(self, path: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if path == b"/ok":
            writer.write(b"HTTP/1.1 429 Wait\r\nRetry-After: 3\r\ncontent-length: 2\r\n\r\n{}")
        elif path == b"/moved":
            writer.write(b"HTTP/1.1 307 Moved\r\nlocation: /ok\r\ncontent-length: 0\r\n\r\n")
        elif path == b"/stream":
            writer.write(CHUNKED + b"5\r\nhello\r\n")
            await writer.drain()
            writer.write(b"5\r\nworld\r\n0\r\n\r\n")
        elif path == b"/cut":
            writer.write(CHUNKED + b"5\r\nhello\r\n")
            return False
        elif path == b"/hang":
            writer.write(CHUNKED + b"5\r\nhello\r\n")
            await writer.drain()
            await reader.readexactly(1)
        elif path == b"/silent":
            await reader.readexactly(1)
        return path != b"/close"


@asynccontextmanager
async def wild(**limits: float) -> AsyncIterator[tuple[Wild, Transport, str]]:
    answers = Wild()
    server = await asyncio.start_server(answers.serve, "127.0.0.1", 0)
    transport = Transport("there", **{"connect_s": 5.0, "idle_s": 5.0, "timeout_s": 5.0} | limits)
    try:
        yield answers, transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        assert transport.open == 0
        await transport.stop()
        await transport.stop()
        server.close()
        await server.wait_closed()


async def test_an_answer_is_read_whatever_its_status():
    async with wild() as (answers, transport, url):
        answer = await transport.post(f"{url}/ok", b"{}", {"x-key": "1"})
        assert (answer.status, answer.headers["retry-after"], answer.body) == (429, "3", b"{}")
        assert b"x-key: 1" in answers.heads[0].lower()
        assert (await transport.get(f"{url}/ok", {})).status == 429
        assert len(answers.heads) == 2


async def test_keys_are_not_carried_elsewhere():
    async with wild() as (answers, transport, url):
        assert (await transport.post(f"{url}/moved", b"{}", {"authorization": "Bearer k"})).status == 307
        assert len(answers.heads) == 1


async def test_a_stream_comes_as_it_is_written():
    async with wild() as (_, transport, url):
        with await transport.stream(f"{url}/stream", b"{}", {}) as stream:
            assert transport.open == 1
            assert stream.status == 200
            assert b"".join([chunk async for chunk in stream]) == b"helloworld"


async def test_a_stream_that_breaks_off():
    async with wild() as (_, transport, url):
        heard: list[bytes] = []

        async def hear(stream: HttpStream) -> None:
            async for chunk in stream:
                heard.append(chunk)  # noqa: PERF401 - it breaks in the middle

        with (
            pytest.raises(ModelStreamBroken, match="there broke off"),
            await transport.stream(f"{url}/cut", b"{}", {}) as stream,
        ):
            await hear(stream)
        assert heard == [b"hello"]


async def test_silence_within_an_answer_and_before_one():
    async with wild(idle_s=0.05) as (_, transport, url):
        with pytest.raises(ModelTimeout), await transport.stream(f"{url}/hang", b"{}", {}) as stream:
            await stream.body()
        with pytest.raises(ModelTimeout):
            await transport.post(f"{url}/silent", b"{}", {})


async def test_no_more_time_than_the_call_has():
    async with wild() as (_, transport, url):
        with pytest.raises(ModelTimeout):
            await transport.post(f"{url}/silent", b"{}", {}, timeout_s=0.05)
        with pytest.raises(ModelTimeout), await transport.stream(f"{url}/hang", b"{}", {}, timeout_s=0.05) as stream:
            await stream.body()


async def test_nobody_there():
    async with wild() as (_, transport, url):
        with pytest.raises(ModelUnavailable, match="refused"):
            await transport.post("http://127.0.0.1:1/", b"", {})
        with pytest.raises(ModelUnavailable):
            await transport.post(f"{url}/close", b"{}", {})
        with pytest.raises(ModelUnavailable), await transport.stream(f"{url}/close", b"{}", {}):
            raise AssertionError


async def test_who_stops_reading_closes_the_connection():
    async with wild() as (answers, transport, url):
        with await transport.stream(f"{url}/hang", b"{}", {}) as stream:
            async for _ in stream:
                break
        await asyncio.wait_for(answers.left.wait(), 5)


async def test_who_is_cancelled_closes_the_connection():
    async with wild() as (answers, transport, url):
        task = asyncio.create_task(transport.post(f"{url}/silent", b"{}", {}))
        await asyncio.wait_for(answers.asked.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(answers.left.wait(), 5)


async def test_an_address_that_is_none():
    transport = Transport("there", connect_s=1, idle_s=1, timeout_s=1)
    with pytest.raises(ModelFailed, match="cannot be called"):
        await transport.post("nowhere", b"", {})


async def test_an_answer_without_end(monkeypatch):
    monkeypatch.setattr(module, "_ANSWER_BYTES_MAX", 7)
    async with wild() as (_, transport, url):
        stream = await transport.stream(f"{url}/stream", b"{}", {})
        with stream, pytest.raises(ModelStreamBroken, match="more than 7 bytes"):
            await stream.body()


def test_time_that_is_left():
    assert remaining_s(None, 5.0) is None
    assert remaining_s(6.5, 5.0) == 1.5
    with pytest.raises(ModelTimeout):
        remaining_s(5.0, 5.0)
