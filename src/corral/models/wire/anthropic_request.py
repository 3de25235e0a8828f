"""Our calls in the words of Anthropic's Messages API."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from corral.errors import ModelRequestInvalid
from corral.messages import Message, ModelCall, as_parts
from corral.models.wire.claude import Claude, Thinking, claude, closed, thinking

_encode = msgspec.json.Encoder(order="deterministic").encode

_JSON_ORDER = "Answer with one JSON object, and with nothing before or after it."
_OWN = frozenset({"server_tool_use", "tool_result", "container_upload", "document", "search_result"})
"""Blocks of the API's own that an answer may have."""
_CACHEABLE = frozenset({"text", "image", "document", "tool_use", "tool_result"})


class AnthropicRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, and what has to be known to read what comes back."""

    body: dict[str, Any]
    answer_tool: str = ""
    """The tool that stands for the answer in JSON: what it is called with is the answer."""

    def encoded(self) -> bytes:
        """The body in bytes."""
        return msgspec.json.encode(self.body)


def request(call: ModelCall, options: Mapping[str, Any]) -> AnthropicRequest:
    """The request for a call. `options` are the provider's: `max_tokens`, `cache_ttl`, `thinking_display`.

    Raises `ModelRequestInvalid` for parts that the API has no word for.
    """
    can = claude(call.model)
    marker = {"type": "ephemeral", **({"ttl": options["cache_ttl"]} if options.get("cache_ttl") else {})}
    system, messages = _conversation(call.messages, can, marker)
    tools, choice, answer_tool = _tools(call, can)
    forced = choice is not None and choice["type"] in {"any", "tool"}
    how = thinking(
        call, can, options.get("max_tokens"), forced=forced, display=options.get("thinking_display", "summarized")
    )
    body: dict[str, Any] = {"model": call.model, "max_tokens": how.max_tokens}
    if call.output is not None and not answer_tool and not (can.json and call.output.schema is not None):
        system.append({"type": "text", "text": _JSON_ORDER})
    if system:
        body["system"] = system
    body["messages"] = messages
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    if how.config is not None:
        body["thinking"] = how.config
    if output := _output(call, can, how):
        body["output_config"] = output
    _sampling(body, call, can, how)
    if call.stream:
        body["stream"] = True
    body.update(call.extra)
    return AnthropicRequest(body=body, answer_tool=answer_tool)


def _output(call: ModelCall, can: Claude, how: Thinking) -> dict[str, Any]:
    output: dict[str, Any] = {}
    if how.effort:
        output["effort"] = how.effort
    if call.output is not None and call.output.schema is not None and can.json:
        output["format"] = {"type": "json_schema", "schema": closed(call.output.schema)}
    return output


def _sampling(body: dict[str, Any], call: ModelCall, can: Claude, how: Thinking) -> None:
    if call.stop:
        body["stop_sequences"] = call.stop
    if not can.samples or how.on:
        return
    if call.temperature is not None:
        body["temperature"] = min(call.temperature, 1.0)
    if call.top_p is not None and (can.samples_both or call.temperature is None):
        body["top_p"] = call.top_p
    if call.top_k is not None:
        body["top_k"] = call.top_k


# -- tools ------------------------------------------------------------------------------------------------------------


def _tools(call: ModelCall, can: Claude) -> tuple[list[dict[str, Any]], dict[str, Any] | None, str]:
    """The tools, which of them to choose, and the name of the one that stands for the answer in JSON (empty: none does)."""
    tools = [_tool(spec, can) for spec in call.tools]
    choice = _choice(call, can) if tools else None
    wanted = call.output
    if wanted is None or can.always_thinks or (can.json and wanted.schema is not None):
        return tools, choice, ""
    tools.append(
        {
            "name": wanted.name,
            "description": "Give the answer. Call this instead of writing text.",
            "input_schema": wanted.schema or {"type": "object"},
        }
    )
    only = {"type": "any"} if call.tools else {"type": "tool", "name": wanted.name}
    return tools, {**only, "disable_parallel_tool_use": True}, wanted.name


def _tool(spec: Any, can: Claude) -> dict[str, Any]:
    schema = spec.parameters or {"type": "object", "properties": {}}
    tool: dict[str, Any] = {"name": spec.name, "input_schema": schema}
    if spec.description:
        tool["description"] = spec.description
    if spec.strict and can.json:
        tool.update(strict=True, input_schema=closed(schema))
    return tool


def _choice(call: ModelCall, can: Claude) -> dict[str, Any] | None:
    wanted = call.tool_choice
    if wanted == "none":
        return {"type": "none"}
    choice: dict[str, Any] = {"type": "auto"}
    if wanted == "required" and not can.always_thinks:
        choice["type"] = "any"
    elif wanted.startswith("tool:") and not can.always_thinks:
        choice.update(type="tool", name=wanted[5:])
    elif not wanted and call.parallel_tools is None:
        return None
    if call.parallel_tools is not None:
        choice["disable_parallel_tool_use"] = not call.parallel_tools
    return choice


# -- messages ---------------------------------------------------------------------------------------------------------


def _conversation(
    said: Iterable[Message], can: Claude, marker: dict[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What instructs, and the turns: one after the other of the user and the model.

    Where the model takes instructions midway they stand after the turn of the user they came with, which keeps the cached
    prefix whole; otherwise they join those at the beginning.
    """
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []
    for message in said:
        role = "assistant" if message.role == "assistant" else "user"
        parts = message.content if role == "user" else [part for part in message.content if _sayable(part)]
        blocks = _blocks(parts, marker)
        if not blocks:
            continue
        if message.role == "system":
            (late if can.instructs_midway and turns else system).extend(blocks)
            continue
        if late and role == "assistant":
            late = _instruct(late, turns, system)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if late:
        _instruct(late, turns, system)
    return system, turns


def _sayable(part: dict[str, Any]) -> bool:
    """Whether an answer may have this part. What another provider's own tools left in a conversation would be refused here."""
    kind = part.get("type", "")
    return kind in _BLOCKS or kind in _OWN or kind.endswith("_tool_result")


def _instruct(
    late: list[dict[str, Any]], turns: list[dict[str, Any]], system: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Say it here if the user spoke last; the API takes instructions nowhere else."""
    if turns[-1]["role"] == "user":
        turns.append({"role": "system", "content": late})
    else:
        system.extend(late)
    return []


def _blocks(parts: Iterable[dict[str, Any]], marker: dict[str, str]) -> list[dict[str, Any]]:
    """The parts as blocks; those that mean nothing to the API are left out."""
    blocks = []
    for part in parts:
        block = _block(part, marker)
        if block is None:
            continue
        if part.get("cache") and block["type"] in _CACHEABLE:
            block["cache_control"] = marker
        blocks.append(block)
    return blocks


def _block(part: dict[str, Any], marker: dict[str, str]) -> dict[str, Any] | None:
    kind = part.get("type", "")
    if kind == "tool_result":
        return _result(part, marker)
    known = _BLOCKS.get(kind)
    # Others are blocks of the API's own (`server_tool_use` and its like), and go back as they came.
    return known(part) if known is not None else {key: value for key, value in part.items() if key != "cache"}


def _text(part: dict[str, Any]) -> dict[str, Any] | None:
    """An empty text is refused."""
    return {"type": "text", "text": part["text"]} if part.get("text") else None


def _call(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": part.get("id"), "name": part.get("name"), "input": part.get("input") or {}}


def _result(part: dict[str, Any], marker: dict[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.get("tool_use_id")}
    if blocks := _blocks(as_parts(part["content"]) if part.get("content") else [], marker):
        result["content"] = blocks
    if part.get("is_error"):
        result["is_error"] = True
    return result


def _thought(part: dict[str, Any]) -> dict[str, Any] | None:
    """Thoughts go back as they came. Those of another provider are not signed, and would be refused."""
    if part.get("signature"):
        return {"type": "thinking", "thinking": part.get("text", ""), "signature": part["signature"]}
    sealed = part.get("data") if "id" not in part else None  # sealed with an id: by another provider
    return {"type": "redacted_thinking", "data": sealed} if sealed else None


def source(part: dict[str, Any]) -> dict[str, Any]:
    """Where an image or a document is: in the part itself or at an address."""
    if url := part.get("url"):
        if not url.startswith("data:"):
            return {"type": "url", "url": url}
        head, _, data = url[5:].partition(",")
        return {"type": "base64", "media_type": head.partition(";")[0], "data": data}
    if "data" not in part:
        raise ModelRequestInvalid(f"A part `{part.get('type')}` needs `data` and `media_type`, or `url`.")
    return {"type": "base64", "media_type": part.get("media_type") or "image/png", "data": part["data"]}


def _document(part: dict[str, Any]) -> dict[str, Any]:
    where = source({"media_type": "application/pdf"} | part)
    if where.get("media_type", "").startswith("text/"):
        where = {"type": "text", "media_type": "text/plain", "data": text_of(part, where["data"])}
    return {"type": "document", "source": where, **({"title": part["name"]} if part.get("name") else {})}


def text_of(part: dict[str, Any], data: str) -> str:
    """A file's text. Raises `ModelRequestInvalid` if it has none."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        name = part.get("name") or "a file"
        raise ModelRequestInvalid(f"{name} says that it is text, but is not base64 of UTF-8: {error}") from None


_BLOCKS: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "text": _text,
    "json": lambda part: {"type": "text", "text": _encode(part.get("json")).decode()},
    "image": lambda part: {"type": "image", "source": source(part)},
    "file": _document,
    "reasoning": _thought,
    "tool_use": _call,
}
