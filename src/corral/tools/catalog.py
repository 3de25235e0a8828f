"""All the tools of an app: its own, its agents', and those that come from elsewhere; for who lists them and for who calls one by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

import msgspec

from corral.errors import NotFound
from corral.tools.tool import Tool

Source = Callable[[], Iterable[tuple[Tool, str]]]
"""Tools, each with the agent it belongs to; an empty name: with none, it is the app's."""


class Listed(msgspec.Struct, frozen=True):
    """A tool, and whose it is."""

    tool: Tool
    agents: tuple[str, ...] = ()


class Catalog:
    """Asks its sources each time: agents may be built late, and servers of tools come and go."""

    def __init__(self, *sources: Source) -> None:
        """In this order, tools with the same name go before each other."""
        self._sources = list(sources)

    def add(self, source: Source) -> None:
        """One more."""
        self._sources.append(source)

    def tools(self) -> list[Listed]:
        """All of them, by name. Two tools of the same name, of different agents, are two."""
        agents: dict[Tool, list[str]] = {}
        for source in self._sources:
            for tool, agent in source():
                named = agents.setdefault(tool, [])
                if agent and agent not in named:
                    named.append(agent)
        found = [Listed(tool, tuple(sorted(named))) for tool, named in agents.items()]
        return sorted(found, key=lambda one: (one.tool.name, one.agents))

    def find(self, name: str, agent: str = "") -> Listed:
        """The tool of that name, of that agent. Raises `NotFound`, which says what there is."""
        listed = self.tools()
        for one in listed:
            if one.tool.name == name and (not agent or agent in one.agents):
                return one
        names = {one.tool.name for one in listed if not agent or agent in one.agents}
        near = difflib.get_close_matches(name, names, 1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        whose = f" of the agent {agent!r}" if agent else ""
        raise NotFound(
            f"There is no tool {name[:100]!r}{whose}{meant}; there is: {', '.join(sorted(names)) or 'none'}."
        )
