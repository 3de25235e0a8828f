"""A set of tools, by name: what a model is told of them, and the way to call them."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from corral.context import Context, find_context
from corral.errors import ConfigError, CorralError
from corral.messages import Caller, ToolCall, ToolReply, ToolSpec
from corral.tools.connected import connected
from corral.tools.failing import failed
from corral.tools.places import checked_source, tools_from
from corral.tools.stack import RunTool, Use
from corral.tools.tool import Tool, as_tool


class Toolbox:
    """The tools of one agent, or of a whole app.

    box = Toolbox([ticket_status, refund])
    reply = await box.call(ToolCall(name="ticket_status", input={"ticket_id": "T-1"}))
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., Any] | str] = (), *, run: RunTool | None = None) -> None:
        """Plain functions are taken as tools, and `mcp:NAME` or `openapi:NAME` as all that come from there.

        `run` goes before the layers of the service that runs here.
        """
        self._tools: dict[str, Tool] = {}
        self._sources: list[str] = []
        self._run = run
        for one in tools:
            if isinstance(one, str):
                self.include(one)
            else:
                self.add(one)

    def add(self, given: Tool | Callable[..., Any]) -> Tool:
        """Put a tool in. A name is taken once; the same tool twice is there once."""
        tool = as_tool(given)
        known = self._tools.get(tool.name)
        if known is not None and known is not tool:
            raise ConfigError(f"There are two tools named {tool.name!r}: give one of them a name, `@tool(name=…)`.")
        self._tools[tool.name] = tool
        return tool

    def include(self, source: str) -> None:
        """Put all tools of a place in, whichever it has at the time: `mcp:NAME`, `openapi:NAME`."""
        if checked_source(source) not in self._sources:
            self._sources.append(source)

    def plus(self, *tools: Tool | Callable[..., Any] | str) -> Toolbox:
        """Another one, with these as well."""
        return Toolbox([*self._tools.values(), *self._sources, *tools], run=self._run)

    def _all(self) -> Mapping[str, Tool]:
        """All there are now. One of ours goes before one from elsewhere that has its name."""
        if not self._sources:
            return self._tools
        found: dict[str, Tool] = {}
        for source in reversed(self._sources):
            found |= tools_from(source)
        return found | self._tools

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._all().values())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def find(self, name: str) -> Tool | None:
        """The tool of that name."""
        return self._all().get(name)

    def specs(self) -> list[ToolSpec]:
        """What models are told."""
        return [tool.spec for tool in self._all().values()]

    async def call(self, call: ToolCall) -> ToolReply:
        """Call a tool, through all layers. Never raises for what the tool did: the reply has a fault then."""
        tool = self.find(call.name)
        if tool is None:
            return failed(call, "not_found", self._absent(call.name))
        return await (self._run or connected())(Use(tool, addressed(call)))

    async def use(self, name: str, /, **arguments: Any) -> ToolReply:
        """The same for code: `await box.use("ticket_status", ticket_id="T-1")`."""
        return await self.call(ToolCall(name=name, input=arguments))

    def run(self, name: str, /, **arguments: Any) -> ToolReply:
        """The same for a synchronous agent: `box.run("ticket_status", ticket_id="T-1")` in a thread."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.use(name, **arguments))
        raise CorralError(f"This would block the event loop: in asynchronous code write `await box.use({name!r}, …)`.")

    def _absent(self, name: str) -> str:
        known = self._all()
        near = difflib.get_close_matches(name, known, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        return f"There is no tool {name[:100]!r}.{meant} There is: {', '.join(sorted(known)) or 'none'}."


def addressed(call: ToolCall) -> ToolCall:
    """For whom and until when: tenant, tier, roles and user are the request's that runs here, whatever the call says."""
    context = find_context()
    if context is None:
        return call
    said, deadline = call.caller, call.deadline
    if context.deadline is not None:
        deadline = context.deadline if deadline is None else min(deadline, context.deadline)
    caller = said if _is_of(said, context) else _caller_in(context, said)
    if caller is said and deadline == call.deadline:
        return call
    return msgspec.structs.replace(call, caller=caller, deadline=deadline)


def _is_of(said: Caller, context: Context) -> bool:
    """Whether this is the request's caller as it is: an agent's calls say so by themselves."""
    return (
        said.tenant == context.tenant
        and said.tier == context.tier
        and (not context.user_id or said.user_id == context.user_id)
        and bool(said.agent and said.run_id)
        and (not context.session_id or said.session_id == context.session_id)
        and (not context.roles or said.roles == context.roles)
    )


def _caller_in(context: Context, said: Caller) -> Caller:
    return Caller(
        tenant=context.tenant,
        tier=context.tier,
        user_id=context.user_id or said.user_id,
        agent=said.agent or context.agent,
        session_id=context.session_id or said.session_id,
        run_id=said.run_id or context.job_id or context.request_id,
        tags=said.tags,
        priority=said.priority,
        roles=context.roles or said.roles,
    )
