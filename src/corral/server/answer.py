"""Run an invocation for a request and write what comes out of it, in the dialect of the API that was called."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from corral.context import check_scope
from corral.errors import CorralError, ValidationFailed
from corral.limits.rates import RateExceeded
from corral.runtime.invocation import Invocation
from corral.runtime.payload import is_id
from corral.runtime.pipeline import Proceed
from corral.runtime.registry import Agent
from corral.runtime.reply import Reply
from corral.server.dialects import Dialect
from corral.server.disconnect import ClientWatch
from corral.server.http import EVENT_STREAM, JSON, ClientGone, Request

_CONFLICT_HEADER = b"x-on-conflict"
_PRIORITY_HEADER = b"x-corral-priority"
_POLICIES = frozenset({"enqueue", "reject", "interrupt", "rollback"})
_FLUSH_S = 0.002
"""Pieces that come faster than this are sent together."""

_STREAM_HEADERS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class Answerer:
    """What all APIs that run agents share."""

    def __init__(self, pipeline: Proceed, *, id_chars_max: int) -> None:
        """`pipeline` runs an invocation."""
        self._pipeline = pipeline
        self._id_chars_max = id_chars_max

    async def answer(self, request: Request, agent: Agent, payload: Any, dialect: Dialect, *, strict: bool) -> None:
        """Run `agent` and write the reply. An error before the first piece is a plain response, later an event.

        `strict` applies the limits of our own API, and takes session and user from the payload where no header names
        them; AgentCore's contract does neither.
        """
        call = Invocation(agent, payload, request.context, request.started_at)
        request.call = call
        call.strict = strict
        watch: ClientWatch | None = None
        try:
            self._complete(call, request)
            task = asyncio.current_task()
            watch = ClientWatch(request, lambda: self._client_left(call, task))
            reply = await self._pipeline(call)
            await self._write(request, reply, dialect, watch)
        except asyncio.CancelledError:
            if watch is None or (call.cancel_reason is None and not watch.gone):
                raise
            if watch.gone:
                request.failure = ClientGone()
            else:  # it came between the end of the run and the last byte of the answer
                request.failure = cancelled(call)
                await write_error(request, request.failure, dialect)
        except CorralError as error:
            request.failure = error
            request.response_headers += call.told
            if watch is not None and watch.gone:
                request.failure = ClientGone()
            else:
                await write_error(request, error, dialect)
        finally:
            if watch is not None:
                watch.close()

    def _client_left(self, call: Invocation, task: asyncio.Task[Any] | None) -> None:
        if not call.client_may_leave:
            call.cancel("client")
        elif task is not None:
            task.cancel()  # this follower only; the run goes on for its grace time

    def _complete(self, call: Invocation, request: Request) -> None:
        """What the request says about the call, beyond its context."""
        context, payload = call.context, call.payload
        context.agent = call.agent.name
        check_scope("agent", context.agent, context.agents_allowed)
        policy = request.header(_CONFLICT_HEADER) or request.query.get("on_conflict")
        if policy is not None:
            if policy not in _POLICIES:
                raise ValidationFailed(f"on_conflict is one of {', '.join(sorted(_POLICIES))}, not {policy[:40]!r}.")
            call.on_conflict = policy  # type: ignore[assignment]  # just checked
        asked = request.headers.get(_PRIORITY_HEADER)
        if asked is not None:
            if len(asked) != 1 or not asked.isdigit():
                raise ValidationFailed("The header x-corral-priority is a whole number from 0 (last) to 9 (first).")
            context.priority = int(asked)
        if call.strict and type(payload) is dict:
            if context.session_id is None and is_id(payload.get("session_id"), self._id_chars_max):
                context.session_id = payload["session_id"]
            if context.user_id is None and is_id(payload.get("user_id"), self._id_chars_max):
                context.user_id = payload["user_id"]

    async def _write(self, request: Request, reply: Reply, dialect: Dialect, watch: ClientWatch) -> None:
        request.response_headers += request.call.told
        if reply.degraded:
            request.response_headers.append((b"x-degraded", b"on_error"))
        if reply.replayed:
            request.response_headers.append((b"idempotent-replayed", b"true"))
        if reply.text is not None and watch.gone:  # the agent answered all the same, to nobody
            request.failure = ClientGone()
        elif reply.text is not None:
            await request.respond(200, reply.text.encode(), JSON, dialect.headers(request))
        elif reply.stream is not None:
            await self._write_stream(request, reply.stream, dialect, watch)
        else:
            request.status = reply.response.status_code
            await reply.response(request.scope, request.receive, request.send)

    async def _write_stream(
        self, request: Request, stream: AsyncIterator[str], dialect: Dialect, watch: ClientWatch
    ) -> None:
        number = 0
        try:
            writer = await request.open_stream(200, EVENT_STREAM, (*_STREAM_HEADERS, *dialect.headers(request)))
            flushed_at = 0.0
            try:
                async for text in stream:
                    number += 1
                    if writer.write_piece(dialect.piece(number, text)):
                        await writer.drain()
                    now = monotonic()
                    if now - flushed_at > _FLUSH_S:
                        # The loop sends what was written when it gets its turn, which an agent that computes between
                        # its pieces would not give it.
                        flushed_at = now
                        await asyncio.sleep(0)
            except (CorralError, asyncio.CancelledError) as error:
                failure = request.failure = error if isinstance(error, CorralError) else cancelled(request.call)
                last = dialect.broken(request, failure, number + 1)
            else:
                last = dialect.finished(request, number + 1)
            if watch.gone:
                request.failure = ClientGone()
            ended = writer.end_stream(last)
            if inspect.isawaitable(ended):
                await ended
        finally:
            await stream.aclose()  # type: ignore[attr-defined]  # every stream that leaves the pipeline has it


def cancelled(call: Invocation) -> CorralError:
    """The reason why the runtime cancelled a task that was writing; a client that left is told nothing."""
    if call.cancel_reason in {None, "client"} or call.task is None:
        raise asyncio.CancelledError
    while call.task.uncancel():
        pass
    return call.cancelled_error()


async def write_error(request: Request, error: BaseException, dialect: Dialect) -> None:
    """Write an error as a complete response, unless something was written already."""
    if request.status:
        return
    if isinstance(error, RateExceeded):  # it says itself how the limits stand, and newer
        request.response_headers = [header for header in request.response_headers if b"ratelimit-" not in header[0]]
    answer = dialect.error(request, error)
    await request.respond(answer.status, answer.body, answer.content_type, answer.headers)
