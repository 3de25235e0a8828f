"""Answers in a durable job: written down before they are given, so that no attempt pays for one twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from corral.context import Context
from corral.errors import ModelStreamBroken
from corral.messages import Delta, ModelEvent, ModelReply, closing


async def asked_once(context: Context, name: str, ask: Callable[[], Awaitable[ModelReply]]) -> ModelReply:
    """The answer; asked for only if the journal has none under this name."""

    async def step() -> Any:
        return msgspec.to_builtins(await ask())

    return msgspec.convert(await context.step(name, step), ModelReply)


def run_once(context: Context, name: str, ask: Callable[[], ModelReply]) -> ModelReply:
    """The same in a thread."""
    return msgspec.convert(context.run_step(name, lambda: msgspec.to_builtins(ask())), ModelReply)


async def streamed_once(context: Context, name: str, events: AsyncIterator[ModelEvent]) -> AsyncIterator[ModelEvent]:
    """The answer as it comes; one that was written down comes at once, as it would have been streamed.

    The reply is given last, once it is written down. Who leaves early stops the call, and nothing is written.
    """
    pieces: asyncio.Queue[ModelEvent | None] = asyncio.Queue()  # no longer than the answer, which is kept anyway
    live = False

    async def step() -> Any:
        nonlocal live
        live = True
        async with closing(events) as all_events:
            async for event in all_events:
                if type(event) is ModelReply:
                    return msgspec.to_builtins(event)
                pieces.put_nowait(event)
        raise ModelStreamBroken

    # Numbered here, by the run's own task; awaited by another, so that pieces can be passed on meanwhile.
    asked: asyncio.Future[Any] = asyncio.ensure_future(context.step(name, step))
    asked.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        while (piece := await pieces.get()) is not None:
            yield piece
        reply = msgspec.convert(asked.result(), ModelReply)
        if not live:
            for delta in _as_deltas(reply):
                yield delta
        yield reply
    finally:
        await _ended(asked)
        async with closing(events):  # never begun, if the journal had the answer
            pass


async def _ended(asked: asyncio.Future[Any]) -> None:
    if not asked.done():
        asked.cancel()
        await asyncio.wait({asked})
    if not asked.cancelled():
        asked.exception()  # seen: it was raised where it was waited for, or nobody waits any more


def _as_deltas(reply: ModelReply) -> list[Delta]:
    deltas: list[Delta] = []
    for index, part in enumerate(reply.content):
        match part.get("type"):
            case "text" | "reasoning" as kind:
                deltas.append(Delta(kind, str(part.get("text", "")), index))
            case "tool_use":
                deltas.append(Delta("tool_use", "", index, str(part.get("id", "")), str(part.get("name", ""))))
                written = part.get("input_text") or msgspec.json.encode(part.get("input") or {}).decode()
                deltas.append(Delta("tool_input", str(written), index))
            case _:
                continue
    return deltas
