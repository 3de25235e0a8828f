"""A call in the words of the chat completions API."""

from __future__ import annotations

from typing import Any

from corral.errors import ModelRequestInvalid
from corral.messages import Message, ModelCall
from corral.models.wire.openai_dialect import Dialect, effort, left_out, schema
from corral.models.wire.openai_parts import Part, arguments, chat_content, chat_part, result_parts

_REASONING = frozenset({"reasoning_content", "reasoning"})
_SPEAKERS = frozenset({"system", "assistant"})
_ANY_OBJECT: dict[str, Any] = {"type": "json_object"}


def chat_body(call: ModelCall, dialect: Dialect) -> dict[str, Any]:
    """What is sent. Raises `ModelRequestInvalid` for parts that the API has no word for."""
    body: dict[str, Any] = {"model": call.model, "messages": chat_messages(call.messages, dialect)}
    if call.tools:
        _tools(body, call)
    if call.output is not None:
        body["response_format"] = _format(call)
    if call.max_tokens is not None:
        body[dialect.max_tokens_field(call.model)] = call.max_tokens
    if call.seed is not None:
        body["seed"] = call.seed
    _sampling(body, call, dialect)
    if call.reasoning:
        body["reasoning_effort"] = effort(call.reasoning)
    if call.extra:
        body.update(call.extra)
    if call.stream:
        body["stream"] = True
        if dialect.options.stream_usage:
            body.setdefault("stream_options", {"include_usage": True})
    else:
        body.pop("stream", None)
    return body


def _tools(body: dict[str, Any], call: ModelCall) -> None:
    tools = body["tools"] = []
    for spec in call.tools:
        function: dict[str, Any] = {"name": spec.name, "parameters": schema(spec.parameters)}
        if spec.description:
            function["description"] = spec.description
        if spec.strict:
            function["strict"] = True
        tools.append({"type": "function", "function": function})
    choice = call.tool_choice
    if choice.startswith("tool:"):
        body["tool_choice"] = {"type": "function", "function": {"name": choice[5:]}}
    elif choice:
        body["tool_choice"] = choice
    if call.parallel_tools is not None:
        body["parallel_tool_calls"] = call.parallel_tools


def _format(call: ModelCall) -> dict[str, Any]:
    output = call.output
    if output is None or output.schema is None:
        return _ANY_OBJECT
    return {
        "type": "json_schema",
        "json_schema": {"name": output.name, "schema": output.schema, "strict": output.strict},
    }


def _sampling(body: dict[str, Any], call: ModelCall, dialect: Dialect) -> None:
    wanted: dict[str, Any] = {}
    if call.temperature is not None:
        wanted["temperature"] = call.temperature
    if call.top_p is not None:
        wanted["top_p"] = call.top_p
    if call.frequency_penalty is not None:
        wanted["frequency_penalty"] = call.frequency_penalty
    if call.presence_penalty is not None:
        wanted["presence_penalty"] = call.presence_penalty
    if call.stop:
        wanted["stop"] = call.stop
    missing: list[str] = []
    if call.top_k is not None:
        if dialect.official:
            missing.append("top_k")
        else:
            body["top_k"] = call.top_k
    if wanted:
        if dialect.samples(call):
            body |= wanted
        else:
            missing += wanted
    left_out(call, missing)


# -- messages ---------------------------------------------------------------------------------------------------------


def chat_messages(messages: list[Message], dialect: Dialect) -> list[dict[str, Any]]:
    """The conversation, a message of ours becoming one or more of theirs."""
    said: list[dict[str, Any]] = []
    for message in messages:
        role, parts = message.role, message.content
        if len(parts) == 1 and parts[0]["type"] == "text":
            said.append({"role": role if role in _SPEAKERS else "user", "content": chat_content(parts, dialect)})
        elif role == "assistant":
            said.append(_answer(parts, dialect))
        elif role == "system":
            said.append({"role": "system", "content": _text_alone(chat_content(parts, dialect))})
        else:
            _turn(said, parts, dialect)
    return said


def _text_alone(content: str | list[Part]) -> str | list[Part]:
    if isinstance(content, list) and any(part["type"] != "text" for part in content):
        raise ModelRequestInvalid(
            "Instructions (messages with the role `system`) can hold text alone: send the rest as the user."
        )
    return content


def _answer(parts: list[Part], dialect: Dialect) -> dict[str, Any]:
    calls: list[Part] = []
    thoughts: dict[str, str] = {}
    spoken: list[Part] = []
    for part in parts:
        kind = part["type"]
        if kind == "tool_use":
            function = {"name": part["name"], "arguments": arguments(part)}
            calls.append({"id": part["id"], "type": "function", "function": function})
        elif kind == "reasoning":
            field = part.get("field")
            if field in _REASONING:
                thoughts[field] = thoughts.get(field, "") + part.get("text", "")
        elif kind in {"text", "json"}:
            spoken.append(part)
    # Images and files that a model wrote cannot be given back to it by this API.
    message: dict[str, Any] = {"role": "assistant", "content": chat_content(spoken, dialect)}
    if calls:
        message["tool_calls"] = calls
        if not spoken:
            message["content"] = None
    back = dialect.options.reasoning_back
    if thoughts and not dialect.official and (back == "always" or (back == "tools" and calls)):
        message.update(thoughts)
    return message


def _turn(said: list[dict[str, Any]], parts: list[Part], dialect: Dialect) -> None:
    """Results of tools first, as they have to follow their calls; then what the user says, and what results show."""
    rest: list[Part] = []
    for part in parts:
        if part["type"] != "tool_result":
            rest.append(part)
            continue
        texts: list[Part] = []
        for each in result_parts(part):
            (texts if each["type"] in {"text", "json"} else rest).append(each)
        said.append(
            {
                "role": "tool",
                "tool_call_id": part["tool_use_id"],
                "content": chat_content(texts, dialect),
            }
        )
    if any(chat_part(each, dialect) is not None for each in rest) or not parts:
        said.append({"role": "user", "content": chat_content(rest, dialect)})
