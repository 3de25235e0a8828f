"""The echo agent and the streaming agent, on Corral."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from corral import App

app = App()


@app.entrypoint
async def echo(payload: Any) -> Any:
    """Say it again."""
    return payload


@app.entrypoint(name="stream")
async def stream(payload: Any) -> AsyncIterator[Any]:  # noqa: ARG001 - an agent takes a payload
    """Count to a hundred."""
    for number in range(100):
        yield {"token": number}
