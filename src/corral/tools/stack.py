"""Layers around a call of a tool: each a small function of the use and of all that comes after it.

    async def layer(use: Use, proceed: RunTool) -> ToolReply:
        return await proceed(use)

A layer answers what a rule forbids, or what went wrong, with a reply that has a fault. It raises for cancellation alone.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from corral.messages import ToolCall, ToolReply

if TYPE_CHECKING:
    from corral.tools.tool import Tool


class Use:
    """One call of one tool, on its way through the layers."""

    __slots__ = ("arguments", "call", "tool")

    def __init__(self, tool: Tool, call: ToolCall) -> None:
        """Not checked yet."""
        self.tool = tool
        self.call = call
        """A layer that changes it (`msgspec.structs.replace`) puts the new one here."""
        self.arguments: dict[str, Any] = {}
        """The arguments as the function takes them, once `checked` has seen them; `call.input` is the same as JSON then."""


RunTool = Callable[[Use], Awaitable[ToolReply]]
"""Use a tool. Never raises for what the tool did."""


class ToolLayer(Protocol):
    """One layer: does its part, and calls `proceed` for all that comes after it."""

    def __call__(self, use: Use, proceed: RunTool) -> Awaitable[ToolReply]:
        """Answer, or go on."""
        ...


def wrap(innermost: RunTool, layers: Sequence[ToolLayer]) -> RunTool:
    """One way to use a tool out of all of them, the first one outermost. A layer that is off is left out, and costs nothing."""
    run = innermost
    for layer in reversed(layers):
        run = functools.partial(layer, proceed=run)
    return run
