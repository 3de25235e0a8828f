"""`POST /v1/chat/completions`: what a client of OpenAI's asks, as a call of ours."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec
from msgspec.structs import replace

from corral.messages import Message, ModelCall, OutputFormat, Role
from corral.server.gateway.reading import (
    Fields,
    RequestInvalid,
    function_tools,
    image_part,
    most_tokens,
    texts,
    tool_choice,
    tool_use,
)

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_SPOKEN = ("user", "system", "developer")
_ALONE = 1


class _Body(msgspec.Struct):
    """What a request may say, each none where it is missing or null."""

    messages: list[Any] | None = None
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    stop: Any = None
    response_format: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None


_PLAIN = frozenset(
    {
        *("messages", "model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "seed"),
        *("frequency_penalty", "presence_penalty", "reasoning_effort", "stream", "parallel_tool_calls"),
        *("store", "prompt_cache_key", "prompt_cache_retention", "service_tier", "functions", "function_call"),
    }
)
"""All that most requests have; the last of them mean nothing here."""
_UNDERSTOOD = _PLAIN | set(_Body.__struct_fields__) - {"safety_identifier"}
_KINDS: dict[str, type] = {
    field.name: get_origin(kind) or kind for field in msgspec.structs.fields(_Body) for kind in get_args(field.type)[:1]
}
"""Of fields that are of one kind."""


class ChatRequest(msgspec.Struct):
    """A call, and what concerns only how it is answered."""

    call: ModelCall
    user: str | None = None
    tags: dict[str, str] = {}
    wants_usage: bool = False
    """The last chunk of a stream says how many tokens it took."""


def read_chat(body: Any, default_model: str) -> ChatRequest:
    """Read a request. Raises `RequestInvalid` naming the field. What we have no word for goes to the provider as it is."""
    try:
        asked = msgspec.convert(body, _Body)
    except msgspec.ValidationError as error:
        raise _fault(body, error) from None
    if asked.messages is None:
        raise RequestInvalid("`messages` is missing.", "messages")
    most = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    call = ModelCall(
        model=asked.model or default_model,
        messages=_messages(asked.messages),
        parallel_tools=asked.parallel_tool_calls,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        max_tokens=None if most is None else most_tokens(most, "max_tokens"),
        seed=asked.seed,
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
        reasoning=asked.reasoning_effort or "",
        stream=asked.stream or False,
    )
    if body.keys() <= _PLAIN:
        return ChatRequest(call)
    if asked.n is not None and asked.n != _ALONE:
        raise RequestInvalid("One answer at a time (`n: 1`): ask as often as you want answers.", "n")
    more = {name: value for name, value in body.items() if name not in _UNDERSTOOD}
    user = asked.user or more.pop("safety_identifier", None)
    call = replace(
        call,
        tools=function_tools(asked.tools or [], "function"),
        tool_choice=_tool_choice(asked.tool_choice),
        stop=texts(asked.stop, "stop"),
        output=_output(asked.response_format),
        extra=more,
    )
    return ChatRequest(
        call,
        user,
        {name: str(value) for name, value in asked.metadata.items()} if asked.metadata else {},
        wants_usage=asked.stream_options is not None and bool(asked.stream_options.get("include_usage")),
    )


def _fault(body: object, error: msgspec.ValidationError) -> RequestInvalid:
    """What is wrong with a body whose fields are not what they should be."""
    fields = Fields(body)
    try:
        for name, kind in _KINDS.items():
            fields.take(name, kind)
    except RequestInvalid as named:
        return named
    return RequestInvalid(f"{error}.")


def _tool_choice(value: Any) -> str:
    function = value.get("function") if isinstance(value, dict) else None
    holder = function if isinstance(function, dict) else value
    return tool_choice(value, holder.get("name") if isinstance(holder, dict) else None)


def _output(value: dict[str, Any] | None) -> OutputFormat | None:
    if value is None or value.get("type") == "text":
        return None
    if value.get("type") == "json_object":
        return OutputFormat()
    if value.get("type") != "json_schema":
        raise RequestInvalid(
            "`response_format.type` is `text`, `json_object` or `json_schema`.", "response_format.type"
        )
    fields = Fields(value.get("json_schema"), "response_format.json_schema")
    return OutputFormat(
        schema=fields.need("schema", dict),
        name=fields.take("name", str) or "answer",
        strict=bool(fields.take("strict", bool)),
    )


# -- messages ---------------------------------------------------------------------------------------------------------


def _messages(values: list[Any]) -> list[Message]:
    if not values:
        raise RequestInvalid("`messages` is empty: there is nothing to answer.", "messages")
    said: list[Message] = []
    for value in values:
        if (
            type(value) is dict
            and type(content := value.get("content")) is str
            and (role := value.get("role")) in _SPOKEN
        ):
            # What most messages are: one text, of a person or an instruction.
            parts = [{"type": "text", "text": content}]
            said.append(Message(role=_ROLES[role], content=parts))
        else:
            said.append(_message(value, f"messages[{len(said)}]"))
    return said


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise RequestInvalid(f"`{where}` is a message: an object with `role` and `content`.", where)
    role = value.get("role")
    if role == "tool":
        return _tool_result(value, where)
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise RequestInvalid(f"`{where}.role` is one of {', '.join(_ROLES)}, not {role!r}.", f"{where}.role")
    content = value.get("content")
    parts = _parts(content, where)
    if known == "assistant":
        parts = [*_thought(value), *parts, *_tool_uses(value, where)]
    elif content is None:
        raise RequestInvalid(f"`{where}.content` is missing.", f"{where}.content")
    return Message(role=known, content=parts)


def _tool_result(value: dict[str, Any], where: str) -> Message:
    used, content = value.get("tool_call_id"), value.get("content")
    if not isinstance(used, str):
        raise RequestInvalid(f"`{where}.tool_call_id` says whose result this is: a text.", f"{where}.tool_call_id")
    if content is None:
        raise RequestInvalid(f"`{where}.content` is missing.", f"{where}.content")
    result = {"type": "tool_result", "tool_use_id": used, "content": _parts(content, where)}
    return Message(role="tool", content=[result])


def _thought(value: dict[str, Any]) -> list[dict[str, Any]]:
    said = value.get("reasoning_content") or value.get("reasoning")
    return [{"type": "reasoning", "text": said}] if isinstance(said, str) else []


def _tool_uses(value: dict[str, Any], where: str) -> list[dict[str, Any]]:
    calls = value.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise RequestInvalid(f"`{where}.tool_calls` is a list.", f"{where}.tool_calls")
    return [_tool_use(call, f"{where}.tool_calls[{at}]") for at, call in enumerate(calls or ())]


def _tool_use(call: Any, where: str) -> dict[str, Any]:
    fields = Fields(call, where)
    if fields.take("type", str) not in {None, "function"}:
        raise fields.wrong("type", f"`{where}.type` is `function`.")
    function = Fields(fields.need("function", dict), f"{where}.function")
    name, arguments = function.need("name", str), function.take("arguments", str)
    return tool_use(fields.take("id", str) or "", name, arguments)


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise RequestInvalid(f"`{where}.content` is a text or a list of parts.", f"{where}.content")
    return [_part(part, f"{where}.content[{at}]") for at, part in enumerate(content)]


def _part(part: Any, where: str) -> dict[str, Any]:
    fields = Fields(part, where)
    kind = fields.take("type", str)
    found: dict[str, Any]
    match kind:
        case "text":
            found = {"type": "text", "text": fields.need("text", str)}
        case "image_url":
            image = fields.take_any("image_url")
            image = {"url": image} if isinstance(image, str) else image
            within = Fields(image, f"{where}.image_url")
            found = image_part(within.need("url", str), within.take_any("detail"))
        case "refusal":
            found = {"type": "text", "text": fields.need("refusal", str)}
        case "file":
            found = _file(Fields(fields.take_any("file"), f"{where}.file"))
        case _:
            raise RequestInvalid(f"`{where}.type` is text, image_url or file, not {kind!r}.", f"{where}.type")
    if fields.take_any("cache_control") is not None:
        found["cache"] = True  # Anthropic's marker, which its users send through OpenAI's clients as well
    return found


def _file(fields: Fields) -> dict[str, Any]:
    data = fields.need("file_data", str)
    head, _, body = data.removeprefix("data:").rpartition(";base64,")
    return {
        "type": "file",
        "name": fields.take("filename", str) or "file",
        "media_type": head or "application/pdf",
        "data": body or data,
    }
