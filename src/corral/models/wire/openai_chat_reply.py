"""What the chat completions API answers: whole, or in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from corral.errors import ModelFailed, ModelStreamBroken
from corral.messages import Delta, ModelReply, StopReason
from corral.models.wire.collecting import Collector
from corral.models.wire.openai_errors import ErrorJson, said_failed
from corral.models.wire.openai_usage import UsageJson
from corral.models.wire.sse import SseEvent

_STOPS: dict[str, StopReason] = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filter",
}


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct, frozen=True):
    """A message, or a piece of one."""

    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int | None = None
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM: the word it stopped at (a text), or the token (a number)."""
    logprobs: Any = None
    error: ErrorJson | str | None = None


class _Answer(msgspec.Struct, frozen=True):
    """A completion, or a chunk of one."""

    id: str | int | None = None
    model: str | None = None
    created: float | None = None
    choices: Sequence[_Choice] | None = None
    usage: UsageJson | None = None
    error: ErrorJson | str | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_NOTHING = _Said()


class ChatAnswer:
    """A reply in the making: out of the data of events, or out of a whole completion."""

    finished = False
    """It said why it stopped, or that it is done: what may still come is its usage."""
    done = False
    """Nothing more will come."""
    _named = False
    _text: int | None = None
    _reasoning: int | None = None
    _refused = False

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.collected = Collector()
        self._calls: dict[int, _Call] = {}

    def whole(self, body: bytes) -> None:
        """All of it at once. Raises `ModelFailed` if this is no completion, or one that says that it failed."""
        try:
            answer = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelFailed(f"The answer is no chat completion: {error}") from None
        self._take(answer)
        if not answer.choices:
            raise ModelFailed("The answer is no chat completion: it has no choices.")

    def feed(self, events: Iterable[SseEvent]) -> None:
        """Some events. Raises `ModelStreamBroken` if one cannot be read, and what it says if it is an error."""
        for _, data in events:
            if data == b"[DONE]":
                self.finished = self.done = True
                return
            try:
                answer = _decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ModelStreamBroken(f"A piece of the answer cannot be read: {error}") from None
            self._take(answer)

    def _take(self, answer: _Answer) -> None:
        """One chunk, or a whole completion."""
        if answer.error is not None:
            raise said_failed(answer.error)
        if not self._named:
            self._name(answer)
        if answer.usage is not None:
            # Some tell it in every chunk, as it grows: the last one counts.
            self.collected.usage = answer.usage.split() or self.collected.usage
            self.collected.cost_usd = answer.usage.cost
        for choice in answer.choices or ():
            if not choice.index:
                self._choice(choice)

    def _name(self, answer: _Answer) -> None:
        """Some leave one or the other out of the first chunks."""
        collected = self.collected
        collected.id = collected.id or str(answer.id or "")
        collected.model = collected.model or answer.model or ""
        collected.created_at = collected.created_at or answer.created or 0.0
        self._named = bool(collected.id and collected.model and collected.created_at)

    def _choice(self, choice: _Choice) -> None:
        if choice.error is not None:
            raise said_failed(choice.error)
        said = choice.delta or choice.message or _NOTHING
        if said.reasoning_content or said.reasoning:
            self._reason(said)
        content = said.content
        if content:
            if isinstance(content, str):
                self._say(content)
            else:
                self._say_all(content)
        if said.refusal:
            self._refused = True
            self._say(said.refusal)
        if said.tool_calls:
            for call in said.tool_calls:
                self._call(call)
        if choice.logprobs is not None:
            self.collected.logprobs = _joined(self.collected.logprobs, choice.logprobs)
        if choice.finish_reason:
            self._end(choice, choice.finish_reason)

    def _end(self, choice: _Choice, reason: str) -> None:
        self.finished = True
        stop = _STOPS.get(reason, "other")
        if stop == "end" and isinstance(choice.stop_reason, str):
            stop = "stop_sequence"
        self.collected.stop_reason = stop

    def _say(self, text: str) -> None:
        if self._text is None:
            self._text = self.collected.next_index
        self.collected.say(text, self._text)

    def _reason(self, said: _Said) -> None:
        if said.reasoning_content:
            self._think(said.reasoning_content, "reasoning_content")
        elif said.reasoning:
            self._think(said.reasoning, "reasoning")

    def _think(self, text: str, field: str) -> None:
        begins = self._reasoning is None
        index = self.collected.next_index if self._reasoning is None else self._reasoning
        self.collected.add(Delta("reasoning", text, index))
        if begins:
            self._reasoning = index
            if field:
                self.collected.mark(index, field=field)

    def _say_all(self, content: list[dict[str, Any]]) -> None:
        """A list where it thinks as well (Mistral)."""
        for part in content:
            if isinstance(part.get("text"), str):
                self._say(part["text"])
            elif isinstance(part.get("thinking"), list):
                text = "".join(str(each.get("text", "")) for each in part["thinking"] if isinstance(each, dict))
                self._think(text, "")

    def _call(self, call: _ToolCall) -> None:
        """A tool's call, or more of one."""
        function = call.function or _Function()
        begun = self._calls.setdefault(self._number(call, function), _Call())
        begun.id = begun.id or call.id or ""
        begun.name = begun.name or function.name or ""
        written = function.arguments or ""
        begun.waiting += written if isinstance(written, str) else msgspec.json.encode(written).decode()
        if begun.name:
            self._announce(begun)

    def _number(self, call: _ToolCall, function: _Function) -> int:
        """Which call this is of: its index says it. Where there is none, or it is used twice, its id does, or its name."""
        last = max(self._calls, default=-1)
        if call.index is None:
            known = next((number for number, each in self._calls.items() if call.id and each.id == call.id), None)
            if known is not None:
                return known
            begins = call.id or (function.name and last >= 0 and self._calls[last].name)
            return last + 1 if begins or last < 0 else last
        begun = self._calls.get(call.index)
        if begun is None or not call.id or not begun.id or call.id == begun.id:
            return call.index
        return next((number for number, each in self._calls.items() if each.id == call.id), last + 1)

    def _announce(self, call: _Call) -> None:
        if call.index is None:
            call.index = self.collected.next_index
            # Some give no ids: the reply's own makes one that comes only once in a conversation.
            call.id = call.id or f"{self.collected.id or 'call'}-{call.index}"
            self.collected.add(Delta("tool_use", index=call.index, id=call.id, name=call.name))
        if call.waiting:
            self.collected.add(Delta("tool_input", call.waiting, call.index))
            call.waiting = ""

    def reply(self, provider: str = "") -> ModelReply:
        """The reply as far as it came."""
        collected = self.collected
        if self._refused and collected.stop_reason in {"end", None}:
            collected.stop_reason = "refusal"
        elif self._calls and collected.stop_reason == "end":
            collected.stop_reason = "tool_use"
        return collected.reply(provider)


class _Call:
    """A tool's call in the making."""

    __slots__ = ("id", "index", "name", "waiting")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.index: int | None = None
        """The number of its part; none: it has no name yet."""
        self.waiting = ""
        """Arguments that came before the name."""


def _joined(before: Any, more: Any) -> Any:
    """Log probabilities of two chunks, one after the other."""
    if not isinstance(before, dict) or not isinstance(more, dict):
        return more
    joined = dict(before)
    for key, value in more.items():
        old = before.get(key)
        joined[key] = old + value if isinstance(old, list) and isinstance(value, list) else value
    return joined
