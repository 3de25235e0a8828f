"""`POST /v1/chat/completions`: what a client of OpenAI's asks, as a call of ours."""

from __future__ import annotations

from typing import Any

from corral.messages import Message, ModelCall, OutputFormat
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

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_SPOKEN = {"system": "system", "developer": "system", "user": "user"}
_ALONE = 1
_SHAPING = frozenset({"n", "tools", "tool_choice", "stop", "response_format"})
_TAKEN_AS_THEY_ARE: dict[str, tuple[str, type]] = {
    "parallel_tool_calls": ("parallel_tools", bool),
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", int),
    "seed": ("seed", int),
    "frequency_penalty": ("frequency_penalty", float),
    "presence_penalty": ("presence_penalty", float),
    "reasoning_effort": ("reasoning", str),
    "stream": ("stream", bool),
}


class ChatRequest:
    """A call, and what concerns only how it is answered."""

    __slots__ = ("call", "tags", "user", "wants_usage")

    def __init__(self, call: ModelCall, *, user: str | None, tags: dict[str, str], wants_usage: bool) -> None:
        """Made by `read_chat`."""
        self.call = call
        self.user = user
        self.tags = tags
        self.wants_usage = wants_usage
        """The last chunk of a stream says how many tokens it took."""


def read_chat(body: object, default_model: str) -> ChatRequest:
    """Read a request. Raises `RequestInvalid` naming the field. What we have no word for goes to the provider as it is."""
    fields = Fields(body)
    shaping = {} if _SHAPING.isdisjoint(fields.left) else _shaping(fields)
    call = ModelCall(
        model=fields.take("model", str) or default_model,
        messages=_messages(fields.need("messages", list)),
        max_tokens=most_tokens(fields, "max_tokens", "max_completion_tokens"),
        **shaping,
        **fields.take_all(_TAKEN_AS_THEY_ARE),
    )
    if not fields.left:
        return ChatRequest(call, user=None, tags={}, wants_usage=False)
    options = fields.take("stream_options", dict) or {}
    user = fields.take("user", str) or fields.take("safety_identifier", str)
    metadata = fields.take("metadata", dict) or {}
    fields.drop("store", "prompt_cache_key", "prompt_cache_retention", "service_tier", "functions", "function_call")
    call.extra.update(fields.left)
    return ChatRequest(
        call,
        user=user,
        tags={str(name): str(value) for name, value in metadata.items()} if metadata else {},
        wants_usage=bool(options.get("include_usage")),
    )


def _shaping(fields: Fields) -> dict[str, Any]:
    """What many requests have nothing of: tools, and the shape of the answer."""
    count = fields.take("n", int)
    if count is not None and count != _ALONE:
        raise fields.wrong("n", "One answer at a time (`n: 1`): ask as often as you want answers.")
    return {
        "tools": function_tools(fields, "function"),
        "tool_choice": _tool_choice(fields.take_any("tool_choice")),
        "stop": texts(fields, "stop"),
        "output": _output(fields.take("response_format", dict)),
    }


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
    said = []
    for at, value in enumerate(values):
        spoken = _spoken(value)
        said.append(_message(value, f"messages[{at}]") if spoken is None else spoken)
    return said


def _spoken(value: Any) -> Message | None:
    """What most messages are: one text, of a person or an instruction."""
    if type(value) is not dict:
        return None
    role, content = value.get("role"), value.get("content")
    if type(role) is not str or type(content) is not str or role not in _SPOKEN:
        return None
    return Message(role=_SPOKEN[role], content=[{"type": "text", "text": content}])  # type: ignore[arg-type]  # one of them


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
    return Message(role=known, content=parts)  # type: ignore[arg-type]  # one of them


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
