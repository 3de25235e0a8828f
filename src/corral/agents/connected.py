"""What a service does for its agents: keeps their runs, opens sessions, fits conversations into windows, counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from corral.agents.counting import AgentCounting
from corral.agents.journal import Keeping
from corral.agents.speculating import SpeculationCounting
from corral.context import Context
from corral.here import Here
from corral.messages import Caller, Message, ToolSpec
from corral.settings.agent_sections import AgentSettings
from corral.tools.parallel import ParallelToolExecutor

OpenSession = Callable[[Context | None, str], AbstractAsyncContextManager[Any]]
"""A session by its id, with its turn for as long as the block lasts: for agents that were given another one than the request's."""


class Fitted(Protocol):
    """What a window made of a conversation."""

    @property
    def messages(self) -> list[Message]:
        """What the model reads."""
        ...

    @property
    def report(self) -> Any:
        """What was left out, and why."""
        ...


class Window(Protocol):
    """How a conversation is made to fit into what a model reads."""

    async def fit(
        self,
        messages: Sequence[Message],
        *,
        model: str = "",
        caller: Caller | None = None,
        tools: Sequence[ToolSpec] = (),
        reserve: int = 0,
        before: Any = None,
    ) -> Fitted:
        """The messages to send, instructions first; never a tool's call without its result.

        `reserve` is left for the answer. `before` is what this returned for the step before: what it learnt there, it need not again.
        """
        ...


class House(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. An agent in a plain script has none of it: its run lives and dies with the process."""

    settings: AgentSettings = AgentSettings()
    keeping: Keeping | None = None
    open_session: OpenSession | None = None
    window: Window | None = None
    """Of agents that have none of their own."""
    executor: ParallelToolExecutor = ParallelToolExecutor(timeout_per_tool=None)
    """Runs the calls of one answer; each tool has a time of its own."""
    counting: AgentCounting | None = None
    speculating: SpeculationCounting | None = None


_NO_HOUSE = House()
_here: Here[House] = Here("corral_house")
use, using = _here.use, _here.using
"""In which house every agent of this process lives, or those of one block."""


def connected() -> House:
    """The house of agents that run here."""
    return _here.find() or _NO_HOUSE
