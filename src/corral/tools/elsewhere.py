"""Tools that come from elsewhere, under the name of where: `mcp:github`, `openapi:billing`. A toolbox asks for them each time it is asked.

What the settings name is kept here: started with the service, tried again while it cannot be reached, and stopped with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
from collections.abc import Iterator, Mapping
from typing import Protocol

from corral.errors import ConfigError, OutboundFailed
from corral.settings.tool_sections import ToolSettings
from corral.tools.tool import Tool

_log = logging.getLogger("corral.tools")

_PAUSE_S, _PAUSE_MAX_S = 1.0, 60.0


class Source(Protocol):
    """A place that tools come from. Each step of its life may come twice."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Those it has now, by name."""
        ...

    async def start(self) -> None:
        """Connect. Raises `ConfigError` for what can never work, `OutboundFailed` for what may work later."""
        ...

    async def drain(self) -> None:
        """Let what runs come to its end."""
        ...

    async def stop(self) -> None:
        """Let go of everything."""
        ...


class Elsewhere:
    """All places that the settings name."""

    def __init__(self, settings: ToolSettings) -> None:
        """Raises `ConfigError` for a place that could never be reached."""
        self.sources: dict[str, Source] = {}
        if settings.mcp:
            from corral.tools.mcp.server import McpServer  # noqa: PLC0415 - loaded where it is used

            self.sources |= {f"mcp:{name}": McpServer(name, one) for name, one in settings.mcp.items()}
        if settings.openapi:
            from corral.tools.openapi.api import OpenApi  # noqa: PLC0415 - as above

            self.sources |= {f"openapi:{name}": OpenApi(name, one) for name, one in settings.openapi.items()}
        self._trying: set[asyncio.Task[None]] = set()

    def of(self, source: str) -> Mapping[str, Tool]:
        """The tools of one place. Raises `ConfigError` for one that the settings do not name."""
        found = self.sources.get(source)
        if found is None:
            near = difflib.get_close_matches(source, self.sources, 1)
            meant = f"did you mean {near[0]!r}? Else set" if near else "set"
            setting = f"tools.{source.replace(':', '.', 1)}"
            raise ConfigError(f"There are no tools from {source!r}: {meant} `{setting}` in corral.yaml.")
        return found.tools

    def __iter__(self) -> Iterator[Tool]:
        """All of them."""
        for source in self.sources.values():
            yield from source.tools.values()

    # -- life

    async def start(self) -> None:
        """Connect to all of them at once. One that is away holds nobody up for longer than it takes to see that."""
        if not self.sources or self._trying:
            return
        try:
            async with asyncio.TaskGroup() as group:
                for name, source in self.sources.items():
                    group.create_task(self._begin(name, source))
        except* ConfigError as several:
            await self.stop()
            raise several.exceptions[0] from None

    async def _begin(self, name: str, source: Source) -> None:
        try:
            await source.start()
        except OutboundFailed as error:
            _log.warning("The tools from %s are not there yet: %s", name, error)
            task = asyncio.create_task(self._again(name, source))
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)

    @staticmethod
    async def _again(name: str, source: Source) -> None:
        pause_s = _PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await source.start()
            except OutboundFailed:
                pause_s = min(_PAUSE_MAX_S, pause_s * 2)
            except ConfigError as error:
                _log.error("The tools from %s cannot be used: %s", name, error)
                return
            else:
                _log.info("The tools from %s are there.", name)
                return

    async def drain(self) -> None:
        """Let what runs come to its end."""
        for source in self.sources.values():
            await source.drain()

    async def stop(self) -> None:
        """Let go of all of them. Stopping twice is stopping once."""
        for task in list(self._trying):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*(source.stop() for source in self.sources.values()))
