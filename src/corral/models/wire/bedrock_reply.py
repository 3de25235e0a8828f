"""Converse's answers in our words, whole and as they come."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from corral.messages import Delta, ModelReply, StopReason, Usage
from corral.models.wire.bedrock_parts import own_part
from corral.models.wire.collecting import Collector

GUARDED = "guardrail_intervened"
"""Why it stopped when a guardrail did not let the question or the answer pass."""

_STOPS: dict[str, StopReason] = {
    "end_turn": "end",
    "tool_use": "tool_use",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "content_filtered": "content_filter",
    GUARDED: "content_filter",
}


class UsageJson(msgspec.Struct, frozen=True, rename="camel"):
    """The API's count."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0

    def usage(self) -> Usage:
        """In kinds that do not overlap. Some models count what was cached as read as well; the total tells."""
        read, kept = self.input_tokens, self.cache_read_input_tokens + self.cache_write_input_tokens
        if kept and self.total_tokens and self.total_tokens == read + self.output_tokens:
            read = max(read - kept, 0)
        return Usage(
            input=read,
            cache_read=self.cache_read_input_tokens,
            cache_write=self.cache_write_input_tokens,
            output=self.output_tokens,
        )


class _MessageJson(msgspec.Struct, frozen=True):
    content: list[dict[str, Any]] = []


class _OutputJson(msgspec.Struct, frozen=True):
    message: _MessageJson = _MessageJson()


class ConverseJson(msgspec.Struct, frozen=True, rename="camel"):
    """An answer."""

    output: _OutputJson
    stop_reason: str = ""
    usage: UsageJson | None = None


class _ReasoningJson(msgspec.Struct, frozen=True, rename="camel"):
    text: str = ""
    signature: str = ""
    redacted_content: str = ""


class _InputJson(msgspec.Struct, frozen=True):
    input: str = ""


class _DeltaJson(msgspec.Struct, frozen=True, rename="camel"):
    text: str | None = None
    tool_use: _InputJson | None = None
    reasoning_content: _ReasoningJson | None = None
    citation: Any = None


class EventJson(msgspec.Struct, frozen=True, rename="camel"):
    """What an event carries; which fields it has depends on the event's type."""

    content_block_index: int = 0
    start: dict[str, Any] = {}
    delta: _DeltaJson = _DeltaJson()
    stop_reason: str = ""
    usage: UsageJson | None = None


decode_answer = msgspec.json.Decoder(ConverseJson).decode
decode_event = msgspec.json.Decoder(EventJson).decode


def _stop(said: str, *, answered: bool) -> StopReason:
    """`answered`: the tool that was called stands for the answer."""
    return "end" if answered and said == "tool_use" else _STOPS.get(said, "other")


def reply(body: bytes, answer_tool: str = "") -> tuple[ModelReply, str, bool]:
    """A whole answer, why it stopped in the API's words, and whether it says what it used.

    Raises `msgspec.DecodeError` if it is none.
    """
    said = decode_answer(body)
    content = [_part(block, answer_tool) for block in said.output.message.content]
    answered = bool(answer_tool) and not any(part["type"] == "tool_use" for part in content)
    usage = said.usage.usage() if said.usage is not None else Usage()
    made = ModelReply(content=content, stop_reason=_stop(said.stop_reason, answered=answered), usage=usage)
    return made, said.stop_reason, said.usage is not None


def _part(block: dict[str, Any], answer_tool: str = "") -> dict[str, Any]:
    """A block that came whole."""
    if "text" in block:
        return {"type": "text", "text": block["text"]}
    if called := block.get("toolUse"):
        given = called.get("input") or {}
        if answer_tool and called.get("name") == answer_tool:
            return {"type": "text", "text": msgspec.json.encode(given).decode()}
        return {"type": "tool_use", "id": called.get("toolUseId"), "name": called.get("name"), "input": given}
    if thought := block.get("reasoningContent"):
        if "redactedContent" in thought:
            return {"type": "reasoning", "text": "", "data": thought["redactedContent"]}
        said = thought.get("reasoningText") or {}
        signed = {"signature": said["signature"]} if said.get("signature") else {}
        return {"type": "reasoning", "text": said.get("text") or "", **signed}
    return own_part(block)


class BedrockStream:
    """One answer as it comes: takes events, gives deltas, and knows the reply as far as it came."""

    def __init__(self, answer_tool: str = "") -> None:
        self._answer_tool = answer_tool
        self._collector = Collector()
        self._kinds: dict[int, str] = {}
        self._secrets: dict[int, str] = {}
        self._citations: dict[int, list[Any]] = {}
        self.stopped = ""
        """Why it stopped, in the API's words; empty: it has not."""

    @property
    def counted(self) -> bool:
        """Whether the API has said what was used."""
        return self._collector.usage is not None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.stopped) and self.counted

    def take(self, name: str, event: EventJson) -> None:
        """What an event says. Raises `KeyError` if it goes on with a call of a tool that has not begun."""
        if name == "contentBlockDelta":
            self._piece(event.content_block_index, event.delta)
        elif name == "contentBlockStart":
            self._begin(event.content_block_index, event.start)
        elif name == "messageStop":
            answered = bool(self._answer_tool) and "tool_use" not in self._kinds.values()
            self.stopped = event.stop_reason or "end_turn"
            self._collector.stop_reason = _stop(self.stopped, answered=answered)
        elif name == "metadata" and event.usage is not None:
            self._collector.usage = event.usage.usage()

    def came(self) -> list[Delta]:
        """The pieces of the answer that came since this was asked last."""
        return self._collector.came()

    def reply(self) -> ModelReply:
        """The answer as far as it came."""
        return self._collector.reply()

    def _begin(self, index: int, start: dict[str, Any]) -> None:
        called = start.get("toolUse")
        if called is None:
            return
        name = called.get("name") or ""
        if self._answer_tool and name == self._answer_tool:
            self._kinds[index] = "answer"
            self._collector.begin(index, {"type": "text"})
            return
        self._kinds[index] = "tool_use"
        self._collector.add(Delta("tool_use", "", index, called.get("toolUseId") or "", name))

    def _piece(self, index: int, new: _DeltaJson) -> None:
        collector = self._collector
        if new.text is not None:
            collector.say(new.text, index)
        elif new.tool_use is not None:
            if self._kinds[index] == "answer":
                collector.say(new.tool_use.input, index)
            else:
                collector.add(Delta("tool_input", new.tool_use.input, index))
        elif new.reasoning_content is not None:
            self._thought(index, new.reasoning_content)
        elif new.citation is not None:
            cited = self._citations.setdefault(index, [])
            cited.append(new.citation)
            collector.begin(index, {"type": "text"})
            collector.mark(index, citations=cited)

    def _thought(self, index: int, new: _ReasoningJson) -> None:
        collector = self._collector
        collector.begin(index, {"type": "reasoning"})
        if new.text:
            collector.add(Delta("reasoning", new.text, index))
        if new.signature:
            collector.mark(index, signature=new.signature)
        if new.redacted_content:
            # Secret thoughts come in pieces of base64 that are whole each.
            self._secrets[index] = joined(self._secrets.get(index, ""), new.redacted_content)
            collector.mark(index, data=self._secrets[index])


def joined(one: str, two: str) -> str:
    """Two pieces of base64 as one."""
    if not one.endswith("="):
        return one + two
    return base64.b64encode(base64.b64decode(one) + base64.b64decode(two)).decode()
