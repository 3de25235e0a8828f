"""What `await agent.run(…)` returns."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from corral.agents.event import ApprovalAsked, Finished
from corral.messages import Message, Usage


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run that came to its end, or that waits for people (`reason` is `paused`, and `approvals` says for what)."""

    output: Any
    """The text, or the value where the agent has a type of output; none while it is paused."""
    run_id: str
    reason: Literal["done", "paused"] = "done"
    approvals: list[ApprovalAsked] = []
    messages: list[Message] = []
    """What was asked and said in this run, with calls of tools and their results; without instructions and history."""
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: a model was asked whose price is not known."""
    steps: int = 0
    tool_calls: int = 0
    notes: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """What the agent said last."""
        return next((message.text for message in reversed(self.messages) if message.role == "assistant"), "")

    @property
    def paused(self) -> bool:
        """Whether it waits for people."""
        return self.reason == "paused"


def result_of(end: Finished, approvals: list[ApprovalAsked], messages: list[Message]) -> RunResult:
    """The result that a run's last event amounts to."""
    return RunResult(
        output=end.output,
        run_id=end.run_id,
        reason=end.reason,
        approvals=approvals,
        messages=messages,
        usage=end.usage,
        cost_usd=end.cost_usd,
        steps=end.steps,
        tool_calls=end.tool_calls,
        notes=end.notes,
    )
