"""`POST /v1/responses`: a model's answer as a `response`, whole or as the events that build it."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.clock import new_id
from corral.messages import Delta, ModelCall, ModelReply, Usage

_encode = msgspec.json.encode


def response(call: ModelCall, reply: ModelReply, made_at: float) -> dict[str, Any]:
    """A `response`."""
    output = [_item(part) for part in reply.content]
    found = _frame(call, reply.id or _new("resp"), reply.model, reply.created_at or made_at)
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.stop_reason)
    return found | {
        "status": "completed" if cut is None else "incomplete",
        "incomplete_details": None if cut is None else {"reason": cut},
        "output": output,
        "usage": _usage(reply.usage),
    }


def _frame(call: ModelCall, response_id: str, model: str, created: float) -> dict[str, Any]:
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(created),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": call.max_tokens,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": call.parallel_tools is not False,
        "previous_response_id": None,
        "reasoning": {"effort": call.reasoning or None, "summary": None},
        "store": False,
        "temperature": call.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": call.tool_choice or "auto",
        "tools": [],
        "top_p": call.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _new(kind: str) -> str:
    return f"{kind}_{new_id().replace('-', '')}"


def _item(part: dict[str, Any], item_id: str = "", *, done: bool = True) -> dict[str, Any]:
    status = "completed" if done else "in_progress"
    match part.get("type"):
        case "tool_use":
            return {
                "type": "function_call",
                "id": item_id or _new("fc"),
                "call_id": part.get("id", ""),
                "name": part.get("name", ""),
                "arguments": (part.get("input_text") or _encode(part.get("input") or {}).decode()) if done else "",
                "status": status,
            }
        case "reasoning":
            text = part.get("text", "")
            thought: dict[str, Any] = {"type": "reasoning", "id": part.get("id") or item_id or _new("rs")}
            thought["summary"] = [{"type": "summary_text", "text": text}] if text and done else []
            if part.get("data"):
                thought["encrypted_content"] = part["data"]
            return thought
        case _:
            content = [_text(part.get("text", ""))] if done else []
            return {
                "type": "message",
                "id": item_id or _new("msg"),
                "role": "assistant",
                "status": status,
                "content": content,
            }


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


class EventWriter:
    """The events of one stream, numbered. Items begin and end as the parts of the reply do."""

    def __init__(self, call: ModelCall, *, reply_id: str, model: str, created: float) -> None:
        """Nothing is said yet."""
        self._call = call
        self._frame = _frame(call, reply_id or _new("resp"), model, created)
        self._number = 0
        self._at = -1
        self._index = -1
        self._part: dict[str, Any] = {}
        self._item_id = ""
        self._pieces: list[str] = []
        self._output: list[dict[str, Any]] = []

    def first(self) -> bytes:
        """It has begun."""
        return self._event("response.created", response=self._frame) + self._event(
            "response.in_progress", response=self._frame
        )

    def piece(self, delta: Delta) -> bytes:
        """One delta: an event for each piece that the provider sent."""
        if delta.pieces:
            return b"".join([self.piece(Delta(delta.kind, text, delta.index)) for text in delta.pieces])
        said = b""
        if delta.index != self._index or self._kind(delta) != self._part.get("type"):
            said = self._close() + self._open(delta)
        if delta.kind == "tool_use":
            return said
        self._pieces.append(delta.text)
        place = {"item_id": self._item_id, "output_index": self._at, "delta": delta.text}
        if delta.kind == "text":
            return said + self._event("response.output_text.delta", content_index=0, logprobs=[], **place)
        if delta.kind == "reasoning":
            return said + self._event("response.reasoning_summary_text.delta", summary_index=0, **place)
        return said + self._event("response.function_call_arguments.delta", **place)

    @staticmethod
    def _kind(delta: Delta) -> str:
        return "tool_use" if delta.kind == "tool_input" else delta.kind

    def _open(self, delta: Delta) -> bytes:
        self._index, self._at = delta.index, self._at + 1
        kind = self._kind(delta)
        self._part = {"type": kind, "id": delta.id, "name": delta.name} if kind == "tool_use" else {"type": kind}
        self._item_id = _new({"text": "msg", "reasoning": "rs", "tool_use": "fc"}[kind])
        item = _item(self._part, self._item_id, done=False)
        said = self._event("response.output_item.added", output_index=self._at, item=item)
        place = {"item_id": self._item_id, "output_index": self._at}
        if kind == "text":
            said += self._event("response.content_part.added", content_index=0, part=_text(""), **place)
        elif kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            said += self._event("response.reasoning_summary_part.added", summary_index=0, part=part, **place)
        return said

    def _close(self) -> bytes:
        if not self._part:
            return b""
        text, self._pieces = "".join(self._pieces), []
        place = {"item_id": self._item_id, "output_index": self._at}
        kind = self._part["type"]
        item = _item(self._part | {"text": text}, self._item_id)
        if kind == "text":
            said = self._event("response.output_text.done", content_index=0, text=text, logprobs=[], **place)
            said += self._event("response.content_part.done", content_index=0, part=_text(text), **place)
        elif kind == "reasoning":
            part = {"type": "summary_text", "text": text}
            said = self._event("response.reasoning_summary_text.done", summary_index=0, text=text, **place)
            said += self._event("response.reasoning_summary_part.done", summary_index=0, part=part, **place)
        else:
            item["arguments"] = text or "{}"
            said = self._event(
                "response.function_call_arguments.done", arguments=item["arguments"], name=item["name"], **place
            )
        self._output.append(item)
        self._part = {}
        return said + self._event("response.output_item.done", output_index=self._at, item=item)

    def end(self, reply: ModelReply) -> bytes:
        """The whole response once more."""
        said = self._close()
        whole = response(self._call, reply, self._frame["created_at"])
        whole |= {name: self._frame[name] for name in ("id", "model")}  # as it was called from the first event on
        if self._output:
            whole["output"] = self._output
        name = "response.completed" if whole["status"] == "completed" else "response.incomplete"
        return said + self._event(name, response=whole)

    def failed(self, error: dict[str, Any]) -> bytes:
        """It broke off."""
        return self._event("error", code=error["code"], message=error["message"], param=error["param"])

    def _event(self, event: str, /, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return b"event: %s\ndata: %s\n\n" % (
            event.encode(),
            _encode({"type": event, "sequence_number": number} | fields),
        )
