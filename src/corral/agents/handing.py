"""Handing on: the tool by which a member of a team has another one go on, and what a run makes of its call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from corral.agents.journal import HandedOff, RunState
from corral.tools.tool import Tool, tool

HAND_OFF = "hand_off"
"""The tool's name. A run that has called it is over: somebody else answers."""

_DESCRIPTION = """\
Hand this conversation on to a colleague who can do more for the user than you. You are done then: say nothing more.
Hand on only what is not yours to answer, and never back to whom you have it from unless something new is known.
Colleagues:
{colleagues}"""


def hand_off_tool(colleagues: Mapping[str, str]) -> Tool:
    """For an agent that may hand on to these: names, and what each is good at."""

    async def hand_off(to: str, reason: str) -> str:
        return f"Handed on to {to}, because: {reason}"

    hand_off.__annotations__["to"] = Literal[tuple(colleagues)]
    listed = "\n".join(f"- {name}: {description or name}" for name, description in colleagues.items())
    return tool(name=HAND_OFF, description=_DESCRIPTION.format(colleagues=listed), read_only=True)(hand_off)


def handed_on(state: RunState) -> HandedOff | None:
    """Whether the run's last step has handed on; of several at once, the first that was possible."""
    if state.pending or not any(reply.name == HAND_OFF for reply in state.results.values()):
        return None
    for part in _last_calls(state):
        reply = state.results.get(part.get("id", ""))
        if part.get("name") == HAND_OFF and reply is not None and reply.fault is None:
            given = part.get("input") or {}
            return HandedOff(step=state.step, to=str(given.get("to", "")), reason=str(given.get("reason", "")))
    return None


def _last_calls(state: RunState) -> list[dict[str, Any]]:
    said = next((message for message in reversed(state.messages) if message.role == "assistant"), None)
    return [] if said is None else [part for part in said.content if part.get("type") == "tool_use"]
