"""What MCP servers say, in our words: tools and their results."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from corral.messages import ToolCall, ToolSpec
from corral.settings.policy_sections import McpSettings
from corral.tools.failing import ToolFailed
from corral.tools.marks import Marks
from corral.tools.naming import tool_name
from corral.tools.results import ToolOutput
from corral.tools.tool import Tool

_DESCRIPTION_MAX = 4_000
_SAID_MAX = 2_000

CallNamed = Callable[[str, dict[str, Any], ToolCall], Any]
"""Call the server's tool of that name."""


def tools_of(name: str, settings: McpSettings, listed: list[dict[str, Any]], call: CallNamed) -> dict[str, Tool]:
    """The tools that are wanted of those a server lists, by our names for them."""
    prefix = f"{name}_" if settings.prefix is None else settings.prefix
    tools: dict[str, Tool] = {}
    for one in listed:
        theirs = one.get("name")
        if not isinstance(theirs, str) or not theirs:
            continue
        if settings.tools and not any(fnmatchcase(theirs, glob) for glob in settings.tools):
            continue
        ours = tool_name(prefix + theirs)
        tools.setdefault(ours, _tool(ours, theirs, one, settings, f"mcp:{name}", call))
    return tools


def _tool(ours: str, theirs: str, said: dict[str, Any], settings: McpSettings, source: str, call: CallNamed) -> Tool:
    hints = said.get("annotations") if settings.trust_hints else None
    hinted = hints if isinstance(hints, dict) else {}
    schema = said.get("inputSchema")
    returns = said.get("outputSchema")
    description = str(said.get("description") or said.get("title") or "")
    marks = Marks(
        read_only=hinted.get("readOnlyHint") is True or any(fnmatchcase(theirs, glob) for glob in settings.read_only),
        idempotent=hinted.get("idempotentHint") is True,
        timeout_s=max(settings.timeout_s, settings.timeout_max_s),
        untrusted=not settings.trusted,
        source=source,
    )

    async def invoke(arguments: dict[str, Any], tool_call: ToolCall) -> ToolOutput:
        answer = await call(theirs, arguments, tool_call)
        return output_of_answer(answer)

    return Tool(
        ToolSpec(
            name=ours,
            description=description[:_DESCRIPTION_MAX],
            parameters=schema if isinstance(schema, dict) else {"type": "object", "properties": {}},
        ),
        invoke,
        marks=marks,
        returns=returns if isinstance(returns, dict) else None,
    )


def output_of_answer(answer: dict[str, Any]) -> ToolOutput:
    """The result of `tools/call`. Raises `ToolFailed` for one that says it is an error."""
    given = answer.get("content")
    parts = [_part(one) for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if answer.get("isError") is True:
        raise ToolFailed(text[:_SAID_MAX] or "The tool failed, and did not say why.")
    value = answer.get("structuredContent")
    return ToolOutput(content=parts, value=(text or None) if value is None else value)


def _part(one: dict[str, Any]) -> dict[str, Any]:
    """One piece of content. What has no word of ours is told as text."""
    kind = one.get("type")
    if kind == "text":
        return {"type": "text", "text": str(one.get("text", ""))}
    if kind == "image" and isinstance(one.get("data"), str):
        return {"type": "image", "data": one["data"], "media_type": str(one.get("mimeType", "image/png"))}
    if kind == "audio" and isinstance(one.get("data"), str):
        return {
            "type": "file",
            "data": one["data"],
            "media_type": str(one.get("mimeType", "audio/wav")),
            "name": "audio",
        }
    if kind == "resource" and isinstance(one.get("resource"), dict):
        return _resource(one["resource"])
    if kind == "resource_link":
        return {"type": "text", "text": f"{one.get('name') or 'Resource'}: {one.get('uri', '')}"}
    return {"type": "text", "text": f"[{kind}: not understood]"}


def _resource(resource: dict[str, Any]) -> dict[str, Any]:
    uri = str(resource.get("uri", ""))
    if isinstance(resource.get("blob"), str):
        media_type = str(resource.get("mimeType", "application/octet-stream"))
        return {"type": "file", "data": resource["blob"], "media_type": media_type, "name": uri}
    return {"type": "text", "text": str(resource.get("text", uri))}
