"""A request's memory is free when it is over: nothing of it waits until the interpreter looks for what holds itself.

What waits for that lies in the memory of a hundred requests in place of one, and the processor's cache holds one.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from typing import Any

import pytest

from corral import App
from serving import Served, settings_at

_TIMES = 20
_CHAT = {"model": "sim/fast", "messages": [{"role": "user", "content": "hello"}]}
KINDS: dict[str, tuple[str, Any]] = {
    "chat": ("/v1/chat/completions", _CHAT),
    "chat, streamed": ("/v1/chat/completions", _CHAT | {"stream": True}),
    "response": ("/v1/responses", {"model": "sim/fast", "input": "hello"}),
    "embedding": ("/v1/embeddings", {"model": "sim/embed", "input": "hello"}),
    "invocation": ("/invocations", {"say": "hello"}),
    "invocation, streamed": ("/invocations", {"pieces": 3}),
    "job that is waited for": ("/v1/jobs?wait=5s", {"agent": "main", "input": {"say": "hello"}}),
    "refusal": ("/v1/chat/completions", {"model": "sim/fast"}),
}


@pytest.fixture
async def server(tmp_path):
    app = App()

    @app.entrypoint
    async def main(payload):
        if "pieces" in payload:

            async def pieces():
                for number in range(payload["pieces"]):
                    yield {"n": number}

            return pieces()
        return payload

    served = Served(app.build(settings_at(tmp_path, cache={"exact": True, "coalesce": "always"})))
    await served.start()
    yield served
    await served.stop()


class Connection:
    """One that leaves nothing behind itself, as clients from libraries do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, path: str, body: Any) -> bytes:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        for line in answer.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return answer + await self._reader.readexactly(int(line.partition(b":")[2]))
        return answer + await self._reader.readuntil(b"0\r\n\r\n")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_that_is_over_holds_nothing(server, kind):
    path, body = KINDS[kind]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connection = Connection(reader, writer)
    for number in range(3):
        assert await connection.ask(path, body | {"user": f"first {number}"} if "model" in body else body)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for number in range(_TIMES):
            await connection.ask(path, body | {"user": f"{number}"} if "model" in body else body)
        gc.collect()
        left = Counter(type(one).__name__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        writer.close()
        await writer.wait_closed()
    often = {name: count for name, count in left.items() if count >= _TIMES}
    assert not often, f"after {_TIMES} requests, these hold each other: {often}"
