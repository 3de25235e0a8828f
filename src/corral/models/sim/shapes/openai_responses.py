"""OpenAI's responses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from corral.messages import Delta, Message, ModelCall
from corral.models.sim import tokens
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes import openai_errors
from corral.models.sim.shapes.openai_asking import arguments_of, choice_of, output_of, spec_of
from corral.models.sim.shapes.shape import Asked, Question, body_of, data_url, known, to_json
from corral.models.sim.turn import Turn

_KEPT_MAX = 1_000
"""Responses that can be gone on from with `previous_response_id`."""


class ResponsesBody(msgspec.Struct, kw_only=True):
    """The body of `/v1/responses`."""

    model: str = ""
    input: str | list[dict[str, Any]] = ""
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    include: list[str] | None = None
    store: bool | None = None
    truncation: str | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    context_management: Any = None


class StrictResponsesBody(ResponsesBody, forbid_unknown_fields=True, kw_only=True):
    """The same, and nothing else."""


class OpenAiResponses:
    """`POST /v1/responses`, and what was answered there for a while."""

    kind = "openai.responses"
    stream_type = b"text/event-stream; charset=utf-8"
    headers = staticmethod(openai_errors.limit_headers)
    refuse = staticmethod(openai_errors.refuse)

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[list[Message], dict[str, Any]]] = OrderedDict()

    def read(self, asked: Asked) -> Question:
        """What is asked; after what was said before, if it goes on from there."""
        body = body_of(asked, ResponsesBody, StrictResponsesBody)
        model = body.model or asked.model
        if not model:
            raise Refused("invalid", "Missing required parameter: 'model'.", param="model")
        before: list[Message] = []
        if body.previous_response_id:
            kept = self._kept.get(body.previous_response_id)
            if kept is None:
                raise Refused(
                    "invalid",
                    f"Previous response with id '{body.previous_response_id}' not found.",
                    param="previous_response_id",
                )
            before = kept[0]
        conversation = [*before, *_messages(body.input)]
        if not conversation:
            raise Refused("invalid", "Missing required parameter: 'input'.", param="input")
        call = ModelCall(
            model=model,
            messages=[
                *([Message(role="system", content=[_text(body.instructions)])] if body.instructions else []),
                *conversation,
            ],
            tools=[
                spec_of(tool, f"tools[{n}]")
                for n, tool in enumerate(body.tools or ())
                if tool.get("type") == "function"
            ],
            tool_choice=choice_of(body.tool_choice),
            parallel_tools=body.parallel_tool_calls,
            temperature=body.temperature,
            max_tokens=body.max_output_tokens,
            output=output_of((body.text or {}).get("format")),
            reasoning=str((body.reasoning or {}).get("effort") or ""),
            stream=bool(body.stream),
        )
        return Question(call=call, stream=call.stream, detail=(body, conversation))

    def whole(self, question: Question, turns: Sequence[Turn]) -> bytes:
        """A `response`."""
        return to_json(self.keep(question, response_of(question, turns[0])))

    def stream(self, question: Question, turns: Sequence[Turn]) -> ResponseStream:
        """Events."""
        return ResponseStream(self, question, turns[0])

    def keep(self, question: Question, response: dict[str, Any]) -> dict[str, Any]:
        """Remember what was said, unless that is not wanted."""
        body, conversation = question.detail
        if body.store is not False:
            self._kept[response["id"]] = ([*conversation, *_messages(response["output"])], response)
            if len(self._kept) > _KEPT_MAX:
                self._kept.popitem(last=False)
        return response

    def find(self, response: str) -> dict[str, Any] | None:
        """A response that was kept."""
        return (self._kept.get(response) or (None, None))[1]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _messages(given: str | list[dict[str, Any]]) -> list[Message]:
    if isinstance(given, str):
        return [Message(role="user", content=[_text(given)])] if given else []
    return [message for number, item in enumerate(given) if (message := _message(item, f"input[{number}]")) is not None]


def _message(item: dict[str, Any], where: str) -> Message | None:
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            if role not in {"user", "assistant", "system", "developer"}:
                raise Refused(
                    "invalid",
                    f"Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
                    param=f"{where}.role",
                )
            content = item.get("content")
            parts = (
                [_text(content)]
                if isinstance(content, str)
                else [_part(known(one, dict, where), where) for one in known(content, list, f"{where}.content")]
            )
            return Message(role="system" if role == "developer" else role, content=parts)
        case "function_call":
            use = {
                "type": "tool_use",
                "id": known(item.get("call_id"), str, f"{where}.call_id"),
                "name": str(item.get("name")),
                "input": arguments_of(item.get("arguments")),
            }
            return Message(role="assistant", content=[use])
        case "function_call_output":
            output = item.get("output")
            inner = (
                [_text(output)]
                if isinstance(output, str)
                else [_part(known(one, dict, where), where) for one in known(output, list, f"{where}.output")]
            )
            use = {
                "type": "tool_result",
                "tool_use_id": known(item.get("call_id"), str, f"{where}.call_id"),
                "content": inner,
            }
            return Message(role="tool", content=[use])
        case "reasoning":
            summary = "".join(str(part.get("text", "")) for part in item.get("summary") or ())
            return Message(role="assistant", content=[{"type": "reasoning", "text": summary}])
        case "item_reference":
            return None
        case other:
            raise Refused("invalid", f"Invalid value: '{other}'.", param=f"{where}.type")


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text":
            return _text(known(part.get("text"), str, f"{where}.text"))
        case "refusal":
            return _text(str(part.get("refusal", "")))
        case "input_image":
            return {"type": "image", **data_url(str(part.get("image_url") or f"file:{part.get('file_id')}"))}
        case "input_file":
            return {
                "type": "file",
                "name": str(part.get("filename", "")),
                **data_url(str(part.get("file_data") or part.get("file_url") or "")),
            }
        case other:
            raise Refused(
                "invalid",
                f"Invalid value: '{other}'. Supported values are: 'input_text', 'input_image', 'output_text', 'refusal', and 'input_file'.",
                param=f"{where}.type",
            )


def items_of(turn: Turn) -> list[dict[str, Any]]:
    """The output's items, whole."""
    items = []
    for number, part in enumerate(turn.answer.parts):
        item = _item(turn, number, part)
        match part["type"]:
            case "text":
                item["content"] = [_output_text(part["text"])]
            case "reasoning":
                item["summary"] = [{"type": "summary_text", "text": part["text"]}]
            case _:
                item["arguments"] = tokens.as_json(part["input"])
        items.append(item | {"status": "completed"} if part["type"] != "reasoning" else item)
    return items


def _item(turn: Turn, number: int, part: dict[str, Any]) -> dict[str, Any]:
    """An item that is only begun."""
    end = f"{turn.number}{number:02x}"
    match part["type"]:
        case "text":
            return {"id": f"msg_{end}", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        case "reasoning":
            return {"id": f"rs_{end}", "type": "reasoning", "summary": []}
        case _:
            return {
                "id": f"fc_{end}",
                "type": "function_call",
                "status": "in_progress",
                "call_id": part["id"],
                "name": part["name"],
                "arguments": "",
            }


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def response_of(question: Question, turn: Turn, *, begun: bool = False) -> dict[str, Any]:
    """The response; `begun`: nothing has been said yet."""
    body: ResponsesBody = question.detail[0]
    cut = turn.answer.stop_reason == "length" and not begun
    usage = turn.usage
    return {
        "id": f"resp_{turn.number}",
        "object": "response",
        "created_at": turn.created,
        "status": "in_progress" if begun else "incomplete" if cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": turn.name,
        "output": [] if begun else items_of(turn),
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": (body.reasoning or {}).get("effort"), "summary": None},
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "text": body.text or {"format": {"type": "text"}},
        "tool_choice": body.tool_choice or "auto",
        "tools": body.tools or [],
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "truncation": body.truncation or "disabled",
        "usage": None
        if begun
        else {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cache_read},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.total,
        },
        "user": body.user,
        "metadata": body.metadata or {},
    }


class ResponseStream:
    """The events of one response, numbered."""

    def __init__(self, responses: OpenAiResponses, question: Question, turn: Turn) -> None:
        """`responses` keeps it at the end."""
        self._responses = responses
        self._question = question
        self._turn = turn
        self._number = 0
        self._open = -1

    def _event(self, name: str, content: dict[str, Any]) -> bytes:
        event = {"type": name, "sequence_number": self._number} | content
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json(event))

    def begin(self) -> bytes:
        """The response without its output."""
        response = {"response": response_of(self._question, self._turn, begun=True)}
        return self._event("response.created", response) + self._event("response.in_progress", response)

    def piece(self, delta: Delta) -> bytes:
        """One piece; an item is begun before it if it belongs to another one."""
        opened = b""
        if delta.index != self._open:
            opened = self._close() + self._begin(delta.index)
        at = self._at()
        match delta.kind:
            case "tool_use":
                return opened
            case "text":
                return opened + self._event(
                    "response.output_text.delta", at | {"content_index": 0, "delta": delta.text, "logprobs": []}
                )
            case "reasoning":
                return opened + self._event(
                    "response.reasoning_summary_text.delta", at | {"summary_index": 0, "delta": delta.text}
                )
            case _:
                return opened + self._event("response.function_call_arguments.delta", at | {"delta": delta.text})

    def _at(self) -> dict[str, Any]:
        return {
            "item_id": _item(self._turn, self._open, self._turn.answer.parts[self._open])["id"],
            "output_index": self._open,
        }

    def _begin(self, index: int) -> bytes:
        self._open = index
        part = self._turn.answer.parts[index]
        events = self._event(
            "response.output_item.added", {"output_index": index, "item": _item(self._turn, index, part)}
        )
        if part["type"] == "text":
            events += self._event(
                "response.content_part.added", self._at() | {"content_index": 0, "part": _output_text("")}
            )
        elif part["type"] == "reasoning":
            events += self._event(
                "response.reasoning_summary_part.added",
                self._at() | {"summary_index": 0, "part": {"type": "summary_text", "text": ""}},
            )
        return events

    def _close(self) -> bytes:
        if self._open < 0:
            return b""
        part, at = self._turn.answer.parts[self._open], self._at()
        item = items_of(self._turn)[self._open]
        match part["type"]:
            case "text":
                events = self._event(
                    "response.output_text.done", at | {"content_index": 0, "text": part["text"], "logprobs": []}
                )
                events += self._event(
                    "response.content_part.done", at | {"content_index": 0, "part": item["content"][0]}
                )
            case "reasoning":
                events = self._event(
                    "response.reasoning_summary_text.done", at | {"summary_index": 0, "text": part["text"]}
                )
                events += self._event(
                    "response.reasoning_summary_part.done", at | {"summary_index": 0, "part": item["summary"][0]}
                )
            case _:
                events = self._event(
                    "response.function_call_arguments.done", at | {"arguments": item["arguments"], "name": item["name"]}
                )
        return events + self._event("response.output_item.done", {"output_index": self._open, "item": item})

    def end(self) -> bytes:
        """The whole response."""
        response = self._responses.keep(self._question, response_of(self._question, self._turn))
        return self._close() + self._event(f"response.{response['status']}", {"response": response})

    def malformed(self) -> bytes:
        """An event that ends within a word."""
        return b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"bro\n\n'

    def failed(self, refused: Refused) -> bytes:
        """An error instead of the rest."""
        error = openai_errors.error_object(refused, self._turn.name)
        response = response_of(self._question, self._turn, begun=True) | {
            "status": "failed",
            "error": {"code": error["code"] or "server_error", "message": error["message"]},
        }
        return self._event("response.failed", {"response": response})
