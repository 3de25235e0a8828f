"""The same on bare Starlette: the least a JSON echo and a stream can cost with its types."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


async def echo(request: Request) -> Response:
    """Say it again."""
    return JSONResponse(await request.json())


async def stream(request: Request) -> Response:
    """Count to a hundred."""
    await request.json()

    async def events() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b'data: {"token": %d}\n\n' % number

    return StreamingResponse(events(), media_type="text/event-stream")


async def ping(_: Request) -> Response:
    """Be alive."""
    return JSONResponse({"status": "Healthy"})


app = Starlette(
    routes=[
        Route("/invocations", echo, methods=["POST"]),
        Route("/stream", stream, methods=["POST"]),
        Route("/ping", ping),
    ]
)
