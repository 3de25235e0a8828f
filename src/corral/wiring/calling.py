"""Calls functions for tasks, on the road of the runtime: threads, streams, spans and numbers are those of agents."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import Context, is_asynchronous
from corral.errors import AgentFailed
from corral.runtime.entrypoint import kind_of
from corral.runtime.invocation import Invocation
from corral.runtime.payload import payload_type
from corral.runtime.registry import Agent
from corral.workflows.functions import LATEST, Function
from corral.workflows.tasks.task import FunctionFailed, Say, own_error

Answer = Callable[[Invocation, Say], Awaitable[bytes]]
"""What something that can be invoked answers, as JSON text."""

_STREAMS = frozenset({"async_stream", "sync_stream"})


class LambdaContext:
    """What AWS Lambda passes to a handler beside the event."""

    identity = None
    client_context = None

    def __init__(self, function: Function, context: Context, *, arn: str, timeout_s: float, clock: Clock) -> None:
        """For one call, which ends after `timeout_s` at the latest."""
        self.function_name = function.name
        self.function_version = LATEST
        self.invoked_function_arn = arn
        self.memory_limit_in_mb = str(function.memory_mb)
        self.aws_request_id = context.request_id
        self.log_group_name = f"/aws/lambda/{function.name}"
        self.log_stream_name = f"[{LATEST}]{context.trace_id or context.request_id}"
        self._now = clock.monotonic
        self._until = clock.monotonic() + timeout_s
        if context.deadline is not None:
            self._until = min(self._until, context.deadline)

    def get_remaining_time_in_millis(self) -> int:
        """How long the call may still take."""
        return max(0, int((self._until - self._now()) * 1000))

    def log(self, message: object) -> None:
        """Print it, as AWS Lambda's own does."""
        print(message)  # noqa: T201 - what the handler wants printed


class FunctionCalls:
    """Calls an app's functions."""

    def __init__(
        self, answer: Answer, *, timeout_s: float, region: str, account: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`answer` invokes them; `timeout_s` is for those that do not say how long they may take."""
        self._answer = answer
        self._timeout_s = timeout_s
        self._prefix = f"arn:aws:lambda:{region}:{account}:function:"
        self._clock = clock
        self._agents: dict[str, Agent] = {}

    async def call(self, function: Function, payload: Any, context: Context, say: Say) -> Any:
        """Call it and return JSON. Raises `FunctionFailed`."""
        timeout_s = function.timeout_s or self._timeout_s
        call = Invocation(self._agent(function), payload, context, self._clock.monotonic())
        try:
            async with asyncio.timeout(timeout_s) as bound:
                answer = await self._answer(call, say)
        except AgentFailed as error:
            original = error.original
            if isinstance(original, FunctionFailed):
                raise original from error
            raise (own_error(error) if original is None else own_error(original)) from error
        except TimeoutError as error:
            if not bound.expired():
                raise own_error(error) from error
            context.cancelled = True  # a plain function that looks ends by itself; its thread is its own
            message = f"RequestId: {context.request_id} Error: Task timed out after {timeout_s:.2f} seconds"
            raise FunctionFailed("Sandbox.Timedout", message) from error
        return msgspec.json.decode(answer)

    def _agent(self, function: Function) -> Agent:
        agent = self._agents.get(function.name)
        if agent is None:
            agent = self._agents[function.name] = Agent(f"function:{function.name}", self._entry(function))
        return agent

    def _entry(self, function: Function) -> Callable[..., Any]:
        """The function as `entry(payload, context)`, whose values are JSON."""
        fn, takes = function.fn, function.arguments
        kind = payload_type(fn) if function.context == "own" and takes else None

        def given(payload: Any, context: Context) -> tuple[Any, ...]:
            if kind is not None:
                payload = kind.convert(payload)
            if function.context == "own":
                return (payload, context)[:takes]
            arn, timeout_s = self._prefix + function.name, function.timeout_s or self._timeout_s
            return (payload, LambdaContext(function, context, arn=arn, timeout_s=timeout_s, clock=self._clock))[:takes]

        if kind_of(fn) in _STREAMS:
            return _streamed(fn, given)
        return _called(fn, given)


def _called(fn: Callable[..., Any], given: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    if is_asynchronous(fn):

        async def entry(payload: Any, context: Context) -> Any:
            return plain(await fn(*given(payload, context)))

        return entry

    def entry_in_thread(payload: Any, context: Context) -> Any:
        result = fn(*given(payload, context))
        return _awaited(result) if inspect.isawaitable(result) else plain(result)

    return entry_in_thread


async def _awaited(result: Awaitable[Any]) -> Any:
    """A plain function may hand back a coroutine."""
    return plain(await result)


def _streamed(fn: Callable[..., Any], given: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    if kind_of(fn) == "async_stream":

        async def entry(payload: Any, context: Context) -> Any:
            async for piece in fn(*given(payload, context)):
                yield plain(piece)

        return entry

    def entry_in_thread(payload: Any, context: Context) -> Any:
        for piece in fn(*given(payload, context)):
            yield plain(piece)

    return entry_in_thread


def plain(result: Any) -> Any:
    """A function's result as JSON; bytes are JSON already. Raises `FunctionFailed` for what is no JSON."""
    if isinstance(result, bytes | bytearray | memoryview):
        try:
            return msgspec.json.decode(result)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FunctionFailed(
                "Runtime.MarshalError", f"The function returned bytes, which are not JSON text: {error}"
            ) from None
    if _is_plain(result):
        return result
    try:
        return msgspec.json.decode(msgspec.json.encode(result, enc_hook=_refused))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FunctionFailed("Runtime.MarshalError", f"Unable to marshal response: {error}") from None


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in {str, int, bool}


def _refused(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "model_dump"):  # pydantic's, which nothing here imports
        return value.model_dump(mode="json")
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
