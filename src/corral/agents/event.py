"""What happens while an agent works, in the words that streams, journals, the API and the console share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Protocol

import msgspec

from corral.messages import Message, Usage


class Happening(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Something that happened in a run: which agent's, and in which of its steps (a step is one call of its model)."""

    agent: str = ""
    step: int = 0


class Text(Happening, frozen=True, kw_only=True, tag="text"):
    """A piece of the answer."""

    text: str


class Reasoning(Happening, frozen=True, kw_only=True, tag="reasoning"):
    """A piece of what the model says it thinks."""

    text: str


class ToolStarted(Happening, frozen=True, kw_only=True, tag="tool_started"):
    """A tool was called."""

    id: str
    name: str
    input: dict[str, Any] = {}


class ToolFinished(Happening, frozen=True, kw_only=True, tag="tool_finished"):
    """It answered, or failed: `error` is the fault's code then."""

    id: str
    name: str
    content: list[dict[str, Any]] = []
    error: str = ""
    cached: str = ""
    duration_s: float = 0.0


class HandOff(Happening, frozen=True, kw_only=True, tag="hand_off"):
    """Another agent goes on."""

    to: str
    reason: str = ""


class UsageSeen(Happening, frozen=True, kw_only=True, tag="usage"):
    """What one call of a model took."""

    model: str
    usage: Usage
    cost_usd: float | None = None
    cached: str = ""


class ApprovalAsked(Happening, frozen=True, kw_only=True, tag="approval"):
    """A person must say yes or no before the run goes on."""

    approval: str
    """Its id: what the answer names."""
    message: str
    tool: str = ""
    input: dict[str, Any] = {}
    rule: str = ""


class Finished(Happening, frozen=True, kw_only=True, tag="finished"):
    """The last event of a run that came to its end, or that waits for a person (`paused`)."""

    run_id: str = ""
    reason: Literal["done", "paused"] = "done"
    output: Any = None
    """The text, or the value where the agent has a type of output."""
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: a model was asked whose price is not known."""
    steps: int = 0
    tool_calls: int = 0
    notes: dict[str, Any] = {}


class Failed(Happening, frozen=True, kw_only=True, tag="failed"):
    """The last event of a run that did not: why, and what it took until then."""

    run_id: str = ""
    code: str
    """`steps_exceeded`, `tool_calls_exceeded`, `time_exceeded`, `tokens_exceeded`, `cost_exceeded`, `loop_detected`, `cancelled`,
    `output_misfit`, or the code of the error that ended it."""
    message: str
    retryable: bool = False
    usage: Usage = Usage()
    cost_usd: float | None = None
    steps: int = 0
    tool_calls: int = 0


AgentEvent = Text | Reasoning | ToolStarted | ToolFinished | HandOff | UsageSeen | ApprovalAsked | Finished | Failed
"""A run yields these in order, and ends with one `Finished` or `Failed`."""

Asked = str | Message | Sequence[Message]
"""What an agent is asked: a prompt, or a conversation."""


class Works(Protocol):
    """What a team, a role and a workflow know of an agent: an `Agent`, a team itself, or code of yours."""

    @property
    def name(self) -> str:
        """How it is called."""
        ...

    @property
    def description(self) -> str:
        """What it is good at, for who chooses."""
        ...

    def stream(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> AsyncIterator[AgentEvent]:
        """Work, event by event. Close the iterator to stop it."""
        ...
