"""What Bedrock's Converse is sent, read into our words."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Message, ModelCall, OutputFormat, ToolSpec
from corral.models.sim import tokens
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes.shape import known


class ConverseBody(msgspec.Struct, kw_only=True, rename="camel"):
    """The body of `/model/{id}/converse` and `/converse-stream`."""

    messages: list[dict[str, Any]] = []
    system: list[dict[str, Any]] = []
    inference_config: dict[str, Any] = {}
    tool_config: dict[str, Any] | None = None
    additional_model_request_fields: Any = None
    additional_model_response_field_paths: list[str] | None = None
    guardrail_config: dict[str, Any] | None = None
    prompt_variables: dict[str, Any] | None = None
    request_metadata: dict[str, str] | None = None
    performance_config: dict[str, Any] | None = None
    service_tier: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None


class StrictConverseBody(ConverseBody, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The same, and nothing else."""


def call_of(body: ConverseBody, model: str, *, stream: bool) -> ModelCall:
    """The call."""
    if not body.messages:
        raise Refused(
            "invalid",
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        )
    config = body.inference_config
    tools, choice, marked = _tools(body.tool_config or {})
    system = _parts(body.system, "system")
    most = config.get("maxTokens")
    if most is not None and known(most, int, "inferenceConfig.maxTokens") < 1:
        raise Refused(
            "invalid",
            f"Value '{most}' at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1",
        )
    return ModelCall(
        model=model,
        messages=[*([Message(role="system", content=system)] if system else []), *_messages(body.messages)],
        tools=tools,
        tool_choice=choice,
        temperature=config.get("temperature"),
        top_p=config.get("topP"),
        max_tokens=most,
        stop=config.get("stopSequences") or [],
        output=_output(body.output_config or {}),
        reasoning=_reasoning(body.additional_model_request_fields),
        stream=stream,
        notes={"sim.tools_marked": True} if marked else {},
    )


def _reasoning(extra: Any) -> str:
    thinking = extra.get("thinking") or extra.get("reasoning_config") if isinstance(extra, dict) else None
    return "medium" if isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"} else ""


def _output(config: dict[str, Any]) -> OutputFormat | None:
    form = config.get("textFormat") or {}
    if form.get("type") != "json_schema":
        return None
    given = known((form.get("structure") or {}).get("jsonSchema"), dict, "outputConfig.textFormat.structure.jsonSchema")
    try:
        schema = msgspec.json.decode(known(given.get("schema"), str, "jsonSchema.schema"), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Refused("invalid", f"outputConfig: the schema is no JSON document: {error}") from None
    return OutputFormat(schema=schema, name=str(given.get("name") or "answer"))


def _messages(given: list[dict[str, Any]]) -> list[Message]:
    messages: list[Message] = []
    waiting: list[str] = []
    for number, message in enumerate(given):
        role = message.get("role")
        if role not in {"user", "assistant"}:
            raise Refused(
                "invalid",
                f"Value '{role}' at 'messages.{number + 1}.member.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant]",
            )
        if number == 0 and role != "user":
            raise Refused(
                "invalid",
                "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
            )
        if messages and messages[-1].role == role:
            raise Refused(
                "invalid",
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.",
            )
        parts = _parts(known(message.get("content"), list, f"messages.{number}.content"), f"messages.{number}.content")
        if not parts:
            raise Refused(
                "invalid",
                f"The content field in the Message object at messages.{number} is empty. Add a ContentBlock object to the content field and try again.",
            )
        results = [part["tool_use_id"] for part in parts if part["type"] == "tool_result"]
        if sorted(results) != sorted(waiting):
            raise Refused(
                "invalid",
                f"The number of toolResult blocks at messages.{number}.content does not match the number of toolUse blocks of previous turn.",
            )
        waiting = [part["id"] for part in parts if part["type"] == "tool_use"]
        messages.append(Message(role=role, content=parts))
    if waiting:
        raise Refused(
            "invalid",
            f"Expected toolResult blocks at messages.{len(given)}.content for the following Ids: {', '.join(waiting)}",
        )
    return messages


def _parts(blocks: list[Any], where: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for number, given in enumerate(blocks):
        block = known(given, dict, where)
        if len(block) != 1:
            raise Refused(
                "invalid",
                f"The ContentBlock object at {where}.{number} must set one of the following keys: text, image, toolUse, toolResult, document, video, cachePoint, reasoningContent.",
            )
        ((kind, inner),) = block.items()
        if kind == "cachePoint":
            if not parts:
                raise Refused("invalid", f"The cachePoint at {where}.{number} has nothing before it.")
            parts[-1]["cache"] = True
        else:
            parts.append(_part(kind, inner, f"{where}.{number}"))
    return parts


def _part(kind: str, inner: Any, where: str) -> dict[str, Any]:
    if kind == "text":
        text = known(inner, str, f"{where}.text")
        if not text.strip():
            raise Refused(
                "invalid",
                f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, and try again.",
            )
        return {"type": "text", "text": text}
    inner = known(inner, dict, where)
    match kind:
        case "image" | "document" | "video":
            source = known(inner.get("source"), dict, f"{where}.source")
            kept = {"data": str(source["bytes"])} if "bytes" in source else {"url": str(source.get("s3Location", ""))}
            top = "image" if kind == "image" else "application"
            return {
                "type": "image" if kind == "image" else "file",
                "media_type": f"{top}/{known(inner.get('format'), str, where)}",
                **kept,
            }
        case "toolUse":
            return {
                "type": "tool_use",
                "id": known(inner.get("toolUseId"), str, where),
                "name": known(inner.get("name"), str, where),
                "input": known(inner.get("input"), dict, where),
            }
        case "toolResult":
            content = [_result(known(one, dict, where), where) for one in known(inner.get("content"), list, where)]
            use = known(inner.get("toolUseId"), str, where)
            return {
                "type": "tool_result",
                "tool_use_id": use,
                "content": content,
                "is_error": inner.get("status") == "error",
            }
        case "reasoningContent":
            thought = inner.get("reasoningText") or {}
            return {"type": "reasoning", "text": str(thought.get("text", ""))}
        case "guardContent":
            return {"type": "text", "text": str((inner.get("text") or {}).get("text", ""))}
        case _:
            raise Refused("invalid", f'Unknown parameter in {where}: "{kind}".')


def _result(one: dict[str, Any], where: str) -> dict[str, Any]:
    if "json" in one:
        return {"type": "text", "text": tokens.as_json(one["json"])}
    return _parts([one], where)[0]


def _tools(config: dict[str, Any]) -> tuple[list[ToolSpec], str, bool]:
    """The tools, which of them are to be asked for, and whether a kept beginning ends with them."""
    tools, marked = [], False
    for tool in config.get("tools") or ():
        if "cachePoint" in tool:
            marked = True
            continue
        spec = known(tool.get("toolSpec"), dict, "toolConfig.tools.toolSpec")
        schema = known((spec.get("inputSchema") or {}).get("json"), dict, "toolConfig.tools.toolSpec.inputSchema.json")
        name = known(spec.get("name"), str, "toolConfig.tools.toolSpec.name")
        tools.append(ToolSpec(name=name, description=str(spec.get("description") or ""), parameters=schema))
    choice = config.get("toolChoice") or {}
    if "any" in choice:
        return tools, "required", marked
    if "tool" in choice:
        return tools, f"tool:{known(choice['tool'].get('name'), str, 'toolConfig.toolChoice.tool.name')}", marked
    return tools, "auto" if choice else "", marked
