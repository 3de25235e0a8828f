"""What the gateway's addresses say of themselves in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.server.gateway.dialect import OPENAI
from corral.server.gateway.embeddings import DIMENSIONS_MAX
from corral.server.routes import ID_PATTERN, Answer, Handler, Param, Route

_WORD = {"type": "string", "maxLength": 256, "pattern": ID_PATTERN}
_HEADERS = (
    Param(
        "x-corral-cache",
        "header",
        "How kept answers are used for this one.",
        {"type": "string", "enum": ["use", "bypass", "refresh", "only"]},
    ),
    Param(
        "x-corral-cache-ttl-s",
        "header",
        "How long the answer is kept.",
        {"type": "string", "pattern": "^[0-9]{1,9}$"},
    ),
    Param("x-corral-cache-tags", "header", "Names under which the kept answer can be thrown away.", _WORD),
    Param("x-corral-cache-scope", "header", "Answers are shared within a scope alone.", _WORD),
    Param("x-corral-route", "header", "The router's class, instead of finding it out.", _WORD),
    Param(
        "x-corral-tags",
        "header",
        "For the bill: `team=support,product=shop`.",
        {"type": "string", "maxLength": 200, "pattern": ID_PATTERN},
    ),
    Param(
        "x-corral-priority",
        "header",
        "0 (last) to 9 (first), when calls have to wait.",
        {"type": "string", "pattern": "^[0-9]$"},
    ),
)
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
            "required": ["message", "type", "code"],
        }
    },
    "required": ["error"],
}
_FAILED = {
    400: Answer("The request is not one that can be sent to a model; `param` names the field", _ERROR),
    404: Answer("There is no such model", _ERROR),
    429: Answer("The provider allows no more for now: `Retry-After` says when to try again", _ERROR),
    502: Answer("The model did not answer", _ERROR),
    503: Answer("Its provider cannot be reached", _ERROR),
    504: Answer("It did not answer in time", _ERROR),
}
_TEXT_OR_NOT = {"type": ["string", "null"]}
_FLAG_OR_NOT = {"type": ["boolean", "null"]}
_TOOL = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "description": _TEXT_OR_NOT,
                "parameters": {"type": ["object", "null"]},
            },
            "required": ["name"],
        },
    },
    "required": ["type", "function"],
}
_SCHEMA = {
    "type": "object",
    "properties": {"name": _TEXT_OR_NOT, "schema": {"type": "object"}, "strict": _FLAG_OR_NOT},
    "required": ["schema"],
}
_FORMAT = {
    "anyOf": [
        {"type": "object", "properties": {"type": {"enum": ["text", "json_object"]}}, "required": ["type"]},
        {
            "type": "object",
            "properties": {"type": {"const": "json_schema"}, "json_schema": _SCHEMA},
            "required": ["type", "json_schema"],
        },
        {"type": "null"},
    ]
}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": required | (optional or {}), "required": list(required)}


_STRING = {"type": "string"}
_PART = {
    "anyOf": [
        _object({"type": {"const": "text"}, "text": _STRING}),
        _object({"type": {"const": "image_url"}, "image_url": {"anyOf": [_STRING, _object({"url": _STRING})]}}),
    ]
}
_CONTENT = {"anyOf": [_STRING, {"type": "array", "items": _PART}]}
_CALLED = _object(
    {"function": _object({"name": _STRING}, {"arguments": _TEXT_OR_NOT})},
    {"id": _TEXT_OR_NOT, "type": {"enum": ["function", None]}},
)
_MESSAGE = {
    "anyOf": [
        _object({"role": {"enum": ["system", "developer", "user"]}, "content": _CONTENT}),
        _object(
            {"role": {"const": "assistant"}},
            {
                "content": {"anyOf": [*_CONTENT["anyOf"], {"type": "null"}]},
                "tool_calls": {"type": ["array", "null"], "items": _CALLED},
            },
        ),
        _object({"role": {"const": "tool"}, "tool_call_id": _STRING, "content": _CONTENT}),
    ]
}
_SAID = {"anyOf": [_STRING, {"type": "array", "items": _object({"type": {"const": "input_text"}, "text": _STRING})}]}
_ITEM = {
    "anyOf": [
        _object({"role": {"enum": ["system", "developer", "user", "assistant"]}, "content": _SAID}),
        _object({"type": {"const": "function_call"}, "call_id": _STRING, "name": _STRING}, {"arguments": _TEXT_OR_NOT}),
        _object({"type": {"const": "function_call_output"}, "call_id": _STRING, "output": _SAID}),
    ]
}
_CHAT = {
    "type": "object",
    "properties": {
        "model": _TEXT_OR_NOT,
        "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
        "stream": _FLAG_OR_NOT,
        "temperature": {"type": ["number", "null"]},
        "max_tokens": {"type": ["integer", "null"], "minimum": 1},
        "tools": {"type": ["array", "null"], "items": _TOOL},
        "response_format": _FORMAT,
    },
    "required": ["messages"],
}
_RESPONSE = {
    "type": "object",
    "properties": {
        "model": _TEXT_OR_NOT,
        "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": _ITEM, "minItems": 1}]},
        "instructions": _TEXT_OR_NOT,
        "stream": _FLAG_OR_NOT,
        "max_output_tokens": {"type": ["integer", "null"], "minimum": 1},
    },
    "required": ["input"],
}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2048}
_EMBEDDINGS = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "input": {"anyOf": [{"type": "string"}, _TEXTS]},
        "encoding_format": {"enum": ["float", "base64", None]},
        "dimensions": {"type": ["integer", "null"], "minimum": 1, "maximum": DIMENSIONS_MAX},
    },
    "required": ["model", "input"],
}
_MODEL = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "object": {"const": "model"}, "owned_by": {"type": "string"}},
    "required": ["id", "object"],
}


class _Described(msgspec.Struct, frozen=True):
    summary: str
    answers: dict[int, Answer]
    body: dict[str, Any] | None = None
    params: tuple[Param, ...] = ()


_ID = Param("id", "path", "The model; a `/` is written `%2F`.", {"type": "string", "minLength": 1}, required=True)
_OBJECT = {"type": "object"}
_DESCRIPTIONS = {
    "POST /v1/chat/completions": _Described(
        "Ask a model (OpenAI's chat API)",
        {200: Answer("Its answer; with `stream`, as events", _OBJECT, streams=True), **_FAILED},
        _CHAT,
        _HEADERS,
    ),
    "POST /v1/responses": _Described(
        "Ask a model (OpenAI's responses API, without kept state)",
        {200: Answer("Its answer; with `stream`, as events", _OBJECT, streams=True), **_FAILED},
        _RESPONSE,
        _HEADERS,
    ),
    "POST /v1/embeddings": _Described(
        "Vectors for texts", {200: Answer("One for each text, in order", _OBJECT), **_FAILED}, _EMBEDDINGS, _HEADERS[:1]
    ),
    "GET /v1/models": _Described(
        "The models that can be asked",
        {200: Answer("All of them", {"type": "object", "properties": {"data": {"type": "array", "items": _MODEL}}})},
    ),
    "GET /v1/models/{id}": _Described(
        "One model", {200: Answer("It", _MODEL), 404: Answer("There is none", _ERROR)}, params=(_ID,)
    ),
}


def route(address: str, handler: Handler) -> Route:
    """The route of an address, described."""
    method, _, path = address.partition(" ")
    described = _DESCRIPTIONS[address]
    return Route(
        method=method,
        path=path,
        handler=handler,
        tag="models",
        summary=described.summary,
        params=described.params,
        body=described.body,
        answers=described.answers,
        dialect=OPENAI,
    )
