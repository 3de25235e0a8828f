"""What the tests of this room share: agents that run without HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from corral.clock import new_id
from corral.context import Context
from corral.runtime.invocation import Invocation
from corral.runtime.registry import Agent
from corral.runtime.reply import Reply


def call_of(
    fn: Any, payload: Any = None, *, session: str | None = None, key: str | None = None, **said: Any
) -> Invocation:
    """An invocation of `fn`, as the edge makes one."""
    context = Context(said.pop("request_id", new_id()))
    context.session_id = session
    context.idempotency_key = key
    context.tenant = said.pop("tenant", "default")
    context.deadline = said.pop("deadline", None)
    target = fn if isinstance(fn, Agent) else Agent(said.pop("agent", "main"), fn)
    call = Invocation(target, payload, context, asyncio.get_running_loop().time())
    for name, value in said.items():
        setattr(call, name, value)
    return call


async def read(reply: Reply) -> Any:
    """What a client gets: the value, or the list of a stream's values. Raises what the stream raises."""
    if reply.text is not None:
        return json.loads(reply.text)
    if reply.stream is None:
        return reply.response
    try:
        return [json.loads(text) async for text in reply.stream]
    finally:
        await reply.stream.aclose()


class Gate:
    """Lets a test hold an agent up, and see that it got there; works between threads and loops."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.passed = 0
        self._loop = asyncio.get_running_loop()

    async def wait(self) -> None:
        """Be held up."""
        self.reached.set()
        await self.open.wait()
        self.passed += 1

    def mark(self) -> None:
        """Say from a thread that it got here."""
        self._loop.call_soon_threadsafe(self.reached.set)


async def until(condition: Any, seconds: float = 10.0) -> Any:
    """Wait until a condition holds that a thread brings about."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - a thread sets no event of ours
            await asyncio.sleep(0.002)
        return found
