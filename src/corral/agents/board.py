"""The working memory that the members of a team share: a scratchpad and artefacts, each with who made it and by which call."""

from __future__ import annotations

import contextvars
from typing import Any

from corral.agents.event import AgentEvent, ToolFinished
from corral.clock import new_id
from corral.errors import CorralError
from corral.memory.working import Origin, WorkingMemory
from corral.messages import ToolCall
from corral.tools.tool import Tool, tool

_READ_MAX = 10_000
_OURS = ("note", "read_artefact")

_board: contextvars.ContextVar[WorkingMemory | None] = contextvars.ContextVar("corral_board", default=None)


def working_memory() -> WorkingMemory:
    """The working memory of the team, or the agent, whose tool or member this is. Raises `LookupError` outside of one."""
    found = _board.get()
    if found is None:
        raise LookupError("No team works here, and this is no agent's tool: there is no working memory.")
    return found


class Board:
    """One request's working memory. A team inside of another writes to the same one."""

    def __init__(self) -> None:
        """Ends with the outermost team's run."""
        above = _board.get()
        self._own = above is None
        self.memory = above if above is not None else WorkingMemory(new_id())

    def enter(self, context: contextvars.Context) -> None:
        """Have what runs in this context find it."""
        context.run(_board.set, self.memory)

    def heard(self, event: AgentEvent) -> None:
        """Keep what a tool brought, under the name of who called it: other members may read on where theirs ended."""
        if not isinstance(event, ToolFinished) or event.error or event.name in _OURS:
            return
        text = "\n".join(str(part.get("text", "")) for part in event.content if part.get("type") == "text")
        if text:
            origin = Origin(agent=event.agent, tool=event.name, call=event.id, step=event.step)
            self._kept(f"{event.agent}/{event.name}/{event.id}"[:200], text, origin)

    def answered(self, agent: str, text: str) -> None:
        """Keep what a member has found."""
        if text:
            self._kept(f"{agent}/answer"[:200], text, Origin(agent=agent))

    def _kept(self, name: str, text: str, origin: Origin) -> None:
        try:
            self.memory.keep(name, text, origin=origin)
        except CorralError:
            self.memory.keep(
                name, text[: _READ_MAX // 4], origin=origin
            )  # its beginning, of what is larger than there is room

    @property
    def shown(self) -> str:
        """What members are shown of it: nothing, before somebody has written a note."""
        return self.memory.shown() if self.memory.notes() else ""

    def end(self) -> None:
        """The team's run is over."""
        if self._own:
            self.memory.end()


def scratchpad() -> list[Tool]:
    """Tools by which an agent reads and writes what its team shares: `Agent(…, tools=[*scratchpad(), …])`."""
    return [_note, _read_artefact]


@tool(name="note", read_only=True)  # it changes nothing but this run's own paper
def _note(name: str, value: Any, call: ToolCall) -> str:
    """Write something down for the other members of the team, under a short name; over what was there.

    Args:
        name: What it is: `cause`, `order_id`.
        value: What is to be known: a text, a number, a list or an object.
        call: Filled in.
    """
    origin = Origin(agent=call.caller.agent, tool=call.name, call=call.id, tainted=call.tainted)
    return f"Noted {name}, version {working_memory().note(name, value, origin=origin).version}."


@tool(name="read_artefact", read_only=True, untrusted=True)
def _read_artefact(name: str, first: int = 0) -> str:
    """Read what another member of the team has found, or what a tool brought it: names stand in the working memory.

    Args:
        name: The artefact's name.
        first: From which character on; a long one is read in pieces.
    """
    memory = working_memory()
    try:
        return memory.text(name, first, _READ_MAX)
    except CorralError as error:
        there = ", ".join(one.name for one in memory.artefacts()) or "none"
        raise CorralError(f"{error.message} There is: {there}.") from None
