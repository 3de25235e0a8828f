"""What the parts of a run took, added up: the members of a team, and the questions that roles ask models."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeGuard

import msgspec

from corral.agents.event import AgentEvent, Failed, Finished, Reasoning, Text, UsageSeen
from corral.agents.journal import TAINTED, add_usage
from corral.errors import CorralError
from corral.messages import ModelReply, Usage

Ending: TypeAlias = Finished | Failed
"""The last event of a run."""

NO_ENDING = "no_ending"
"""The code of a run that ended without saying how."""


class Tally:
    """Adds up, and makes the last event of the whole."""

    __slots__ = ("_cost", "_unpriced", "ends", "name", "steps", "tainted", "tool_calls", "usage")

    def __init__(self, name: str) -> None:
        """`name` is whose events these are: the team's or the role's."""
        self.name = name
        self.usage = Usage()
        self.steps = 0
        self.tool_calls = 0
        self.ends: list[Ending] = []
        """How the parts ended, in the order in which they did."""
        self.tainted: dict[str, None] = {}
        """Where words in what was found came from that nobody of ours wrote."""
        self._cost = 0.0
        self._unpriced = False

    @property
    def cost_usd(self) -> float | None:
        """What it cost; none: a model was asked whose price is not known."""
        return None if self._unpriced else self._cost

    def add(self, end: Ending) -> None:
        """A part is over."""
        self.ends.append(end)
        if isinstance(end, Finished):
            self.tainted.update(dict.fromkeys(end.notes.get(TAINTED, ())))
        self.steps += end.steps
        self.tool_calls += end.tool_calls
        self._spent(end.usage, end.cost_usd)

    def heard(self, reply: ModelReply) -> UsageSeen:
        """A role asked a model itself; returns the event that says so."""
        self.steps += 1
        self._spent(reply.usage, reply.cost_usd)
        return UsageSeen(
            agent=self.name,
            step=self.steps,
            model=reply.model,
            usage=reply.usage,
            cost_usd=reply.cost_usd,
            cached=reply.cached,
        )

    def _spent(self, usage: Usage, cost_usd: float | None) -> None:
        self.usage = add_usage(self.usage, usage)
        if cost_usd is not None:
            self._cost += cost_usd
        elif usage.total:
            self._unpriced = True

    def finished(self, output: Any, **notes: Any) -> Finished:
        """The whole came to its end."""
        return Finished(
            agent=self.name,
            output=output,
            usage=self.usage,
            cost_usd=self.cost_usd,
            steps=self.steps,
            tool_calls=self.tool_calls,
            notes=self._noted(notes),
        )

    def _noted(self, notes: dict[str, Any]) -> dict[str, Any]:
        return {**notes, TAINTED: list(self.tainted)} if self.tainted else notes

    def failed(self, error: CorralError) -> Failed:
        """It did not."""
        return Failed(
            agent=self.name,
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            usage=self.usage,
            cost_usd=self.cost_usd,
            steps=self.steps,
            tool_calls=self.tool_calls,
        )

    def ended_as(self, end: Ending, **notes: Any) -> Ending:
        """The whole ends as its last part did: with its output, its pause or its failure, and with what all of it took."""
        sums: dict[str, Any] = {
            "usage": self.usage,
            "cost_usd": self.cost_usd,
            "steps": self.steps,
            "tool_calls": self.tool_calls,
        }
        if isinstance(end, Finished):
            return msgspec.structs.replace(end, agent=self.name, notes=self._noted({**end.notes, **notes}), **sums)
        return msgspec.structs.replace(end, agent=self.name, message=f"{end.agent}: {end.message}", **sums)


def failure_of(name: str, error: Exception) -> Failed:
    """An error that ended a run, as its last event. What is not ours is named by its type alone: it may hold secrets."""
    if isinstance(error, CorralError):
        return Failed(agent=name, code=error.code, message=error.message, retryable=error.retryable)
    return Failed(agent=name, code="agent_error", message=f"{type(error).__name__} was raised.")


def unended(name: str) -> Failed:
    """The end of a run that had none."""
    return Failed(agent=name, code=NO_ENDING, message="The run ended without saying how.")


def text_of(end: Finished) -> str:
    """An output as text: what another agent is shown of it."""
    if isinstance(end.output, str):
        return end.output
    return "" if end.output is None else msgspec.json.encode(end.output, enc_hook=_as_shown).decode()


def _as_shown(value: Any) -> Any:
    dumped = getattr(value, "model_dump", None)  # pydantic's, which users may have
    return dumped(mode="json") if callable(dumped) else str(value)


def as_thought(event: AgentEvent) -> AgentEvent:
    """The event as it shows where somebody else gives the answer: text is a thought on the way to it then."""
    return Reasoning(agent=event.agent, step=event.step, text=event.text) if isinstance(event, Text) else event


def is_end(event: AgentEvent) -> TypeGuard[Ending]:
    """Whether nothing comes after this event."""
    return type(event) is Finished or type(event) is Failed
