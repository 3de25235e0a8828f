"""The outermost layer: each call shows in its request's trace and in the numbers, whatever the layers below make of it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_span_id
from corral.context import Context, find_context
from corral.messages import ToolReply
from corral.observability import semconv
from corral.observability.store import Span
from corral.observability.traces import below, current_span_id, finished_span
from corral.tools.stack import RunTool, Use

Over = Callable[[Use, ToolReply | None, float], None]
"""A call is over: its reply (none: it was cancelled), and how long it took."""


class Traced:
    """Times all of a call. What the tool records itself stands below its span."""

    def __init__(self, over: Over | None = None, *, capture: bool = False, clock: Clock = SYSTEM_CLOCK) -> None:
        """`capture`: arguments and results go into the trace, redacted."""
        self._over = over
        self._capture = capture
        self._clock = clock

    def __call__(self, use: Use, proceed: RunTool) -> Awaitable[ToolReply]:
        """Pass on."""
        context = find_context()
        if context is None or context.traces is None:
            return self._timed(use, proceed)
        return self._recorded(use, proceed, context)

    async def _timed(self, use: Use, proceed: RunTool) -> ToolReply:
        begun = self._clock.monotonic()
        reply: ToolReply | None = None
        try:
            reply = await proceed(use)
        finally:
            seconds = self._clock.monotonic() - begun
            if self._over is not None:
                self._over(use, reply, seconds)
        return msgspec.structs.replace(reply, duration_s=seconds)

    async def _recorded(self, use: Use, proceed: RunTool, context: Context) -> ToolReply:
        begun, started_at = self._clock.monotonic(), self._clock.now()
        parent_id, span_id = current_span_id(context), new_span_id()
        reply: ToolReply | None = None
        failure = ""
        try:
            with below(context, span_id):
                reply = await proceed(use)
        except asyncio.CancelledError:
            failure = "cancelled"
            raise
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            seconds = self._clock.monotonic() - begun
            if reply is not None and reply.fault is not None:
                failure = reply.fault.code
            if self._over is not None:
                self._over(use, reply, seconds)
            made = functools.partial(
                self._span,
                context,
                use,
                reply,
                span_id=span_id,
                parent_id=parent_id,
                started_at=started_at,
                duration_s=seconds,
                failure=failure,
            )
            context.traces.record_made(made)
        return msgspec.structs.replace(reply, duration_s=seconds)

    def _span(
        self,
        context: Context,
        use: Use,
        reply: ToolReply | None,
        *,
        span_id: str,
        parent_id: str,
        started_at: float,
        duration_s: float,
        failure: str,
    ) -> Span:
        return finished_span(
            context,
            f"{semconv.EXECUTE_TOOL} {use.tool.name}",
            "internal",
            span_id=span_id,
            parent_id=parent_id,
            started_at=started_at,
            duration_s=duration_s,
            failed=failure not in _NO_FAILURES,
            attributes=self._attributes(use, reply, failure),
        )

    def _attributes(self, use: Use, reply: ToolReply | None, failure: str) -> dict[str, Any]:
        call = use.call
        found: dict[str, Any] = {
            semconv.OPERATION: semconv.EXECUTE_TOOL,
            semconv.TOOL_NAME: use.tool.name,
            semconv.TOOL_CALL_ID: call.id or None,
            semconv.ERROR_TYPE: failure or None,
        }
        for name, value in call.notes.items():
            found[f"corral.tool.{name}"] = value
        if reply is not None:
            found["corral.tool.cached"] = reply.cached or None
            found["corral.tool.artefact"] = reply.artefact or None
            found[semconv.COST] = reply.cost_usd
        if self._capture:
            found["corral.tool.input"] = call.input
            found["corral.tool.output"] = None if reply is None else reply.content
        return found


_NO_FAILURES = frozenset({"", "cancelled", "approval_required"})
