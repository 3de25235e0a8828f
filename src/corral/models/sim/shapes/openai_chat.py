"""OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corral.messages import Delta, Usage
from corral.models.sim import tokens
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes import openai_errors
from corral.models.sim.shapes.openai_asking import ChatBody, StrictChatBody, call_of
from corral.models.sim.shapes.shape import Asked, Question, body_of, to_json
from corral.models.sim.turn import Turn

_REASONS = {"end": "stop", "stop_sequence": "stop", "length": "length", "tool_use": "tool_calls"}
_CHOICES_MAX = 16


class OpenAiChat:
    """`POST /v1/chat/completions`."""

    kind = "openai.chat"
    stream_type = b"text/event-stream; charset=utf-8"
    headers = staticmethod(openai_errors.limit_headers)
    refuse = staticmethod(openai_errors.refuse)

    def read(self, asked: Asked) -> Question:
        """What is asked."""
        body = body_of(asked, ChatBody, StrictChatBody)
        call = call_of(body, asked.model)
        return Question(
            call=call, stream=call.stream, choices=min(body.n or 1, _CHOICES_MAX), detail=(body, asked.strict)
        )

    def whole(self, question: Question, turns: Sequence[Turn]) -> bytes:
        """A `chat.completion`."""
        body, strict = question.detail
        first = turns[0]
        return to_json(
            {
                "id": f"chatcmpl-{first.number}",
                "object": "chat.completion",
                "created": first.created,
                "model": first.name,
                "choices": [_choice(n, turn, body, strict=strict) for n, turn in enumerate(turns)],
                "usage": usage_of(turns),
                "service_tier": "default",
                "system_fingerprint": "fp_sim",
            }
        )

    def stream(self, question: Question, turns: Sequence[Turn]) -> ChatStream:
        """`chat.completion.chunk`s."""
        return ChatStream(question, turns)


def usage_of(turns: Sequence[Turn]) -> dict[str, Any]:
    """The tokens: the question's once, the answers' all."""
    first: Usage = turns[0].usage
    output = sum(turn.usage.output_tokens for turn in turns)
    return {
        "prompt_tokens": first.input_tokens,
        "completion_tokens": output,
        "total_tokens": first.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": first.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(turn.usage.reasoning for turn in turns),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choice(number: int, turn: Turn, body: ChatBody, *, strict: bool) -> dict[str, Any]:
    parts = turn.answer.parts
    texts = [part["text"] for part in parts if part["type"] == "text"]
    uses = [part for part in parts if part["type"] == "tool_use"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not uses else None,
        "refusal": None,
        "annotations": [],
    }
    thoughts = [part["text"] for part in parts if part["type"] == "reasoning"]
    if thoughts and not strict:  # as servers do that show it: OpenAI's own does not
        message["reasoning_content"] = "".join(thoughts)
    if uses:
        message["tool_calls"] = [
            {
                "id": use["id"],
                "type": "function",
                "function": {"name": use["name"], "arguments": tokens.as_json(use["input"])},
            }
            for use in uses
        ]
    logprobs = (
        {"content": [_logprob(delta.text) for delta in turn.answer.deltas if delta.kind == "text"], "refusal": None}
        if body.logprobs
        else None
    )
    return {
        "index": number,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": _REASONS[turn.answer.stop_reason],
    }


def _logprob(token: str) -> dict[str, Any]:
    return {"token": token, "logprob": -0.1, "bytes": list(token.encode()), "top_logprobs": []}


class ChatStream:
    """Chunks of one or several answers; the second and those after it come as a whole."""

    def __init__(self, question: Question, turns: Sequence[Turn]) -> None:
        """`turns` as in `whole`."""
        body, self._strict = question.detail
        self._body: ChatBody = body
        self._turns = turns
        first = turns[0]
        self._with_usage = bool((body.stream_options or {}).get("include_usage"))
        self._head = {
            "id": f"chatcmpl-{first.number}",
            "object": "chat.completion.chunk",
            "created": first.created,
            "model": first.name,
            "service_tier": "default",
            "system_fingerprint": "fp_sim",
        }
        self._before = b"data: " + to_json(self._head)[:-1] + b',"choices":[{"index":0,"delta":'
        self._after = (
            b',"logprobs":null,"finish_reason":null}]' + (b',"usage":null' if self._with_usage else b"") + b"}\n\n"
        )
        self._tools: dict[int, int] = {}
        """Number of the part to number of the tool."""

    def begin(self) -> bytes:
        """Who speaks."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def piece(self, delta: Delta) -> bytes:
        """One delta; thoughts are shown as servers do that show them."""
        match delta.kind:
            case "text":
                return self._chunk({"content": delta.text})
            case "reasoning":
                return b"" if self._strict else self._chunk({"reasoning_content": delta.text})
            case "tool_use":
                number = self._tools[delta.index] = len(self._tools)
                function = {"name": delta.name, "arguments": ""}
                return self._chunk(
                    {"tool_calls": [{"index": number, "id": delta.id, "type": "function", "function": function}]}
                )
            case _:
                return self._chunk(
                    {"tool_calls": [{"index": self._tools[delta.index], "function": {"arguments": delta.text}}]}
                )

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return self._before + to_json(delta) + self._after

    def end(self) -> bytes:
        """The other answers, the reasons why they end, and the usage if it was asked for."""
        usage = {"usage": None} if self._with_usage else {}
        chunks: list[dict[str, Any]] = []
        for number, turn in enumerate(self._turns):
            if number:
                choice = _choice(number, turn, self._body, strict=self._strict)
                delta = {
                    name: choice["message"][name]
                    for name in ("role", "content", "tool_calls")
                    if name in choice["message"]
                }
                for index, use in enumerate(delta.get("tool_calls", ())):
                    use["index"] = index
                chunks.append({"index": number, "delta": delta, "logprobs": None, "finish_reason": None})
            chunks.append(
                {"index": number, "delta": {}, "logprobs": None, "finish_reason": _REASONS[turn.answer.stop_reason]}
            )
        events = [self._head | {"choices": [chunk]} | usage for chunk in chunks]
        if self._with_usage:
            events.append(self._head | {"choices": [], "usage": usage_of(self._turns)})
        return b"".join(b"data: %b\n\n" % to_json(event) for event in events) + b"data: [DONE]\n\n"

    def malformed(self) -> bytes:
        """A chunk that ends within a word."""
        return self._before + b'{"content":"bro\n\n'

    def failed(self, refused: Refused) -> bytes:
        """An error among the chunks."""
        return b"data: %b\n\n" % to_json({"error": openai_errors.error_object(refused, self._turns[0].name)})
