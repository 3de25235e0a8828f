"""What Anthropic's messages API is sent, read into our words."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Message, ModelCall, OutputFormat, ToolSpec
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes.shape import known

_EFFORTS = ((2_048, "low"), (16_384, "medium"))


class CountBody(msgspec.Struct, kw_only=True):
    """The body of `/v1/messages/count_tokens`."""

    model: str
    messages: list[dict[str, Any]]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    mcp_servers: list[dict[str, Any]] | None = None


class MessagesBody(CountBody, kw_only=True):
    """The body of `/v1/messages`."""

    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    container: Any = None
    inference_geo: str | None = None
    betas: list[str] | None = None
    speed: str | None = None


class StrictCountBody(CountBody, forbid_unknown_fields=True, kw_only=True):
    """The same, and nothing else."""


class StrictMessagesBody(MessagesBody, forbid_unknown_fields=True, kw_only=True):
    """The same, and nothing else."""


def call_of(body: CountBody) -> ModelCall:
    """The call."""
    if not body.messages:
        raise Refused("invalid", "messages: at least one message is required")
    messages = system_of(body.system) + messages_of(body.messages)
    choice = body.tool_choice or {}
    tools, marked = tools_of(body.tools or [])
    call = ModelCall(
        model=body.model,
        messages=messages,
        tools=tools,
        tool_choice=choice_of(choice),
        parallel_tools=False if choice.get("disable_parallel_tool_use") else None,
        output=_output_of(body),
        reasoning=_reasoning_of(body),
        notes={"sim.tools_marked": True} if marked else {},
    )
    if not isinstance(body, MessagesBody):
        return call
    if body.max_tokens < 1:
        raise Refused("invalid", "max_tokens: Input should be greater than or equal to 1")
    if body.temperature is not None and not 0 <= body.temperature <= 1:
        raise Refused("invalid", "temperature: range: 0..1")
    return msgspec.structs.replace(
        call,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        stop=body.stop_sequences or [],
        stream=bool(body.stream),
    )


def _reasoning_of(body: CountBody) -> str:
    thinking = body.thinking or {}
    match thinking.get("type"):
        case "enabled":
            budget = known(thinking.get("budget_tokens"), int, "thinking.enabled.budget_tokens")
            if budget < 1_024:  # noqa: PLR2004 - as documented
                raise Refused(
                    "invalid", "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
                )
            if isinstance(body, MessagesBody) and budget >= body.max_tokens:
                raise Refused("invalid", "`max_tokens` must be greater than `thinking.budget_tokens`.")
            return next((effort for most, effort in _EFFORTS if budget <= most), "high")
        case "adaptive":
            return str((body.output_config or {}).get("effort", "medium"))
        case _:
            return ""


def _output_of(body: CountBody) -> OutputFormat | None:
    form = body.output_format or (body.output_config or {}).get("format")
    if form is None:
        return None
    if form.get("type") != "json_schema":
        raise Refused("invalid", "output_config.format.type: Input should be 'json_schema'")
    return OutputFormat(schema=known(form.get("schema"), dict, "output_config.format.schema"))


def system_of(system: str | list[dict[str, Any]] | None) -> list[Message]:
    """The instruction."""
    if not system:
        return []
    parts = (
        [{"type": "text", "text": system}] if isinstance(system, str) else [_block(block, "system") for block in system]
    )
    return [Message(role="system", content=parts)]


def messages_of(given: list[dict[str, Any]]) -> list[Message]:
    """The conversation. Each use of a tool has its result in the very next message, as the provider demands."""
    messages: list[Message] = []
    waiting: list[str] = []
    for number, message in enumerate(given):
        where, role, content = f"messages.{number}", message.get("role"), message.get("content")
        if role not in {"user", "assistant"}:
            raise Refused("invalid", f'{where}.role: Input should be "user" or "assistant"')
        blocks = (
            [{"type": "text", "text": content}] * bool(content)
            if isinstance(content, str)
            else known(content, list, f"{where}.content")
        )
        if not blocks and (role != "assistant" or number < len(given) - 1):
            raise Refused(
                "invalid",
                f"{where}: all messages must have non-empty content except for the optional final assistant message",
            )
        parts = [_block(block, f"{where}.content.{n}") for n, block in enumerate(blocks)]
        results = [part["tool_use_id"] for part in parts if part["type"] == "tool_result"]
        _check_results(waiting, results, number)
        waiting = [part["id"] for part in parts if part["type"] == "tool_use"]
        messages.append(Message(role=role, content=parts))
    if waiting:
        raise _unanswered(waiting, len(given) - 1)
    return messages


def _check_results(waiting: list[str], results: list[str], number: int) -> None:
    for result in results:
        if result not in waiting:
            raise Refused(
                "invalid",
                f"messages.{number}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {result}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
            )
    missing = [use for use in waiting if use not in results]
    if missing:
        raise _unanswered(missing, number - 1)


def _unanswered(missing: list[str], number: int) -> Refused:
    return Refused(
        "invalid",
        f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
    )


def _block(block: Any, where: str) -> dict[str, Any]:
    block = known(block, dict, where)
    part = _part(block, where)
    if block.get("cache_control"):
        part["cache"] = True
    return part


def _part(block: dict[str, Any], where: str) -> dict[str, Any]:
    match block.get("type"):
        case "text":
            text = known(block.get("text"), str, f"{where}.text")
            if not text.strip():
                raise Refused("invalid", "messages: text content blocks must be non-empty")
            return {"type": "text", "text": text}
        case "image" | "document" as kind:
            source = known(block.get("source"), dict, f"{where}.{kind}.source")
            return {"type": "image" if kind == "image" else "file", **_source(source, where)}
        case "tool_use":
            given = known(block.get("input"), dict, f"{where}.tool_use.input")
            return {
                "type": "tool_use",
                "id": known(block.get("id"), str, f"{where}.tool_use.id"),
                "name": str(block.get("name")),
                "input": given,
            }
        case "tool_result":
            content = block.get("content") or []
            inner = (
                [{"type": "text", "text": content}]
                if isinstance(content, str)
                else [_block(one, f"{where}.tool_result") for one in content]
            )
            use = known(block.get("tool_use_id"), str, f"{where}.tool_result.tool_use_id")
            return {
                "type": "tool_result",
                "tool_use_id": use,
                "content": inner,
                "is_error": bool(block.get("is_error")),
            }
        case "thinking":
            known(block.get("signature"), str, f"{where}.thinking.signature")
            return {"type": "reasoning", "text": str(block.get("thinking", ""))}
        case "redacted_thinking":
            return {"type": "reasoning", "text": "", "data": str(block.get("data", ""))}
        case other:
            raise Refused(
                "invalid", f"{where}: Input tag '{other}' found using 'type' does not match any of the expected tags"
            )


def _source(source: dict[str, Any], where: str) -> dict[str, Any]:
    match source.get("type"):
        case "base64":
            return {
                "media_type": known(source.get("media_type"), str, f"{where}.source.media_type"),
                "data": known(source.get("data"), str, f"{where}.source.data"),
            }
        case "url":
            return {"url": known(source.get("url"), str, f"{where}.source.url")}
        case "text":
            return {"media_type": "text/plain", "data": str(source.get("data", ""))}
        case "file":
            return {"url": f"file:{source.get('file_id')}"}
        case other:
            raise Refused(
                "invalid",
                f"{where}.source: Input tag '{other}' found using 'type' does not match any of the expected tags",
            )


def tools_of(given: list[dict[str, Any]]) -> tuple[list[ToolSpec], bool]:
    """The tools, and whether a kept beginning ends with them. Those that the provider runs itself are passed over."""
    tools = []
    for number, tool in enumerate(given):
        if tool.get("type") not in {None, "custom"}:
            continue
        schema = known(tool.get("input_schema"), dict, f"tools.{number}.custom.input_schema")
        if schema.get("type") != "object":
            raise Refused("invalid", f"tools.{number}.custom.input_schema.type: Input should be 'object'")
        name = known(tool.get("name"), str, f"tools.{number}.custom.name")
        tools.append(ToolSpec(name=name, description=str(tool.get("description") or ""), parameters=schema))
    return tools, any(tool.get("cache_control") for tool in given)


def choice_of(choice: dict[str, Any]) -> str:
    """Which tools may or must be asked for."""
    match choice.get("type"):
        case None:
            return ""
        case "auto" | "none" as same:
            return str(same)
        case "any":
            return "required"
        case "tool":
            return f"tool:{known(choice.get('name'), str, 'tool_choice.tool.name')}"
        case other:
            raise Refused(
                "invalid",
                f"tool_choice: Input tag '{other}' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'",
            )
