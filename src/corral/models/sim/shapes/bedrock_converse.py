"""Bedrock's Converse, and Titan's embeddings by InvokeModel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from corral.messages import Delta, Usage
from corral.models.sim.buckets import Verdict
from corral.models.sim.embedding import embedded
from corral.models.sim.refusal import Kind, Refused
from corral.models.sim.shapes import frames
from corral.models.sim.shapes.anthropic_messages import signature_of
from corral.models.sim.shapes.bedrock_asking import ConverseBody, StrictConverseBody, call_of
from corral.models.sim.shapes.shape import JSON_TYPE, Asked, Header, Question, Written, body_of, to_json
from corral.models.sim.turn import Turn

_REASONS = {"end": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tool_use": "tool_use"}
_FORMS: dict[Kind, tuple[int, str]] = {
    "invalid": (400, "ValidationException"),
    "auth": (403, "UnrecognizedClientException"),
    "forbidden": (403, "AccessDeniedException"),
    "missing": (404, "ResourceNotFoundException"),
    "too_long": (400, "ValidationException"),
    "filtered": (400, "ValidationException"),
    "rate": (429, "ThrottlingException"),
    "server": (500, "InternalServerException"),
    "overloaded": (503, "ServiceUnavailableException"),
    "timeout": (408, "ModelTimeoutException"),
}
_BY_STATUS = {424: "ModelErrorException"}
_TITAN_SIZES = {256, 512, 1024}


class BedrockConverse:
    """`POST /model/{id}/converse` and `/model/{id}/converse-stream`."""

    stream_type = b"application/vnd.amazon.eventstream"

    def __init__(self, now: Callable[[], float], *, streams: bool) -> None:
        """`now` measures how long an answer took; the two addresses are two of these."""
        self.kind = "bedrock.converse-stream" if streams else "bedrock.converse"
        self._streams = streams
        self._now = now

    def read(self, asked: Asked) -> Question:
        """What is asked, and since when."""
        body = body_of(asked, ConverseBody, StrictConverseBody)
        call = call_of(body, asked.model, stream=self._streams)
        return Question(call=call, stream=self._streams, detail=self._now())

    def whole(self, question: Question, turns: Sequence[Turn]) -> bytes:
        """The message."""
        turn = turns[0]
        return to_json(
            {
                "output": {"message": {"role": "assistant", "content": [_block(part) for part in turn.answer.parts]}},
                "stopReason": _REASONS[turn.answer.stop_reason],
                "usage": _usage(turn.usage),
                "metrics": {"latencyMs": self._took_ms(question)},
            }
        )

    def _took_ms(self, question: Question) -> int:
        return int((self._now() - question.detail) * 1000)

    def stream(self, question: Question, turns: Sequence[Turn]) -> ConverseStream:
        """Events."""
        return ConverseStream(turns[0], lambda: self._took_ms(question))

    headers = staticmethod(lambda number, verdict, retry_after_s=None: _headers(number, verdict, retry_after_s))

    def refuse(self, refused: Refused, model: str, number: str) -> Written:
        """An error as Bedrock answers it."""
        return refuse(refused, model, number)


def _headers(number: str, _verdict: Verdict, _retry_after_s: float | None) -> list[Header]:
    """The request's id. Bedrock says nothing about its limits, not even when it refuses."""
    return [
        (b"x-amzn-requestid", f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:32]}".encode())
    ]


def refuse(refused: Refused, _model: str, number: str) -> Written:
    """An error as Bedrock answers it."""
    status, name = _FORMS[refused.kind]
    status = refused.status or status
    if refused.status == 529:  # noqa: PLR2004 - a status of Anthropic's, which AWS says otherwise
        status = 503
    name = _BY_STATUS.get(status, name)
    headers = [JSON_TYPE, (b"x-amzn-errortype", name.encode()), *_headers(number, refused.verdict, None)]
    return Written(status, headers, to_json({"message": _message(refused)}))


def _message(refused: Refused) -> str:
    match refused.kind:
        case "rate":
            what = refused.verdict.kind or "requests"
            return f"Too many {what}, please wait before trying again."
        case "too_long":
            return "Input is too long for requested model."
        case "auth":
            return "The security token included in the request is invalid."
        case "missing":
            return "Could not resolve the foundation model from the provided model identifier."
        case _:
            return refused.message


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "inputTokens": usage.input,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total,
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": usage.cache_write,
    }


def _use_id(use: str) -> str:
    return "tooluse_" + use.removeprefix("call_")


def _block(part: dict[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "text":
            return {"text": part["text"]}
        case "reasoning":
            return {
                "reasoningContent": {"reasoningText": {"text": part["text"], "signature": signature_of(part["text"])}}
            }
        case _:
            return {"toolUse": {"toolUseId": _use_id(part["id"]), "name": part["name"], "input": part["input"]}}


class ConverseStream:
    """The events of one answer."""

    def __init__(self, turn: Turn, took_ms: Callable[[], int]) -> None:
        """`turn` as in `whole`."""
        self._turn = turn
        self._took_ms = took_ms
        self._open = -1
        self._kind = ""
        self._thought: list[str] = []

    def begin(self) -> bytes:
        """Who speaks."""
        return _event("messageStart", {"role": "assistant"})

    def piece(self, delta: Delta) -> bytes:
        """One piece. Blocks of text have no beginning of their own; those of tools have."""
        opened = b""
        if delta.index != self._open:
            opened = self._close()
            self._open, self._kind = delta.index, delta.kind
        match delta.kind:
            case "tool_use":
                start = {"toolUse": {"toolUseId": _use_id(delta.id), "name": delta.name}}
                return opened + _event("contentBlockStart", {"contentBlockIndex": delta.index, "start": start})
            case "text":
                inner: dict[str, Any] = {"text": delta.text}
            case "reasoning":
                self._thought.append(delta.text)
                inner = {"reasoningContent": {"text": delta.text}}
            case _:
                inner = {"toolUse": {"input": delta.text}}
        return opened + self._delta(inner)

    def _delta(self, inner: dict[str, Any]) -> bytes:
        return _event("contentBlockDelta", {"contentBlockIndex": self._open, "delta": inner})

    def _close(self) -> bytes:
        if self._open < 0:
            return b""
        signed = b""
        if self._kind == "reasoning":
            signed = self._delta({"reasoningContent": {"signature": signature_of("".join(self._thought))}})
        return signed + _event("contentBlockStop", {"contentBlockIndex": self._open})

    def end(self) -> bytes:
        """Why it ends, and the tokens."""
        stop = _event("messageStop", {"stopReason": _REASONS[self._turn.answer.stop_reason]})
        content = {"usage": _usage(self._turn.usage), "metrics": {"latencyMs": self._took_ms()}}
        return self._close() + stop + _event("metadata", content)

    def malformed(self) -> bytes:
        """A message that does not fit its checksum."""
        return frames.corrupted(_event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "broken"}}))

    def failed(self, refused: Refused) -> bytes:
        """An error that ends the stream."""
        name = _FORMS[refused.kind][1]
        return frames.exception(name[0].lower() + name[1:], to_json({"message": _message(refused)}))


def _event(name: str, content: dict[str, Any]) -> bytes:
    return frames.event(name, to_json(content))


# -- Titan ------------------------------------------------------------------------------------------------------------


class TitanBody(msgspec.Struct, kw_only=True, rename="camel"):
    """The body of InvokeModel, for an embedding."""

    input_text: str
    dimensions: int | None = None
    normalize: bool | None = None
    embedding_types: list[str] | None = None


class StrictTitanBody(TitanBody, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The same, and nothing else."""


def read_titan(asked: Asked) -> TitanBody:
    """What is to be embedded."""
    body = body_of(asked, TitanBody, StrictTitanBody)
    if not body.input_text:
        raise Refused("invalid", "400 Bad Request: expected minLength: 1, actual: 0")
    if body.dimensions is not None and body.dimensions not in _TITAN_SIZES:
        raise Refused("invalid", f"400 Bad Request: {body.dimensions} is not a valid enum value for dimensions")
    return body


def titan(body: TitanBody, turn: Turn, dimensions: int, seed: int) -> bytes:
    """The vector."""
    vector = embedded(body.input_text, body.dimensions or dimensions, seed)
    content = {
        "embedding": vector,
        "embeddingsByType": {"float": vector},
        "inputTextTokenCount": turn.usage.input_tokens,
    }
    return to_json(content)
