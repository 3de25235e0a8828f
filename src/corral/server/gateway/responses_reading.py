"""`POST /v1/responses`: what a client of OpenAI's newer API asks, as a call of ours."""

from __future__ import annotations

from typing import Any

from corral.messages import Message, ModelCall, OutputFormat
from corral.server.gateway.chat_reading import ChatRequest
from corral.server.gateway.reading import (
    Fields,
    RequestInvalid,
    function_tools,
    image_part,
    most_tokens,
    tool_choice,
    tool_use,
)

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "background", "prompt")


def read_response(body: object, default_model: str) -> ChatRequest:
    """Read a request. Raises `RequestInvalid` naming the field."""
    fields = Fields(body)
    for name in _KEPT_ELSEWHERE:
        if fields.take_any(name):
            raise fields.wrong(
                name, f"`{name}` needs answers that are kept here: send the whole conversation as `input`."
            )
    instructions = fields.take("instructions", str)
    messages = _input(fields)
    if instructions:
        messages.insert(0, Message(role="system", content=[{"type": "text", "text": instructions}]))
    reasoning = fields.take("reasoning", dict) or {}
    most = fields.take("max_output_tokens", int)
    call = ModelCall(
        model=fields.take("model", str) or default_model,
        messages=messages,
        tools=function_tools(fields.take("tools", list) or []),
        tool_choice=_tool_choice(fields.take_any("tool_choice")),
        parallel_tools=fields.take("parallel_tool_calls", bool),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        max_tokens=None if most is None else most_tokens(most, "max_output_tokens"),
        output=_output(fields.take("text", dict)),
        reasoning=str(reasoning.get("effort") or ""),
        stream=bool(fields.take("stream", bool)),
    )
    user = fields.take("user", str) or fields.take("safety_identifier", str)
    metadata = fields.take("metadata", dict) or {}
    fields.drop(
        "store", "include", "truncation", "service_tier", "stream_options", "prompt_cache_key", "max_tool_calls"
    )
    call.extra.update(fields.left)
    return ChatRequest(
        call, user=user, tags={str(name): str(value) for name, value in metadata.items()}, wants_usage=True
    )


def _tool_choice(value: Any) -> str:
    return tool_choice(value, value.get("name") if isinstance(value, dict) else None)


def _output(text: dict[str, Any] | None) -> OutputFormat | None:
    shape = (text or {}).get("format")
    if not isinstance(shape, dict) or shape.get("type") == "text":
        return None
    if shape.get("type") == "json_object":
        return OutputFormat()
    if shape.get("type") != "json_schema":
        raise RequestInvalid("`text.format.type` is `text`, `json_object` or `json_schema`.", "text.format.type")
    fields = Fields(shape, "text.format")
    return OutputFormat(
        schema=fields.need("schema", dict),
        name=fields.take("name", str) or "answer",
        strict=bool(fields.take("strict", bool)),
    )


# -- items ------------------------------------------------------------------------------------------------------------


def _input(fields: Fields) -> list[Message]:
    given = fields.take_any("input")
    if given in ("", []):
        raise fields.wrong("input", "`input` is empty: there is nothing to answer.")
    if isinstance(given, str):
        return [Message(role="user", content=[{"type": "text", "text": given}])]
    if not isinstance(given, list):
        raise fields.wrong("input", "`input` is a text, or a list of items.")
    messages: list[Message] = []
    for at, item in enumerate(given):
        message = _item(item, f"input[{at}]")
        if messages and message.role == messages[-1].role == "assistant":
            # One turn of the model comes as several items: what it thought, said, and wants called.
            message = Message(role="assistant", content=[*messages.pop().content, *message.content])
        messages.append(message)
    return messages


def _item(item: Any, where: str) -> Message:
    fields = Fields(item, where)
    match fields.take("type", str) or "message":
        case "message":
            role = _ROLES.get(fields.need("role", str))
            if role is None:
                raise RequestInvalid(f"`{where}.role` is one of {', '.join(_ROLES)}.", f"{where}.role")
            content = fields.take_any("content")
            if content is None:
                raise RequestInvalid(f"`{where}.content` is missing.", f"{where}.content")
            return Message(role=role, content=_parts(content, where))  # type: ignore[arg-type]  # one of them
        case "function_call":
            use = tool_use(fields.need("call_id", str), fields.need("name", str), fields.take("arguments", str))
            return Message(role="assistant", content=[use])
        case "function_call_output":
            output = fields.take_any("output")
            if output is None:
                raise RequestInvalid(f"`{where}.output` is missing.", f"{where}.output")
            content = _parts(output, where)
            result = {"type": "tool_result", "tool_use_id": fields.need("call_id", str), "content": content}
            return Message(role="tool", content=[result])
        case "reasoning":
            thought: dict[str, Any] = {"type": "reasoning", "text": _summary(fields.take_any("summary"))}
            for name, kept in (("encrypted_content", "data"), ("id", "id")):
                value = fields.take(name, str)
                if value:
                    thought[kept] = value
            return Message(role="assistant", content=[thought])
        case kind:
            raise RequestInvalid(f"`{where}.type` is none that can be sent to every model: {kind!r}.", f"{where}.type")


def _summary(parts: Any) -> str:
    return "".join(str(part.get("text", "")) for part in parts or () if isinstance(part, dict))


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise RequestInvalid(f"`{where}.content` is a text or a list of parts.", f"{where}.content")
    return [_part(part, f"{where}.content[{at}]") for at, part in enumerate(content)]


def _part(part: Any, where: str) -> dict[str, Any]:
    fields = Fields(part, where)
    match fields.take("type", str):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": fields.need("text", str)}
        case "refusal":
            return {"type": "text", "text": fields.need("refusal", str)}
        case "input_image":
            return image_part(fields.need("image_url", str), fields.take_any("detail"))
        case "input_file":
            data = fields.need("file_data", str)
            head, _, body = data.removeprefix("data:").rpartition(";base64,")
            name = fields.take("filename", str) or "file"
            return {"type": "file", "name": name, "media_type": head or "application/pdf", "data": body or data}
        case kind:
            raise RequestInvalid(f"`{where}.type` is none that can be sent to every model: {kind!r}.", f"{where}.type")
