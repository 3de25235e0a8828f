"""One MCP server, kept connected: started, asked for its tools, and started again with growing pauses when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any, Literal

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ConfigError
from corral.messages import ToolCall
from corral.settings.policy_sections import McpSettings
from corral.tools.failing import ToolFailed
from corral.tools.mcp.content import tools_of
from corral.tools.mcp.http import HttpWire
from corral.tools.mcp.peer import McpError, Peer
from corral.tools.mcp.stdio import StdioWire
from corral.tools.mcp.wire import MakeWire, McpLost, Wire
from corral.tools.tool import Tool

_log = logging.getLogger("corral.tools.mcp")

State = Literal["stopped", "connecting", "connected", "waiting"]

_PAGES_MAX = 100
_TOOLS_MAX = 1_000
_SETTLED_S = 10.0
"""A server that lived this long did not die of how it was started."""
_INVALID, _NO_METHOD = -32602, -32601
_CODES = {_INVALID: "invalid_input", _NO_METHOD: "not_found"}


class McpServer:
    """The tools of one server. What it lists can change at any time; whoever wants to know asks `tools`.

    Nobody ever waits for a server that is dead: calls fail at once, and say when it will be tried again.
    """

    def __init__(
        self,
        name: str,
        settings: McpSettings,
        *,
        wire: MakeWire | None = None,
        changed: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`changed` is called when the tools are others than before. Raises `ConfigError` for settings that name no server."""
        if bool(settings.command) == bool(settings.url):
            raise ConfigError(f"`tools.mcp.{name}` needs a `command` or a `url`, and not both.")
        self.name = name
        self.settings = settings
        self.tools: dict[str, Tool] = {}
        """By our names for them. The last ones that were listed, also while the server is away."""
        self.state: State = "stopped"
        self.why = ""
        """Why it is not connected."""
        self.starts = 0
        self._make_wire = wire or self._wire
        self._changed = changed
        self._clock = clock
        self._chance = chance
        self._peer: Peer | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._first = asyncio.Event()
        self._stopping = asyncio.Event()
        self._relist = asyncio.Event()
        self._again_at = 0.0

    def _wire(self) -> Wire:
        said = self.settings
        if said.command:
            return StdioWire(self.name, said.command, env=said.env, cwd=said.cwd)
        longest = max(said.timeout_s, said.timeout_max_s)
        return HttpWire(self.name, said.url, headers=said.headers, connect_s=said.connect_s, timeout_s=longest)

    # -- life

    async def start(self) -> None:
        """Connect, and return as soon as that has succeeded or failed: a server that is away is tried again later."""
        if self._task is None:
            self._stopping.clear()
            self._first.clear()
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(self._run())
            await self._first.wait()

    async def drain(self) -> None:
        """Calls that run are answered; there is nothing else to wait for."""

    async def stop(self) -> None:
        """End the server if it is ours, and the connection. Stopping twice is stopping once."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        if self._peer is not None:
            self._peer.lost("it was stopped")
        await asyncio.wait([task])
        self.state = "stopped"

    # -- calling

    async def call(self, name: str, arguments: dict[str, Any], _call: ToolCall) -> dict[str, Any]:
        """The answer of the server's tool `name`. Raises `ToolFailed`. May be awaited in any loop."""
        home = self._loop
        if home is not None and home is not asyncio.get_running_loop():
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._call(name, arguments), home))
        return await self._call(name, arguments)

    async def _call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        peer = self._peer
        if peer is None or self.state != "connected":
            raise ToolFailed(
                f"The MCP server {self.name!r} is not there: {self.why or 'it is being started'}.",
                code="unavailable",
                retryable=True,
                retry_after_s=round(max(0.1, self._again_at - self._clock.monotonic()), 1),
            )
        said = self.settings
        params = {"name": name, "arguments": arguments}
        try:
            return await peer.ask("tools/call", params, timeout_s=said.timeout_s, timeout_max_s=said.timeout_max_s)
        except McpError as error:
            raise ToolFailed(str(error), code=_CODES.get(error.code, "failed")) from None
        except McpLost as error:
            raise ToolFailed(error.message, code="unavailable", retryable=True) from None
        except TimeoutError:
            text = f"The MCP server {self.name!r} did not answer in time; it was told to stop."
            raise ToolFailed(text, code="timeout", retryable=True) from None

    # -- staying connected

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            self.state = "connecting"
            self.starts += 1
            peer = self._peer = Peer(self.name, self._make_wire(), tools_changed=self._relist.set)
            try:
                await peer.start(within_s=self.settings.connect_s)
                await self._list(peer)
                self.state, self.why = "connected", ""
                _log.info("The MCP server %s is there, with %d tools.", self.name, len(self.tools))
                self._first.set()
                await self._stay(peer)
            except (McpLost, McpError, TimeoutError, OSError) as error:
                self.why = peer.why or str(error) or f"it did not answer within {self.settings.connect_s:g} s"
            else:
                self.why = peer.why
            finally:
                with contextlib.suppress(OSError):  # it is gone in any case
                    await peer.stop()
                self._first.set()
            failures = 0 if self._clock.monotonic() - began > _SETTLED_S else failures
            failures += 1
            await self._rest(failures)

    async def _stay(self, peer: Peer) -> None:
        """Until the connection is lost; tools that change are listed anew."""
        closed = asyncio.ensure_future(peer.closed.wait())
        try:
            while not peer.closed.is_set():
                relist = asyncio.ensure_future(self._relist.wait())
                await asyncio.wait({closed, relist}, return_when=asyncio.FIRST_COMPLETED)
                relist.cancel()
                if not peer.closed.is_set():
                    await self._list(peer)
        finally:
            closed.cancel()

    async def _rest(self, failures: int) -> None:
        """The pause before the next start: growing, and different in every process."""
        if self._stopping.is_set():
            return
        said = self.settings
        pause_s = min(said.restart_max_s, said.restart_initial_s * 2.0 ** min(failures - 1, 20)) * (
            0.5 + self._chance() / 2
        )
        self.state = "waiting"
        self._again_at = self._clock.monotonic() + pause_s
        _log.warning("The MCP server %s is not there (%s); it is tried again in %.1f s.", self.name, self.why, pause_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()

    async def _list(self, peer: Peer) -> None:
        self._relist.clear()
        listed: list[dict[str, Any]] = []
        cursor: Any = None
        for _ in range(_PAGES_MAX):
            params = {} if cursor is None else {"cursor": cursor}
            page = await peer.ask("tools/list", params, timeout_s=self.settings.connect_s)
            found = page.get("tools")
            listed += [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
            cursor = page.get("nextCursor")
            if cursor is None or len(listed) >= _TOOLS_MAX:
                break
        tools = tools_of(self.name, self.settings, listed[:_TOOLS_MAX], self.call)
        before = {name: (tool.spec, tool.marks) for name, tool in self.tools.items()}
        if before != {name: (tool.spec, tool.marks) for name, tool in tools.items()}:
            self.tools = tools
            self._changed()
