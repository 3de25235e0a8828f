"""The innermost step: call the agent, wherever its kind has to run, and see what it answered with."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from corral.context import enter_context
from corral.errors import AgentFailed, CorralError
from corral.jobs.steps import Suspended
from corral.runtime.chunks import joined
from corral.runtime.entrypoint import Entrypoint
from corral.runtime.invocation import Invocation
from corral.runtime.reply import Reply, is_plain, is_response
from corral.runtime.threads import AgentThreads

OnError = Callable[..., Any]


class Runner:
    """Calls agents: asynchronous ones on the loop (or an isolated one), synchronous ones in threads."""

    def __init__(
        self, threads: AgentThreads, *, isolate: bool, stream_chunk_size: int, on_error: OnError | None = None
    ) -> None:
        """`on_error(error, payload, context)` may answer in place of an agent that failed."""
        self._threads = threads
        self._isolate = isolate
        self._chunk_size = stream_chunk_size
        self._on_error = on_error

    async def run(self, call: Invocation) -> Reply:
        """Call the agent. An error of its own becomes `AgentFailed`, or what `on_error` says instead."""
        enter_context(call.context)
        try:
            result = await self._call(await call.agent.ready(), call)
            if not is_plain(result) and inspect.isawaitable(result):
                result = await result  # a synchronous callable may hand back a coroutine
            return self._reply(result)
        except CorralError:
            raise
        except Exception as error:
            rescue = await self.rescue(call, error)
            if rescue is None:
                raise
            return rescue

    async def rescue(self, call: Invocation, error: Exception) -> Reply | None:
        """What the app's `on_error` answers in place of a failed agent; none when it has no answer either."""
        if self._on_error is None or call.cancel_reason is not None:
            return None
        try:
            value = self._on_error(error, call.payload, call.context)
            if inspect.isawaitable(value):
                value = await value
        except Exception as second:  # noqa: BLE001 - a failing on_error must not hide the agent's own error
            error.add_note(f"on_error failed too: {second!r}")
            return None
        call.outcome = "degraded"
        reply = Reply(value)
        reply.degraded = True
        return reply

    async def _call(self, agent: Entrypoint, call: Invocation) -> Any:
        args = (call.payload, call.context) if agent.takes_context else (call.payload,)
        kind = agent.kind
        if kind == "async":
            if self._isolate:
                return await self._threads.call_isolated(agent.fn, *args)
            return await agent.fn(*args)
        if kind in {"async_stream", "sync_stream"}:
            return agent.fn(*args)
        return await self._threads.call(agent.fn, *args)

    def _reply(self, result: Any) -> Reply:
        if is_plain(result):
            return Reply(result)
        if inspect.isasyncgen(result) or isinstance(result, AsyncIterator):
            source = self._threads.iterate_isolated(result) if self._isolate else result
            return Reply(source=joined(source, self._chunk_size))
        if inspect.isgenerator(result):
            return Reply(source=joined(self._threads.iterate(result), self._chunk_size))
        return Reply(response=result) if is_response(result) else Reply(result)


def agents_own(error: BaseException, call: Invocation) -> BaseException:
    """The error an outsider should see for what came out of an agent.

    Nothing an agent raises may take the worker down: not `sys.exit()`, and not a stray `CancelledError` either. Once
    the runtime has cancelled a call, whatever comes out of it is answered with the reason for that.
    """
    if call.cancel_reason is not None:
        if call.task is not None:
            while call.task.uncancel():  # the deadline may have come after another reason
                pass
        return call.cancelled_error()
    if isinstance(error, CorralError | Suspended):
        return error
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return error
        return AgentFailed("The agent was cancelled from inside.", original=error)
    if isinstance(error, GeneratorExit):
        return error
    failed = AgentFailed(str(error), original=error)
    failed.__cause__ = error
    return failed
