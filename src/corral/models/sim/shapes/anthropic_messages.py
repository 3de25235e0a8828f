"""Anthropic's messages."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from corral.messages import Delta, ModelCall, Usage
from corral.models.sim.buckets import Verdict
from corral.models.sim.refusal import Kind, Refused
from corral.models.sim.shapes.anthropic_asking import (
    CountBody,
    MessagesBody,
    StrictCountBody,
    StrictMessagesBody,
    call_of,
)
from corral.models.sim.shapes.shape import JSON_TYPE, Asked, Header, Question, Written, body_of, to_json
from corral.models.sim.turn import Turn

_REASONS = {"end": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tool_use": "tool_use"}
_FORMS: dict[Kind, tuple[int, str]] = {
    "invalid": (400, "invalid_request_error"),
    "auth": (401, "authentication_error"),
    "forbidden": (403, "permission_error"),
    "missing": (404, "not_found_error"),
    "too_long": (400, "invalid_request_error"),
    "filtered": (400, "invalid_request_error"),
    "rate": (429, "rate_limit_error"),
    "server": (500, "api_error"),
    "overloaded": (529, "overloaded_error"),
    "timeout": (504, "timeout_error"),
}
_TOO_LARGE = 413


class AnthropicMessages:
    """`POST /v1/messages`."""

    kind = "anthropic.messages"
    stream_type = b"text/event-stream; charset=utf-8"

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: seconds since 1970, for the times in headers."""
        self._now = now

    def read(self, asked: Asked) -> Question:
        """What is asked."""
        _check_version(asked)
        body = body_of(asked, MessagesBody, StrictMessagesBody)
        call = call_of(body)
        return Question(call=call, stream=call.stream, detail=body)

    def counted(self, asked: Asked) -> ModelCall:
        """What is only to be counted."""
        _check_version(asked)
        return call_of(body_of(asked, CountBody, StrictCountBody))

    def whole(self, _question: Question, turns: Sequence[Turn]) -> bytes:
        """A `message`."""
        turn = turns[0]
        return to_json(
            _message(turn)
            | {
                "content": [_block(part) for part in turn.answer.parts],
                "stop_reason": _REASONS[turn.answer.stop_reason],
                "stop_sequence": turn.answer.stop_sequence or None,
                "usage": _usage(turn.usage),
            }
        )

    def stream(self, _question: Question, turns: Sequence[Turn]) -> MessageStream:
        """Events."""
        return MessageStream(turns[0])

    def headers(self, number: str, verdict: Verdict, retry_after_s: float | None = None) -> list[Header]:
        """The request's id, and what is left; times are given as dates."""
        headers: list[Header] = [(b"request-id", b"req_" + number[:24].encode())]
        for name, seen in (
            (b"requests", verdict.requests),
            (b"tokens", verdict.tokens),
            (b"input-tokens", verdict.tokens),
        ):
            if seen is not None:
                limit, left, reset_s = seen
                moment = datetime.fromtimestamp(self._now(), UTC) + timedelta(seconds=math.ceil(reset_s))
                headers += [
                    (b"anthropic-ratelimit-%b-limit" % name, b"%d" % limit),
                    (b"anthropic-ratelimit-%b-remaining" % name, b"%d" % max(0, left)),
                    (b"anthropic-ratelimit-%b-reset" % name, moment.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
                ]
        if retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(retry_after_s))))
        return headers

    def refuse(self, refused: Refused, model: str, number: str) -> Written:
        """An error as Anthropic answers it."""
        status = refused.status or _FORMS[refused.kind][0]
        body = error_object(refused, model) | {"request_id": f"req_{number[:24]}"}
        return Written(
            status, [JSON_TYPE, *self.headers(number, refused.verdict, refused.retry_after_s)], to_json(body)
        )


def _check_version(asked: Asked) -> None:
    if asked.strict and not asked.header(b"anthropic-version"):
        raise Refused("invalid", "anthropic-version: header is required")


def error_object(refused: Refused, model: str) -> dict[str, Any]:
    """The error's description."""
    kind, message = _FORMS[refused.kind][1], refused.message
    if refused.status == _TOO_LARGE:
        kind = "request_too_large"
    elif refused.kind == "missing":
        message = f"model: {model}"
    elif refused.kind == "auth":
        message = "invalid x-api-key"
    elif refused.kind == "too_long":
        message = f"prompt is too long: {message}"
    elif refused.kind == "filtered":
        message = "Output blocked by content filtering policy"
    elif refused.kind == "overloaded":
        message = "Overloaded"
    elif refused.kind == "invalid" and "unknown field" in message:
        message = f"{refused.param}: Extra inputs are not permitted"
    elif refused.kind == "invalid" and "missing required field" in message:
        message = f"{refused.param}: Field required"
    return {"type": "error", "error": {"type": kind, "message": message}}


def _message(turn: Turn) -> dict[str, Any]:
    return {"id": f"msg_{turn.number[:24]}", "type": "message", "role": "assistant", "model": turn.name}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
    }


def _use_id(use: str) -> str:
    return "toolu_" + use.removeprefix("call_")


def signature_of(text: str) -> str:
    """What a thought is signed with, so that it can be sent back."""
    return hashlib.blake2b(text.encode(), digest_size=24).hexdigest()


def _block(part: dict[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"], "citations": None}
        case "reasoning":
            return {"type": "thinking", "thinking": part["text"], "signature": signature_of(part["text"])}
        case _:
            return {"type": "tool_use", "id": _use_id(part["id"]), "name": part["name"], "input": part["input"]}


class MessageStream:
    """The events of one message."""

    def __init__(self, turn: Turn) -> None:
        """`turn` as in `whole`."""
        self._turn = turn
        self._open = -1
        """Number of the block that is open."""
        self._kind = ""
        self._thought: list[str] = []

    def begin(self) -> bytes:
        """The message without its content, and a ping."""
        usage = _usage(self._turn.usage) | {"output_tokens": 1}
        message = _message(self._turn) | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return _event("message_start", {"message": message}) + _event("ping", {})

    def piece(self, delta: Delta) -> bytes:
        """One piece; a new block is begun before it if it belongs to another one."""
        opened = b""
        if delta.index != self._open:
            opened = self._close() + self._begin(delta)
        match delta.kind:
            case "tool_use":
                return opened
            case "text":
                inner = {"type": "text_delta", "text": delta.text}
            case "reasoning":
                self._thought.append(delta.text)
                inner = {"type": "thinking_delta", "thinking": delta.text}
            case _:
                inner = {"type": "input_json_delta", "partial_json": delta.text}
        return opened + _event("content_block_delta", {"index": delta.index, "delta": inner})

    def _begin(self, delta: Delta) -> bytes:
        self._open, self._kind = delta.index, delta.kind
        if delta.kind == "text":
            block: dict[str, Any] = {"type": "text", "text": ""}
        elif delta.kind == "reasoning":
            block = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            block = {"type": "tool_use", "id": _use_id(delta.id), "name": delta.name, "input": {}}
        return _event("content_block_start", {"index": delta.index, "content_block": block})

    def _close(self) -> bytes:
        if self._open < 0:
            return b""
        signed = b""
        if self._kind == "reasoning":
            inner = {"type": "signature_delta", "signature": signature_of("".join(self._thought))}
            signed = _event("content_block_delta", {"index": self._open, "delta": inner})
        return signed + _event("content_block_stop", {"index": self._open})

    def end(self) -> bytes:
        """Why it ends, and the tokens."""
        answer = self._turn.answer
        delta = {"stop_reason": _REASONS[answer.stop_reason], "stop_sequence": answer.stop_sequence or None}
        usage = _usage(self._turn.usage)
        shown = {
            name: usage[name]
            for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
        }
        return self._close() + _event("message_delta", {"delta": delta, "usage": shown}) + _event("message_stop", {})

    def malformed(self) -> bytes:
        """An event that ends within a word."""
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"te\n\n'

    def failed(self, refused: Refused) -> bytes:
        """An error among the events."""
        return b"event: error\ndata: %b\n\n" % to_json(error_object(refused, self._turn.name))


def _event(name: str, content: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json({"type": name} | content))
