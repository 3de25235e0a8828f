"""A set of tools, by name: what a model is told of them, and the way to call them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from corral.context import find_context
from corral.errors import ConfigError
from corral.messages import Caller, ToolCall, ToolReply, ToolSpec
from corral.tools.connected import connected
from corral.tools.failing import failed
from corral.tools.stack import RunTool, Use
from corral.tools.tool import Tool, as_tool


class Toolbox:
    """The tools of one agent, or of a whole app.

    box = Toolbox([ticket_status, refund])
    reply = await box.call(ToolCall(name="ticket_status", input={"ticket_id": "T-1"}))
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = (), *, run: RunTool | None = None) -> None:
        """Plain functions are taken as tools. `run` goes before the layers of the service that runs here."""
        self._tools: dict[str, Tool] = {}
        self._run = run
        for one in tools:
            self.add(one)

    def add(self, given: Tool | Callable[..., Any]) -> Tool:
        """Put a tool in. A name is taken once; the same tool twice is there once."""
        tool = as_tool(given)
        known = self._tools.get(tool.name)
        if known is not None and known is not tool:
            raise ConfigError(f"There are two tools named {tool.name!r}: give one of them a name, `@tool(name=…)`.")
        self._tools[tool.name] = tool
        return tool

    def plus(self, *tools: Tool | Callable[..., Any]) -> Toolbox:
        """Another one, with these as well."""
        return Toolbox([*self, *tools], run=self._run)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def find(self, name: str) -> Tool | None:
        """The tool of that name."""
        return self._tools.get(name)

    def specs(self) -> list[ToolSpec]:
        """What models are told."""
        return [tool.spec for tool in self._tools.values()]

    async def call(self, call: ToolCall) -> ToolReply:
        """Call a tool, through all layers. Never raises for what the tool did: the reply has a fault then."""
        tool = self._tools.get(call.name)
        if tool is None:
            return failed(call, "not_found", self._absent(call.name))
        return await (self._run or connected())(Use(tool, addressed(call)))

    async def use(self, name: str, /, **arguments: Any) -> ToolReply:
        """The same for code: `await box.use("ticket_status", ticket_id="T-1")`."""
        return await self.call(ToolCall(name=name, input=arguments))

    def _absent(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._tools, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        return f"There is no tool {name[:100]!r}.{meant} There is: {', '.join(sorted(self._tools)) or 'none'}."


def addressed(call: ToolCall) -> ToolCall:
    """For whom and until when: tenant, tier and user are the request's that runs here, whatever the call says."""
    context = find_context()
    if context is None:
        return call
    said, deadline = call.caller, call.deadline
    if context.deadline is not None:
        deadline = context.deadline if deadline is None else min(deadline, context.deadline)
    caller = Caller(
        tenant=context.tenant,
        tier=context.tier,
        user_id=context.user_id or said.user_id,
        agent=said.agent or context.agent,
        session_id=context.session_id or said.session_id,
        run_id=said.run_id or context.job_id or context.request_id,
        tags=said.tags,
        priority=said.priority,
        roles=said.roles,
    )
    if caller == said and deadline == call.deadline:
        return call
    return msgspec.structs.replace(call, caller=caller, deadline=deadline)
