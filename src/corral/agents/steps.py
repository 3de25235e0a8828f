"""The spans of a run: one for all of it, one for each step; what models and tools record stands below their step."""

from __future__ import annotations

import contextvars
import functools
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock, new_span_id
from corral.context import Context
from corral.messages import ModelReply
from corral.observability import semconv
from corral.observability.store import Span
from corral.observability.traces import below, current_span_id, enter_below, finished_span


class Steps:
    """Times one go at a run. Outside of an invocation, nothing is recorded."""

    __slots__ = (
        "_begun",
        "_clock",
        "_context",
        "_parent_id",
        "_reply",
        "_run_id",
        "_span_id",
        "_started_at",
        "_step",
        "_step_at",
    )

    def __init__(self, context: Context | None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """The run begins here, below whatever span is open."""
        self._clock = clock
        self._context = context if context is not None and context.traces is not None else None
        self._begun = clock.monotonic()
        self._started_at = clock.now()
        self._step = 0
        self._step_at = 0.0
        self._span_id = ""
        self._reply: ModelReply | None = None
        if self._context is not None:
            self._parent_id = current_span_id(self._context)
            self._run_id = new_span_id()

    def open(self, step: int) -> None:
        """A step begins, or goes on."""
        if self._context is not None and self._step != step:
            self._step, self._reply = step, None
            self._span_id = new_span_id()
            self._step_at = self._clock.monotonic()

    def below(self) -> below:
        """What is recorded in this block belongs to the step."""
        return below(self._context, self._span_id)

    def enter(self, place: contextvars.Context) -> None:
        """What runs in this context belongs to the step."""
        if self._context is not None:
            enter_below(place, self._context, self._span_id)

    def answered(self, reply: ModelReply) -> None:
        """The model has answered."""
        self._reply = reply

    def close(self, *, failed: str = "") -> None:
        """The step is over. Without an open one, nothing happens."""
        context = self._context
        if context is None or not self._step:
            return
        took = self._clock.monotonic() - self._step_at
        reply = self._reply
        made = functools.partial(
            _span_of_step,
            context,
            self._step,
            reply,
            span_id=self._span_id,
            parent_id=self._run_id,
            started_at=self._clock.now() - took,
            duration_s=took,
            failure=failed,
        )
        context.traces.record_made(made)
        self._step = 0

    def end(self, agent: str, outcome: str, facts: dict[str, Any]) -> float:
        """The go is over; returns how long it took."""
        took = self._clock.monotonic() - self._begun
        context = self._context
        if context is not None:
            self.close()
            failed = outcome not in {"done", "paused", "cancelled"}
            context.traces.record(
                finished_span(
                    context,
                    f"{semconv.INVOKE_AGENT} {agent}",
                    "internal",
                    span_id=self._run_id,
                    parent_id=self._parent_id,
                    started_at=self._started_at,
                    duration_s=took,
                    failed=failed,
                    attributes={
                        semconv.OPERATION: semconv.INVOKE_AGENT,
                        semconv.AGENT_NAME: agent,
                        semconv.OUTCOME: outcome,
                        semconv.ERROR_TYPE: outcome if failed else None,
                        **facts,
                    },
                )
            )
        return took


def _span_of_step(
    context: Context,
    step: int,
    reply: ModelReply | None,
    *,
    span_id: str,
    parent_id: str,
    started_at: float,
    duration_s: float,
    failure: str,
) -> Span:
    return finished_span(
        context,
        f"step {step}",
        "internal",
        span_id=span_id,
        parent_id=parent_id,
        started_at=started_at,
        duration_s=duration_s,
        failed=bool(failure),
        attributes={
            "corral.agent.step": step,
            "corral.agent.tools": None if reply is None else [str(use.get("name")) for use in reply.tool_uses],
            semconv.ERROR_TYPE: failure or None,
        },
    )
