"""The calls of tools that one answer asks for: all at once, their results as they come."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from typing import Any

import msgspec

from corral.agents.event import ToolFinished, ToolStarted
from corral.agents.journal import RunState, effect_key
from corral.messages import Caller, CallTool, ToolCall, ToolReply
from corral.tools.failing import failed
from corral.tools.parallel import ParallelToolExecutor, Turn


class Calling:
    """Calls the tools of one run."""

    __slots__ = ("_agent", "_call", "_caller", "_executor", "_tainted")

    def __init__(
        self,
        agent: str,
        call: CallTool,
        caller: Caller,
        *,
        executor: ParallelToolExecutor,
        tainted: tuple[str, ...] = (),
    ) -> None:
        """`tainted` is where words in the conversation before this run came from that nobody of ours wrote."""
        self._agent = agent
        self._call = call
        self._caller = caller
        self._executor = executor
        self._tainted = tainted

    def ready(self, state: RunState, run_id: str, deadline: float) -> list[ToolCall]:
        """The calls that can be made now: those that wait for a person are not among them.

        `run_id` is what their effects are remembered by; empty: nobody can go on with this run, so none need be.
        """
        waiting = {wanted.call for wanted in state.waits_for} if state.approvals else ()
        tainted = state.tainted
        if self._tainted:
            tainted = tuple(dict.fromkeys((*self._tainted, *tainted)))
        return [
            msgspec.structs.replace(
                call,
                caller=self._caller,
                tainted=tainted,
                idempotency_key=effect_key(run_id, state.step, call.id) if run_id else "",
                deadline=deadline,
            )
            for call in state.pending
            if call.id not in waiting
        ]

    def settled(self, state: RunState, calls: Sequence[ToolCall]) -> tuple[Sequence[ToolCall], list[ToolReply]]:
        """The calls that are made, and replies to those that are not: a person refused them, or nobody can read them."""
        unreadable = _unreadable(state)
        if not unreadable and not state.decisions:
            return calls, []
        made: list[ToolCall] = []
        replies: list[ToolReply] = []
        for call in calls:
            decision = state.decisions.get(call.id)
            if decision is not None and decision.decision == "refuse":
                replies.append(_refused(call, decision.by, decision.note))
            elif call.id in unreadable and (decision is None or decision.input is None):
                replies.append(_misread(call, unreadable[call.id]))
            else:
                made.append(call)
        return made, replies

    def begin(self, calls: Sequence[ToolCall], place: contextvars.Context) -> Turn:
        """The calls, on their way in this context. Closing it cancels those that still run."""
        return self._executor.begin(self._call, calls, context=place)

    def started(self, step: int, call: ToolCall) -> ToolStarted:
        """The event that says so."""
        return ToolStarted(agent=self._agent, step=step, id=call.id, name=call.name, input=call.input)

    def finished(self, step: int, reply: ToolReply) -> ToolFinished:
        """The event that says so."""
        return ToolFinished(
            agent=self._agent,
            step=step,
            id=reply.id,
            name=reply.name,
            content=reply.content,
            error=reply.fault.code if reply.fault is not None else "",
            cached=reply.cached,
            duration_s=reply.duration_s,
        )


def _unreadable(state: RunState) -> dict[str, Any]:
    """Calls of the last answer whose arguments are no JSON, by id."""
    for message in reversed(state.messages):
        if message.role == "assistant":
            return {part["id"]: part["input_text"] for part in message.content if "input_text" in part}
    return {}


def _misread(call: ToolCall, written: Any) -> ToolReply:
    message = f"The arguments are not a JSON object: {str(written)[:500]!r}. Call the tool again, with an object that fits its schema."
    return failed(call, "invalid_input", message)


def _refused(call: ToolCall, by: str, note: str) -> ToolReply:
    who = f" by {by}" if by else ""
    return failed(call, "denied", f"This call was refused{who}. {note}".strip())
