"""`GET /v1/executions/{id}/events`: an execution's history so far and then live, and what its tasks tell meanwhile."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any

from corral.errors import CorralError
from corral.messages import closing
from corral.server.dialects import problem
from corral.server.disconnect import while_there
from corral.server.http import EVENT_STREAM, Request, StreamWriter
from corral.server.job_query import after_of
from corral.server.workflow_shown import END_MARK, frame, shown_event, shown_execution
from corral.workflows.desk import WorkflowDesk
from corral.workflows.execution import Progress
from corral.workflows.machine.run import HistoryEvent

_HEADERS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_HEARTBEAT = b": here\n\n"


class ExecutionStream:
    """Tells what becomes of one execution."""

    def __init__(self, desk: WorkflowDesk, *, heartbeat_s: float) -> None:
        """`heartbeat_s`: a stream says that it is there at least this often."""
        self._engine = desk.engine
        self._leaving = desk.leaving
        self._heartbeat_s = heartbeat_s

    async def answer(self, request: Request) -> None:
        """Events of the history carry their numbers as ids; the last frame is how it ended, named by its status."""
        tenant = request.context.tenant
        after, heard_end = after_of(request)
        info = await self._engine.describe(tenant, request.params["id"])
        if heard_end and info.is_over:
            await request.respond_nothing()  # a browser that is answered 204 does not come back
            return
        writer = await request.open_stream(200, EVENT_STREAM, _HEADERS)
        with while_there(request):
            last = await self._tell(request, writer, info.id, after)
            ended = writer.end_stream(last)
            if inspect.isawaitable(ended):
                await ended

    async def _tell(self, request: Request, writer: StreamWriter, execution_id: str, after: int) -> bytes:
        """Write what is new until the end, and return the last frame."""
        tenant, seq = request.context.tenant, after
        try:
            async with closing(self._engine.follow(tenant, execution_id, after=after)) as told:
                async for news in _or_silence(told, self._heartbeat_s, self._leaving):
                    piece = _HEARTBEAT if news is None else _frame_of(news)
                    if isinstance(news, HistoryEvent):
                        seq = news.id
                    if writer.write_piece(piece):
                        await writer.drain()
            info = await self._engine.describe(tenant, execution_id)
        except CorralError as error:  # the head is sent: what happened is an event
            request.failure = error
            return frame("error", problem(request, error))
        if not info.is_over:
            return b": this worker leaves, come back\n\n"
        return frame(info.status.lower(), shown_execution(info), f"{seq}{END_MARK}")


async def _or_silence(
    told: AsyncIterator[HistoryEvent | Progress], silence_s: float, leaving: asyncio.Event
) -> AsyncIterator[HistoryEvent | Progress | None]:
    """What is told, until this worker leaves; None whenever nothing was for so long."""
    left: asyncio.Future[Any] = asyncio.ensure_future(leaving.wait())
    coming: asyncio.Future[Any] = asyncio.ensure_future(anext(told))
    try:
        while True:
            await asyncio.wait([coming, left], timeout=silence_s, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                try:
                    news = coming.result()
                except StopAsyncIteration:
                    return
                coming = asyncio.ensure_future(anext(told))
                yield news
            elif left.done():
                return
            else:
                yield None
    finally:
        coming.cancel()
        left.cancel()
        await asyncio.gather(coming, left, return_exceptions=True)


def _frame_of(news: HistoryEvent | Progress) -> bytes:
    if isinstance(news, Progress):  # without the token: who has that may end the task
        return frame("progress", {"state": news.state, "data": news.data})
    return frame("history", shown_event(news), str(news.id))
