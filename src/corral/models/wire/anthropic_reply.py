"""Anthropic's answers in our words, whole and as they come."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Delta, ModelReply, StopReason, Usage
from corral.models.wire.collecting import Collector


class OutputDetails(msgspec.Struct, frozen=True):
    """Part of what was written."""

    thinking_tokens: int | None = None


class UsageJson(msgspec.Struct, frozen=True):
    """The API's count. What was read from the cache or written to it is not in `input_tokens`."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None

    def over(self, before: Usage) -> Usage:
        """The usage so far, and over it what is said here: each number is of all of the answer."""
        details, written = self.output_tokens_details, before.output_tokens
        thought = before.reasoning if details is None or details.thinking_tokens is None else details.thinking_tokens
        if self.output_tokens is not None:
            written = self.output_tokens
        thought = min(thought, written)
        return Usage(
            input=_or(self.input_tokens, before.input),
            cache_read=_or(self.cache_read_input_tokens, before.cache_read),
            cache_write=_or(self.cache_creation_input_tokens, before.cache_write),
            output=written - thought,
            reasoning=thought,
        )


def _or(said: int | None, before: int) -> int:
    return before if said is None else said


class MessageJson(msgspec.Struct, frozen=True):
    """An answer."""

    id: str = ""
    model: str = ""
    content: list[dict[str, Any]] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: UsageJson | None = None


class DeltaJson(msgspec.Struct, frozen=True):
    """What is new: of a block, or of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    citation: Any = None
    stop_reason: str | None = None


class ErrorJson(msgspec.Struct, frozen=True):
    """What went wrong."""

    type: str = ""
    message: str = ""


class EventJson(msgspec.Struct, frozen=True):
    """An event of a stream; which fields it has depends on `type`."""

    type: str
    index: int = 0
    message: MessageJson | None = None
    content_block: dict[str, Any] | None = None
    delta: DeltaJson = DeltaJson()
    usage: UsageJson | None = None
    error: ErrorJson | None = None


decode_message = msgspec.json.Decoder(MessageJson).decode
decode_event = msgspec.json.Decoder(EventJson).decode
_decode = msgspec.json.decode

_STOPS: dict[str, StopReason] = {
    "end_turn": "end",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "pause_turn": "pause",
}


def _stop(said: str, *, answered: bool) -> StopReason:
    """`answered`: the tool that was called stands for the answer."""
    return "end" if answered and said == "tool_use" else _STOPS.get(said, "other")


def reply(body: bytes, answer_tool: str = "") -> tuple[ModelReply, bool]:
    """A whole answer, and whether it says what it used. Raises `msgspec.DecodeError` if it is none."""
    said = decode_message(body)
    content = [_part(block, answer_tool) for block in said.content]
    calls = any(part["type"] == "tool_use" for part in content)
    answered = not calls and any(block.get("name") == answer_tool for block in said.content)
    return ModelReply(
        id=said.id,
        model=said.model,
        content=content,
        stop_reason=_stop(said.stop_reason or "", answered=answered),
        usage=said.usage.over(Usage()) if said.usage is not None else Usage(),
    ), said.usage is not None


def _part(block: dict[str, Any], answer_tool: str = "") -> dict[str, Any]:
    """A block that came whole. Blocks that only the API knows stay as they are, and can be sent back."""
    kind = block.get("type")
    if kind == "text":
        noted = {"citations": block["citations"]} if block.get("citations") else {}
        return {"type": "text", "text": block.get("text") or "", **noted}
    if kind == "thinking":
        return {"type": "reasoning", "text": block.get("thinking") or "", "signature": block.get("signature") or ""}
    if kind == "redacted_thinking":
        return {"type": "reasoning", "text": "", "data": block.get("data") or ""}
    if kind == "tool_use":
        if answer_tool and block.get("name") == answer_tool:
            return {"type": "text", "text": msgspec.json.encode(block.get("input") or {}).decode()}
        return {"type": kind, "id": block.get("id"), "name": block.get("name"), "input": block.get("input") or {}}
    return {"type": "other"} | block


class AnthropicStream:
    """One answer as it comes: takes events, gives deltas, and knows the reply as far as it came."""

    def __init__(self, answer_tool: str = "") -> None:
        self._answer_tool = answer_tool
        self._collector = Collector()
        self._answers: set[int] = set()
        self._called = False
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, list[str]] = {}
        self._citations: dict[int, list[Any]] = {}
        self._begun: set[int] = set()
        self.whole = False
        """The model has said why it stopped."""
        self.counted = False
        """The API has said what was used, to the end."""
        self.over = False
        """Nothing more will come."""

    def take(self, event: EventJson) -> None:
        """What an event says. An event `error` is not for here.

        Raises `KeyError` if it speaks of a block that has not begun.
        """
        kind = event.type
        if kind == "content_block_delta":
            self._piece(event.index, event.delta)
        elif kind == "content_block_start":
            self._begun.add(event.index)
            self._begin(event.index, event.content_block or {})
        elif kind == "content_block_stop":
            self._end(event.index)
        elif kind == "message_start" and event.message is not None:
            self._collector.id, self._collector.model = event.message.id, event.message.model
            self._count(event.message.usage)
        elif kind == "message_delta":
            self._count(event.usage)
            if event.delta.stop_reason is not None:
                answered = bool(self._answers) and not self._called
                self._collector.stop_reason = _stop(event.delta.stop_reason, answered=answered)
                self.whole, self.counted = True, event.usage is not None
        elif kind == "message_stop":
            self.over = True

    def came(self) -> list[Delta]:
        """The pieces of the answer that came since this was asked last."""
        return self._collector.came()

    def reply(self) -> ModelReply:
        """The answer as far as it came."""
        for index in list(self._inputs):
            self._end(index)
        return self._collector.reply()

    def _count(self, said: UsageJson | None) -> None:
        if said is not None:
            self._collector.usage = said.over(self._collector.usage or Usage())

    def _begin(self, index: int, block: dict[str, Any]) -> None:
        kind, collector = block.get("type"), self._collector
        if kind == "text":
            self._say(index, block.get("text") or "")
        elif kind == "thinking":
            self._think(index, block.get("thinking") or "")
        elif kind != "tool_use":
            part = _part(block)
            collector.put(index, part)
            if "input" in part:
                self._blocks[index], self._inputs[index] = part, []
        else:
            # The API sends the input in pieces; some who speak its language send it at once.
            written = msgspec.json.encode(block["input"]).decode() if block.get("input") else ""
            if self._answer_tool and block.get("name") == self._answer_tool:
                self._answers.add(index)
                self._say(index, written)
                return
            self._called = True
            collector.add(Delta("tool_use", "", index, block.get("id") or "", block.get("name") or ""))
            if written:
                collector.add(Delta("tool_input", written, index))

    def _say(self, index: int, text: str) -> None:
        """A text begins, with nothing yet in most cases."""
        self._collector.begin(index, {"type": "text"})
        if text:
            self._collector.say(text, index)

    def _think(self, index: int, text: str) -> None:
        self._collector.begin(index, {"type": "reasoning"})
        if text:
            self._collector.add(Delta("reasoning", text, index))

    def _piece(self, index: int, new: DeltaJson) -> None:
        if index not in self._begun:
            raise KeyError(index)
        kind, collector = new.type, self._collector
        if kind == "text_delta":
            collector.say(new.text, index)
        elif kind == "input_json_delta":
            if index in self._inputs:
                self._inputs[index].append(new.partial_json)
            elif index in self._answers:
                collector.say(new.partial_json, index)
            else:
                collector.add(Delta("tool_input", new.partial_json, index))
        elif kind == "thinking_delta":
            collector.add(Delta("reasoning", new.thinking, index))
        elif kind == "signature_delta":
            collector.mark(index, signature=new.signature)
        elif kind == "citations_delta":
            noted = self._citations.setdefault(index, [])
            noted.append(new.citation)
            collector.mark(index, citations=noted)

    def _end(self, index: int) -> None:
        """A block of the API's own has its input, which came in pieces."""
        text = "".join(self._inputs.pop(index, ()))
        if text:
            try:
                self._blocks[index]["input"] = _decode(text)
            except msgspec.DecodeError:
                self._blocks[index]["input_text"] = text
