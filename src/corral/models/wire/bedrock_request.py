"""Our calls in the words of Bedrock's Converse API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from corral.messages import ModelCall, OutputFormat, ToolSpec
from corral.models.wire.bedrock_parts import blocks, sayable
from corral.models.wire.claude import Claude, Thinking, claude, closed, thinking

_encode = msgspec.json.Encoder(order="deterministic").encode

_FORCES = ("anthropic.claude", "amazon.nova", "mistral.")
"""Models that can be made to call a tool."""
_NOVA_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}


class BedrockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, and what has to be known to read what comes back."""

    body: dict[str, Any]
    answer_tool: str = ""
    """The tool that stands for the answer in JSON: what it is called with is the answer."""

    def encoded(self) -> bytes:
        """The body in bytes."""
        return msgspec.json.encode(self.body)


def request(call: ModelCall, options: Mapping[str, Any]) -> BedrockRequest:
    """The request for a call. `options` are the provider's: `max_tokens`, `cache_ttl`, `guardrail`, `thinking_display`, `body`.

    Raises `ModelRequestInvalid` for parts that the API has no word for.
    """
    can = claude(call.model) if "claude" in call.model else None
    system, messages = _conversation(call, options.get("cache_ttl", ""))
    tools, choice, answer_tool = _tools(call, can)
    forced = choice is not None and "auto" not in choice
    how = _thinking(call, can, options, forced=forced)
    body: dict[str, Any] = {"messages": messages}
    if call.output is not None and not answer_tool and not _by_schema(call.output, can):
        system.append({"text": _order(call.output)})
    if system:
        body["system"] = system
    if tools:
        body["toolConfig"] = {"tools": tools, **({"toolChoice": choice} if choice is not None else {})}
    if settled := _inference(call, can, how, options):
        body["inferenceConfig"] = settled
    if output := _output(call, can, how):
        body["outputConfig"] = output
    if more := _additional(call, can, how):
        body["additionalModelRequestFields"] = more
    if guardrail := options.get("guardrail"):
        body["guardrailConfig"] = guardrail
    body.update(options.get("body") or {})
    body.update(call.extra)
    return BedrockRequest(body=body, answer_tool=answer_tool)


def _conversation(call: ModelCall, cache_ttl: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What instructs, and the turns: one after the other of the user and the model."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in call.messages:
        role = "assistant" if message.role == "assistant" else "user"
        parts = message.content if role == "user" else [part for part in message.content if sayable(part)]
        said = blocks(parts, cache_ttl)
        if not said:
            continue
        if message.role == "system":
            system += [block for block in said if "text" in block or "cachePoint" in block]
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += said
        else:
            turns.append({"role": role, "content": said})
    return system, turns


# -- thinking and sampling ----------------------------------------------------------------------------------------------


def _thinking(call: ModelCall, can: Claude | None, options: Mapping[str, Any], *, forced: bool) -> Thinking | None:
    if can is None or not call.reasoning:
        return None
    display = options.get("thinking_display", "summarized")
    return thinking(call, can, options.get("max_tokens"), forced=forced, display=display)


def _inference(call: ModelCall, can: Claude | None, how: Thinking | None, options: Mapping[str, Any]) -> dict[str, Any]:
    settled: dict[str, Any] = {}
    most = how.max_tokens if how is not None and how.on else call.max_tokens or options.get("max_tokens")
    if most is not None:
        settled["maxTokens"] = most
    if call.stop:
        settled["stopSequences"] = call.stop
    if (can is not None and not can.samples) or (how is not None and how.on):
        return settled
    if call.temperature is not None:
        settled["temperature"] = min(call.temperature, 1.0)
    if call.top_p is not None and (can is None or can.samples_both or call.temperature is None):
        settled["topP"] = call.top_p
    return settled


def _additional(call: ModelCall, can: Claude | None, how: Thinking | None) -> dict[str, Any]:
    """What Converse itself has no word for, in the words of the model's maker."""
    more: dict[str, Any] = {}
    if how is not None and how.config is not None:
        more["thinking"] = how.config
    if can is None and call.reasoning:
        if "openai." in call.model and call.reasoning in _NOVA_EFFORTS:
            more["reasoning_effort"] = _NOVA_EFFORTS[call.reasoning]
        elif "amazon.nova-2" in call.model:
            effort = _NOVA_EFFORTS.get(call.reasoning)
            more["reasoningConfig"] = (
                {"type": "enabled", "maxReasoningEffort": effort} if effort else {"type": "disabled"}
            )
    if call.top_k is None:
        return more
    if can is not None:
        if can.samples and not (how is not None and how.on):
            more["top_k"] = call.top_k
    elif "amazon.nova" in call.model:
        more["inferenceConfig"] = {"topK": call.top_k}
    elif "mistral." in call.model:
        more["top_k"] = call.top_k
    return more


# -- answers in JSON ----------------------------------------------------------------------------------------------------


def _by_schema(output: OutputFormat, can: Claude | None) -> bool:
    return output.schema is not None and can is not None and can.json


def _output(call: ModelCall, can: Claude | None, how: Thinking | None) -> dict[str, Any]:
    output: dict[str, Any] = {}
    if how is not None and how.effort:
        output["effort"] = how.effort
    if call.output is not None and _by_schema(call.output, can):
        schema = _encode(closed(call.output.schema)).decode()
        output["textFormat"] = {
            "type": "json_schema",
            "structure": {"jsonSchema": {"name": call.output.name, "schema": schema}},
        }
    return output


def _order(output: OutputFormat) -> str:
    """For models that can only be asked."""
    order = "Answer with one JSON object, and with nothing before or after it."
    return (
        f"{order} It fits this JSON schema: {_encode(output.schema).decode()}" if output.schema is not None else order
    )


# -- tools --------------------------------------------------------------------------------------------------------------


def _tools(call: ModelCall, can: Claude | None) -> tuple[list[dict[str, Any]], dict[str, Any] | None, str]:
    """The tools, which of them to choose, and the name of the one that stands for the answer in JSON (empty: none does).

    Converse has no word for `none`: the tools are left out then, unless the conversation has used some.
    """
    used = _used(call)
    specs = [] if call.tool_choice == "none" and not used else list(call.tools)
    named = {spec.name for spec in specs}
    specs += [ToolSpec(name=name) for name in used if name not in named]
    tools = [_tool(spec, can) for spec in specs]
    forces = any(maker in call.model for maker in _FORCES) and not (can is not None and can.always_thinks)
    wanted = call.output
    if wanted is not None and forces and not _by_schema(wanted, can):
        tools.append(
            _tool_block(
                wanted.name, "Give the answer. Call this instead of writing text.", wanted.schema or {"type": "object"}
            )
        )
        return tools, {"any": {}} if specs else {"tool": {"name": wanted.name}}, wanted.name
    return tools, _choice(call, forces=forces) if tools else None, ""


def _used(call: ModelCall) -> list[str]:
    """Tools that the conversation has used: Converse wants to know them, offered or not."""
    parts: Iterable[dict[str, Any]] = (part for message in call.messages for part in message.content)
    return list(dict.fromkeys(part["name"] for part in parts if part.get("type") == "tool_use" and part.get("name")))


def _tool(spec: ToolSpec, can: Claude | None) -> dict[str, Any]:
    schema = spec.parameters or {"type": "object", "properties": {}}
    strict = spec.strict and can is not None and can.json
    return _tool_block(spec.name, spec.description, closed(schema) if strict else schema, strict=strict)


def _tool_block(name: str, description: str, schema: dict[str, Any], *, strict: bool = False) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": name, "inputSchema": {"json": schema}}
    if description:
        tool["description"] = description
    if strict:
        tool["strict"] = True
    return {"toolSpec": tool}


def _choice(call: ModelCall, *, forces: bool) -> dict[str, Any] | None:
    wanted = call.tool_choice
    if wanted == "auto" or not forces:
        return {"auto": {}} if wanted and forces else None
    if wanted == "required":
        return {"any": {}}
    return {"tool": {"name": wanted[5:]}} if wanted.startswith("tool:") else None
