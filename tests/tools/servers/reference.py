"""A server made with the reference SDK: `python reference.py stdio`, or `python reference.py http PORT [json]`."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("reference")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(readOnlyHint=True, idempotentHint=True))
def environment() -> list[str]:
    """Names of what is in the environment."""
    return sorted(os.environ)


@server.tool()
def fails() -> str:
    """Never works."""
    raise ValueError("the cellar is flooded")


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=b"png", format="png")


@server.tool()
async def counts(steps: int, pause_s: float, ctx: Context) -> str:
    """Count slowly, and say how far it is."""
    for step in range(steps):
        await asyncio.sleep(pause_s)
        await ctx.report_progress(step, steps)
    return f"{steps} steps"


@server.tool()
async def grows(ctx: Context) -> str:
    """Have one more tool from now on."""

    def grown() -> str:
        """The new one."""
        return "new"

    server.add_tool(grown)
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
def dies() -> str:
    """End the server."""
    os._exit(3)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", port=int(sys.argv[2]), json_response="json" in sys.argv)
