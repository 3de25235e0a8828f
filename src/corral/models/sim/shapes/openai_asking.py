"""What OpenAI's chat API is sent, read into our words."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Message, ModelCall, OutputFormat, ToolSpec
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes.shape import data_url, known

_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}
Texts = str | list[str] | None


class ChatBody(msgspec.Struct, kw_only=True):
    """The body of `/v1/chat/completions`."""

    model: str = ""
    messages: list[dict[str, Any]]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: Texts = None
    seed: int | None = None
    n: int | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    prediction: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    verbosity: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None


class StrictChatBody(ChatBody, forbid_unknown_fields=True, kw_only=True):
    """The same, and nothing else."""


def call_of(body: ChatBody, model: str) -> ModelCall:
    """The call."""
    model = body.model or model
    if not model:
        raise Refused("invalid", "you must provide a model parameter", param="model")
    if not body.messages:
        raise Refused(
            "invalid", "Invalid 'messages': empty array. Expected an array with minimum length 1.", param="messages"
        )
    for name, value, low, high in (
        ("temperature", body.temperature, 0, 2),
        ("top_p", body.top_p, 0, 1),
        ("n", body.n, 1, 128),
        ("max_tokens", body.max_tokens, 1, None),
        ("max_completion_tokens", body.max_completion_tokens, 1, None),
    ):
        if value is not None and (value < low or (high is not None and value > high)):
            raise Refused("invalid", f"Invalid '{name}': {value} is out of range.", param=name)
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    return ModelCall(
        model=model,
        messages=messages_of(body.messages),
        tools=tools_of(body.tools or []),
        tool_choice=choice_of(body.tool_choice),
        parallel_tools=body.parallel_tool_calls,
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        stop=stop,
        seed=body.seed,
        output=output_of(body.response_format),
        reasoning=body.reasoning_effort or "",
        stream=bool(body.stream),
    )


def messages_of(given: list[dict[str, Any]]) -> list[Message]:
    """The conversation. Tools' calls and results must fit each other, as with the provider."""
    messages: list[Message] = []
    waiting: dict[str, None] = {}
    for number, message in enumerate(given):
        role = message.get("role")
        where = f"messages.[{number}]"
        if role not in _ROLES:
            raise Refused(
                "invalid",
                f"Invalid value: '{role}'. Supported values are: 'system', 'developer', 'user', 'assistant', and 'tool'.",
                param=f"{where}.role",
            )
        if role == "tool":
            messages.append(_result(message, waiting, where))
            continue
        if waiting:
            raise _unanswered(waiting, where)
        parts = parts_of(message.get("content"), f"{where}.content")
        if role == "assistant":
            if thought := message.get("reasoning_content"):
                parts.insert(0, {"type": "reasoning", "text": str(thought)})
            parts += [_use(call, waiting, where) for call in message.get("tool_calls") or ()]
        elif message.get("content") is None:
            raise Refused(
                "invalid", "Invalid value for 'content': expected a string, got null.", param=f"{where}.content"
            )
        messages.append(
            Message(role="assistant" if role == "assistant" else "user" if role == "user" else "system", content=parts)
        )
    if waiting:
        raise _unanswered(waiting, f"messages.[{len(given)}]")
    return messages


def _unanswered(waiting: dict[str, None], where: str) -> Refused:
    return Refused(
        "invalid",
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(waiting)}",
        param=f"{where}.role",
    )


def _result(message: dict[str, Any], waiting: dict[str, None], where: str) -> Message:
    use = known(message.get("tool_call_id"), str, f"{where}.tool_call_id")
    if use not in waiting:
        raise Refused(
            "invalid",
            "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
            param=f"{where}.role",
        )
    del waiting[use]
    content = parts_of(message.get("content"), f"{where}.content")
    return Message(role="tool", content=[{"type": "tool_result", "tool_use_id": use, "content": content}])


def _use(call: Any, waiting: dict[str, None], where: str) -> dict[str, Any]:
    call = known(call, dict, f"{where}.tool_calls")
    use = known(call.get("id"), str, f"{where}.tool_calls[].id")
    function = known(call.get("function"), dict, f"{where}.tool_calls[].function")
    if call.get("type") != "function":
        raise Refused("invalid", f"Missing required parameter: '{where}.tool_calls[].type'.", param=where)
    waiting[use] = None
    return {
        "type": "tool_use",
        "id": use,
        "name": str(function.get("name", "")),
        "input": arguments_of(function.get("arguments")),
    }


def arguments_of(arguments: Any) -> Any:
    """The input of a tool, which comes as the text of a JSON document."""
    text = known(arguments, str, "arguments")
    try:
        return msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError:
        return text


def parts_of(content: Any, where: str) -> list[dict[str, Any]]:
    """A message's content."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_part(known(part, dict, where), where) for part in known(content, list, where)]


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": known(part.get("text"), str, f"{where}.text")}
        case "refusal":
            return {"type": "text", "text": str(part.get("refusal", ""))}
        case "image_url":
            image = known(part.get("image_url"), dict, f"{where}.image_url")
            return {"type": "image", **data_url(known(image.get("url"), str, f"{where}.image_url.url"))}
        case "input_audio":
            audio = known(part.get("input_audio"), dict, f"{where}.input_audio")
            return {"type": "file", "media_type": f"audio/{audio.get('format')}", "data": str(audio.get("data", ""))}
        case "file":
            file = known(part.get("file"), dict, f"{where}.file")
            return {"type": "file", "name": str(file.get("filename", "")), **data_url(str(file.get("file_data", "")))}
        case other:
            raise Refused(
                "invalid",
                f"Invalid value: '{other}'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', and 'file'.",
                param=f"{where}.type",
            )


def tools_of(given: list[dict[str, Any]]) -> list[ToolSpec]:
    """The tools."""
    tools = []
    for number, tool in enumerate(given):
        if tool.get("type") != "function":
            raise Refused(
                "invalid",
                f"Invalid value: '{tool.get('type')}'. Supported values are: 'function'.",
                param=f"tools[{number}].type",
            )
        function = known(tool.get("function"), dict, f"tools[{number}].function")
        tools.append(spec_of(function, f"tools[{number}].function"))
    return tools


def spec_of(function: dict[str, Any], where: str) -> ToolSpec:
    """One tool."""
    return ToolSpec(
        name=known(function.get("name"), str, f"{where}.name"),
        description=str(function.get("description") or ""),
        parameters=function.get("parameters") or {},
        strict=bool(function.get("strict")),
    )


def choice_of(choice: str | dict[str, Any] | None) -> str:
    """Which tools may or must be asked for."""
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            return str((choice.get("allowed_tools") or choice).get("mode", "auto"))
        return f"tool:{choice.get('name') or (choice.get('function') or {}).get('name')}"
    if choice not in {None, "auto", "none", "required"}:
        raise Refused(
            "invalid",
            f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.",
            param="tool_choice",
        )
    return choice or ""


def output_of(form: dict[str, Any] | None) -> OutputFormat | None:
    """The form of the answer."""
    match (form or {}).get("type"):
        case None | "text":
            return None
        case "json_object":
            return OutputFormat()
        case "json_schema":
            given = (form or {}).get("json_schema") or form or {}
            return OutputFormat(
                schema=known(given.get("schema"), dict, "response_format.json_schema.schema"),
                name=known(given.get("name"), str, "response_format.json_schema.name"),
                strict=bool(given.get("strict")),
            )
        case other:
            raise Refused(
                "invalid",
                f"Invalid value: '{other}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
                param="response_format.type",
            )
