"""What the responses API answers: whole, or in events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from corral.errors import ModelFailed, ModelStreamBroken
from corral.messages import Delta, ModelReply, StopReason
from corral.models.wire.collecting import Collector, tool_use
from corral.models.wire.openai_errors import ErrorJson, said_failed
from corral.models.wire.openai_usage import UsageJson
from corral.models.wire.sse import SseEvent

Item = dict[str, Any]


class _Content(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: list[Any] | None = None
    annotations: list[Any] | None = None


class _Item(msgspec.Struct, frozen=True):
    """An item that has parts of ours: a message, a function's call, or what was thought."""

    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[_Content] | None = None
    summary: list[_Content] | None = None
    encrypted_content: str | None = None


class _Reason(msgspec.Struct, frozen=True):
    reason: str | None = None


class _Response(msgspec.Struct, frozen=True):
    id: str = ""
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    output: list[Item] | None = None
    usage: UsageJson | None = None
    error: ErrorJson | str | None = None
    incomplete_details: _Reason | None = None


class _Event(msgspec.Struct, frozen=True):
    """Any event: each kind fills some of these."""

    type: str = ""
    delta: str | None = None
    item: Item | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    response: _Response | None = None
    error: ErrorJson | str | None = None
    code: Any = None
    message: Any = None
    param: Any = None


_decode = msgspec.json.Decoder(_Response).decode
_decode_event = msgspec.json.Decoder(_Event).decode

_PIECES = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}
_STOPS: dict[str, StopReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class ResponsesAnswer:
    """A reply in the making: out of the data of events, or out of a whole response."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.collected = Collector()
        self.finished = False
        """The whole of it has come."""
        self._indexes: dict[tuple[int, int], int] = {}
        """The number of the part by those of the item and of the content in it."""
        self._summaries: dict[int, int] = {}
        """The paragraph that an item's summary has come to."""
        self._heard: set[int] = set()
        """The parts of which something was streamed."""
        self._done: set[int] = set()
        """The items that came whole."""
        self._refused = False

    @property
    def done(self) -> bool:
        """Nothing more will come."""
        return self.finished

    def whole(self, body: bytes) -> None:
        """All of it at once. Raises `ModelFailed` if this is no response, or one that failed."""
        try:
            response = _decode(body)
            self._end(response)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelFailed(f"The answer is no response: {error}") from None
        if response.output is None:
            raise ModelFailed("The answer is no response: it has no output.")

    def feed(self, events: Iterable[SseEvent]) -> None:
        """Some events. Raises `ModelStreamBroken` if one cannot be read, and what it says if it is an error."""
        for name, data in events:
            if data == b"[DONE]":  # said by some, after the last event
                continue
            try:
                event = _decode_event(data)
                self._event(event.type or name, event)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ModelStreamBroken(f"A piece of the answer cannot be read: {error}") from None
            if self.finished:
                return

    def _event(self, kind: str, event: _Event) -> None:
        if event.delta is not None:
            self._piece(kind, event, event.delta)
        elif kind == "error" or event.error is not None:
            raise said_failed(event.error or ErrorJson(message=event.message, code=event.code, param=event.param))
        elif event.item is not None:
            self._item(kind, event.output_index, event.item)
        elif event.response is not None:
            self._about(event.response)
            if kind in _ENDS:
                self._end(event.response)

    def _piece(self, kind: str, event: _Event, text: str) -> None:
        number = event.output_index
        if kind == "response.function_call_arguments.delta" and (number, 0) in self._indexes:
            self._said_more("tool_input", text, self._index(number, 0))
            return
        what = _PIECES.get(kind)
        if what is None:
            return  # of a part we have no word for: it comes whole with its item
        if what == "text":
            self._refused |= kind == "response.refusal.delta"
            self._said_more("text", text, self._index(number, event.content_index))
            return
        if event.summary_index > self._summaries.setdefault(number, 0):
            self._summaries[number] = event.summary_index
            text = f"\n\n{text}"
        self._said_more("reasoning", text, self._index(number, 0))

    def _said_more(self, kind: Literal["text", "reasoning", "tool_input"], text: str, index: int) -> None:
        self._heard.add(index)
        if kind == "text":
            self.collected.say(text, index)
        else:
            self.collected.add(Delta(kind, text, index))

    def _index(self, item: int, content: int) -> int:
        """The number of that part, which begins now if it is new."""
        found = self._indexes.get((item, content))
        if found is None:
            found = self._indexes[item, content] = len(self._indexes)
        return found

    def _item(self, kind: str, number: int, item: Item) -> None:
        """An item begins, or has come whole: then it counts as it is there, and what had not been streamed is caught up on."""
        if kind == "response.output_item.done":
            self._whole(number, item)
            return
        what = item.get("type")
        if kind != "response.output_item.added" or what == "message":
            return  # a message's parts begin with their text
        index = self._index(number, 0)
        if what == "function_call":
            begun = msgspec.convert(item, _Item)
            self.collected.add(Delta("tool_use", index=index, id=begun.call_id or "", name=begun.name or ""))
        else:
            self.collected.put(index, {"type": "reasoning", "text": ""} if what == "reasoning" else item)

    def _whole(self, number: int, item: Item) -> None:
        self._done.add(number)
        for content, part in enumerate(self._parts(item)):
            is_new = (number, content) not in self._indexes
            index = self._index(number, content)
            if index not in self._heard:
                for delta in _deltas(index, part):
                    if is_new or delta.kind != "tool_use":
                        self.collected.add(delta)
                self._heard.add(index)
            self.collected.put(index, part)

    def _parts(self, item: Item) -> list[dict[str, Any]]:
        """An item's parts in our words; one that we have no word for is a part as it is."""
        kind = item.get("type")
        if kind not in {"message", "function_call", "reasoning"}:
            return [item]
        read = msgspec.convert(item, _Item)
        if kind == "message":
            return [self._said(part) for part in read.content or ()]
        if kind == "function_call":
            return [tool_use(read.call_id or read.id or "", read.name or "", read.arguments or "")]
        return [_thought(read)]

    def _said(self, part: _Content) -> dict[str, Any]:
        if part.type == "refusal":
            self._refused = True
            return {"type": "text", "text": part.refusal or ""}
        if part.logprobs:
            self.collected.logprobs = (self.collected.logprobs or []) + part.logprobs
        said: dict[str, Any] = {"type": "text", "text": part.text or ""}
        if part.annotations:
            said["annotations"] = part.annotations
        return said

    def _about(self, response: _Response) -> None:
        collected = self.collected
        collected.id = response.id or collected.id
        collected.model = response.model or collected.model
        collected.created_at = response.created_at or collected.created_at
        if response.usage is not None:
            collected.usage = response.usage.split() or collected.usage
            collected.cost_usd = response.usage.cost

    def _end(self, response: _Response) -> None:
        """The response as it is at its end. Raises what went wrong if it failed."""
        self._about(response)
        if response.error is not None or response.status in {"failed", "cancelled"}:
            raise said_failed(
                response.error or ErrorJson(message=f"The response {response.status}.", code="server_error")
            )
        for number, item in enumerate(response.output or ()):
            if number not in self._done:
                self._whole(number, item)
        why = response.incomplete_details
        if response.status == "incomplete":
            self.collected.stop_reason = _STOPS.get((why.reason if why else None) or "", "other")
        self.finished = True

    def reply(self, provider: str = "") -> ModelReply:
        """The reply as far as it came."""
        collected = self.collected
        reply = collected.reply(provider)
        if collected.stop_reason is not None or not self.finished:
            return reply
        stop: StopReason = "refusal" if self._refused else "tool_use" if reply.tool_uses else "end"
        return msgspec.structs.replace(reply, stop_reason=stop)


def _thought(item: _Item) -> dict[str, Any]:
    """What it thought, or its summary, and the sealed whole that goes back to it."""
    text = "\n\n".join(each.text or "" for each in item.summary or item.content or ())
    part = {"type": "reasoning", "text": text}
    if item.id:
        part["id"] = item.id
    if item.encrypted_content:
        part["data"] = item.encrypted_content
    return part


def _deltas(index: int, part: dict[str, Any]) -> list[Delta]:
    """A part that was not streamed, as deltas."""
    kind = part["type"]
    if kind in {"text", "reasoning"}:
        return [Delta(kind, part["text"], index)] if part["text"] else []
    if kind != "tool_use":
        return []
    begun = Delta("tool_use", index=index, id=part["id"], name=part["name"])
    said = part.get("input_text") or (msgspec.json.encode(part["input"]).decode() if part["input"] else "")
    return [begun, Delta("tool_input", said, index)] if said else [begun]
