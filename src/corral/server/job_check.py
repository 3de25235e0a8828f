"""Whether an agent is there, and takes what a job would give it: said when the job is handed in, not when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from corral.runtime.registry import Agents


class AgentCheck:
    """Asks the app's agents. One that is still to be built takes anything for now."""

    def __init__(self, agents: Agents, own: Mapping[str, Callable[[Any], object]] | None = None) -> None:
        """All agents of the app; `own` check the input of the house's own jobs, by their names."""
        self._agents = agents
        self._own = own or {}

    def __call__(self, name: str, value: Any) -> None:
        """Raise `NotFound` for an agent that does not exist, `ValidationFailed` for a payload that does not fit."""
        if name in self._own:
            self._own[name](value)
            return
        entrypoint = self._agents.find(name).entrypoint
        if entrypoint is not None and entrypoint.payload is not None:
            entrypoint.payload.convert(value)
