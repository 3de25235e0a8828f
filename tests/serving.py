"""A real server in the test's own loop: Corral's protocol on a free port, and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx
import msgspec
from uvicorn.config import Config
from uvicorn.server import ServerState

from corral.server.protocol import CorralProtocol
from corral.settings.sections import Settings
from corral.wiring.service import Service
from ready import ready_url


def settings_at(folder: Any, **sections: dict[str, Any]) -> Settings:
    """Settings with a store of the test's own; sections as in `corral.yaml`."""
    store = {"url": ready_url(folder), **sections.pop("store", {})}
    return msgspec.convert({"store": store, **sections}, Settings)


class Served:
    """A service that listens on a real socket of this loop."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.unexpected: list[BaseException] = []
        self.url = ""
        self.port = 0
        self.client: httpx.AsyncClient
        self._state = ServerState()

    async def start(self) -> None:
        await self.service.start()
        loop = asyncio.get_running_loop()
        config = Config(
            self.service,
            http=CorralProtocol,
            ws="websockets-sansio",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        config.load()
        self._server = await loop.create_server(
            lambda: CorralProtocol(config=config, server_state=self._state, app_state={}, _loop=loop), "127.0.0.1", 0
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = self.client_of()

    def client_of(self, **headers: str) -> httpx.AsyncClient:
        """One more client, with headers of its own."""
        return httpx.AsyncClient(base_url=self.url, timeout=20, headers=headers, trust_env=False)

    async def stop(self) -> None:
        await self.client.aclose()
        self._server.close()
        self.service.cancel_running()
        for connection in list(self._state.connections):
            connection.transport.abort()
        async with asyncio.timeout(20):
            while self._state.tasks:
                await asyncio.wait(list(self._state.tasks))
            await self.service.stop()

    # -- short ways to say what most tests say

    async def invoke(self, payload: Any = None, path: str = "/invocations", **headers: str) -> httpx.Response:
        """POST a JSON payload."""
        return await self.client.post(path, content=json.dumps(payload), headers=_named(headers))

    async def raw(self, request: bytes) -> bytes:
        """Send bytes over a connection of its own; everything that came back until the server closed it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return answer

    def stream(self, payload: Any = None, path: str = "/invocations", **headers: str) -> Any:
        """POST and read the answer as it comes: `async with … as response`."""
        return self.client.stream("POST", path, content=json.dumps(payload), headers=_named(headers))


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}


class Frames:
    """Reads a streamed response frame by frame."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, str]:
        """The fields of the next frame; empty at the end."""
        frame: dict[str, str] = {}
        async for line in self._lines:
            if not line:
                return frame
            name, _, value = line.partition(": ")
            frame[name] = value
        return frame

    async def data(self) -> Any:
        """The value of the next frame."""
        return json.loads((await self.next())["data"])

    async def rest(self) -> list[dict[str, str]]:
        """All frames that are left."""
        found = []
        while frame := await self.next():
            found.append(frame)
        return found
