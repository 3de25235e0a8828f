"""`POST /v1/chat/completions`: a model's answer as OpenAI's clients expect it, whole or chunk by chunk."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Delta, ModelReply, StopReason, Usage

_encode = msgspec.json.encode

_FINISH: dict[StopReason, str] = {
    "end": "stop",
    "length": "length",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "pause": "stop",
    "other": "stop",
}
DONE = b"data: [DONE]\n\n"


def completion(reply: ModelReply, made_at: float) -> dict[str, Any]:
    """A `chat.completion`."""
    content = reply.content
    if len(content) == 1 and content[0].get("type") == "text" and reply.stop_reason != "refusal":
        message = {"role": "assistant", "content": content[0].get("text", "")}  # what most answers are
    else:
        message = _message(reply)
    return {
        "id": reply.id or "chatcmpl-corral",
        "object": "chat.completion",
        "created": int(reply.created_at or made_at),
        "model": reply.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": reply.logprobs,
                "finish_reason": _finish(reply.stop_reason, calls="tool_calls" in message),
            }
        ],
        "usage": usage_of(reply.usage),
    }


def _finish(reason: StopReason, *, calls: bool) -> str:
    return "tool_calls" if calls and reason == "end" else _FINISH[reason]


def _message(reply: ModelReply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls = [_call(part) for part in reply.tool_uses]
    if reply.stop_reason == "refusal":
        message["refusal"] = reply.text
    elif not calls or any(part.get("type") == "text" for part in reply.content):
        message["content"] = reply.text
    if calls:
        message["tool_calls"] = calls
    if any(part.get("type") == "reasoning" for part in reply.content):
        message["reasoning_content"] = reply.reasoning
    return message


def _call(part: dict[str, Any]) -> dict[str, Any]:
    arguments = part.get("input_text") or _encode(part.get("input") or {}).decode()
    function = {"name": part.get("name", ""), "arguments": arguments}
    return {"id": part.get("id", ""), "type": "function", "function": function}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens as OpenAI counts them: kinds lie within each other there."""
    read, written = usage.input_tokens, usage.output_tokens
    found: dict[str, Any] = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    if usage.cache_write:
        found["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write
    return found


class ChunkWriter:
    """The chunks of one stream. What does not change from chunk to chunk is encoded once."""

    def __init__(self, *, reply_id: str, model: str, created: float, wants_usage: bool) -> None:
        """`wants_usage`: one more chunk at the end says how many tokens it took."""
        head = {"id": reply_id, "object": "chat.completion.chunk", "created": int(created), "model": model}
        begun = b"data: " + _encode(head)[:-1]
        self._head = begun + b',"choices":[{"index":0,"delta":'
        self._usage_head = begun + b',"choices":[],"usage":'
        self._tail = b',"logprobs":null,"finish_reason":null}]}\n\n'
        if wants_usage:
            self._tail = b',"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
        self._text_head = self._head + b'{"content":'
        self._text_tail = b"}" + self._tail
        self._wants_usage = wants_usage
        self._tools: dict[int, int] = {}

    def first(self) -> bytes:
        """Who speaks."""
        return self._head + b'{"role":"assistant","content":""}' + self._tail

    def piece(self, delta: Delta) -> bytes:
        """One delta: a chunk for each piece that the provider sent."""
        match delta.kind:
            case "text":
                texts = map(_encode, delta.pieces or (delta.text,))
                return self._text_head + (self._text_tail + self._text_head).join(texts) + self._text_tail
            case "reasoning":
                content = b'{"reasoning_content":' + _encode(delta.text) + b"}"
            case "tool_use":
                number = self._tools[delta.index] = len(self._tools)
                function = {"name": delta.name, "arguments": ""}
                call = {"index": number, "id": delta.id, "type": "function", "function": function}
                content = _encode({"tool_calls": [call]})
            case "tool_input":
                number = self._tools.get(delta.index, 0)
                content = _encode({"tool_calls": [{"index": number, "function": {"arguments": delta.text}}]})
        return self._head + content + self._tail

    def end(self, reply: ModelReply) -> bytes:
        """Why it ended, what it took, and the end of the stream."""
        reason = _finish(reply.stop_reason, calls=bool(self._tools))
        last = self._head + b'{},"logprobs":null,"finish_reason":' + _encode(reason) + b"}]}\n\n"
        if self._wants_usage:
            last += self._usage_head + _encode(usage_of(reply.usage)) + b"}\n\n"
        return last + DONE
