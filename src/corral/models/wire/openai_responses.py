"""A call in the words of the responses API. Nothing is kept at the provider: every call brings its whole conversation."""

from __future__ import annotations

from typing import Any

from corral.messages import Message, ModelCall
from corral.models.wire.openai_dialect import Dialect, effort, left_out, schema, thinks
from corral.models.wire.openai_parts import Part, arguments, json_text, result_parts, url_of

_UNKNOWN = ("stop", "seed", "frequency_penalty", "presence_penalty", "top_k")

_ITEMS = ("_call", "_call_output", "mcp_list_tools", "mcp_approval_request", "compaction")
"""Items of the API's own that go back to it; other providers have other ones."""


def responses_body(call: ModelCall, dialect: Dialect) -> dict[str, Any]:
    """What is sent. Raises `ModelRequestInvalid` for parts that the API has no word for."""
    body: dict[str, Any] = {"model": call.model, "input": responses_input(call.messages), "store": False}
    if call.tools:
        _tools(body, call)
    if call.output is not None:
        body["text"] = {"format": _format(call)}
    if call.max_tokens is not None:
        body["max_output_tokens"] = call.max_tokens
    _sampling(body, call, dialect)
    _thinking(body, call, dialect)
    if call.extra:
        body.update(call.extra)
    if call.stream:
        body["stream"] = True
    else:
        body.pop("stream", None)
    return body


def _tools(body: dict[str, Any], call: ModelCall) -> None:
    body["tools"] = [
        {
            "type": "function",
            "name": spec.name,
            "description": spec.description,
            "parameters": schema(spec.parameters),
            "strict": spec.strict,  # always said: here it would be on otherwise
        }
        for spec in call.tools
    ]
    choice = call.tool_choice
    if choice.startswith("tool:"):
        body["tool_choice"] = {"type": "function", "name": choice[5:]}
    elif choice:
        body["tool_choice"] = choice
    if call.parallel_tools is not None:
        body["parallel_tool_calls"] = call.parallel_tools


def _format(call: ModelCall) -> dict[str, Any]:
    output = call.output
    if output is None or output.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "name": output.name, "schema": output.schema, "strict": output.strict}


def _sampling(body: dict[str, Any], call: ModelCall, dialect: Dialect) -> None:
    missing = [name for name in _UNKNOWN if getattr(call, name) not in (None, [])]
    takes = dialect.samples(call)
    for name in ("temperature", "top_p"):
        value = getattr(call, name)
        if value is not None and takes:
            body[name] = value
        elif value is not None:
            missing.append(name)
    left_out(call, missing)


def _thinking(body: dict[str, Any], call: ModelCall, dialect: Dialect) -> None:
    how: dict[str, Any] = {}
    if call.reasoning:
        how["effort"] = effort(call.reasoning)
    if dialect.options.reasoning_summary:
        how["summary"] = dialect.options.reasoning_summary
    if how:
        body["reasoning"] = how
    if how or thinks(call.model):
        # What it thought comes sealed, to be given back: without it, it would think anew after each tool.
        body["include"] = ["reasoning.encrypted_content"]


# -- items ------------------------------------------------------------------------------------------------------------


def responses_input(messages: list[Message]) -> list[dict[str, Any]]:
    """The conversation, a message of ours becoming one or more items."""
    items: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "assistant":
            _answer(items, message.content)
        else:
            _turn(items, message)
    return items


def _answer(items: list[dict[str, Any]], parts: list[Part]) -> None:
    for part in parts:
        kind = part["type"]
        if kind in {"text", "json"}:
            text = part["text"] if kind == "text" else json_text(part.get("json"))
            items.append({"role": "assistant", "content": text})
        elif kind == "tool_use":
            items.append(
                {
                    "type": "function_call",
                    "call_id": part["id"],
                    "name": part["name"],
                    "arguments": arguments(part),
                }
            )
        elif kind == "reasoning":
            if part.get("data") and part.get("id"):  # sealed, and by this API: others' would be refused
                items.append(_thought(part))
        elif kind.endswith(_ITEMS):
            items.append(part)  # as it came


def _thought(part: Part) -> dict[str, Any]:
    text = part.get("text")
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", "id": part["id"], "summary": summary, "encrypted_content": part["data"]}


def _turn(items: list[dict[str, Any]], message: Message) -> None:
    """Results of tools first, as they have to follow their calls; then what else is said."""
    rest: list[Part] = []
    for part in message.content:
        if part["type"] == "tool_result":
            output = [_input_part(each) for each in result_parts(part)]
            items.append(
                {
                    "type": "function_call_output",
                    "call_id": part["tool_use_id"],
                    "output": _one_text(output),
                }
            )
        elif part["type"] not in {"tool_use", "reasoning"}:
            rest.append(_input_part(part))
    if rest or not message.content:
        items.append({"role": "system" if message.role == "system" else "user", "content": _one_text(rest)})


def _one_text(parts: list[Part]) -> str | list[Part]:
    if len(parts) == 1 and parts[0]["type"] == "input_text":
        return str(parts[0]["text"])
    return parts or ""


def _input_part(part: Part) -> Part:
    kind = part["type"]
    if kind == "text":
        return {"type": "input_text", "text": part["text"]}
    if kind == "json":
        return {"type": "input_text", "text": json_text(part.get("json"))}
    if kind == "image":
        return {"type": "input_image", "image_url": url_of(part), "detail": part.get("detail", "auto")}
    return {"type": "input_file", **_file(part)} if kind == "file" else part


def _file(part: Part) -> Part:
    if "file_id" in part:
        return {"file_id": part["file_id"]}
    if part.get("url"):
        return {"file_url": part["url"]}
    return {"filename": part.get("name") or "file", "file_data": url_of(part)}
