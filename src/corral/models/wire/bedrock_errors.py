"""Bedrock's refusals in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from corral.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelTimeout,
    ModelUnavailable,
)
from corral.models.wire.retry_after import retry_after_s

_SHOWN_MAX = 500

_KINDS: dict[str, type[ModelFailed]] = {
    "throttlingexception": ModelRateLimited,
    "toomanyrequestsexception": ModelRateLimited,
    "servicequotaexceededexception": ModelRateLimited,
    "modelnotreadyexception": ModelUnavailable,
    "serviceunavailableexception": ModelUnavailable,
    "internalserverexception": ModelUnavailable,
    "internalfailure": ModelUnavailable,
    "modeltimeoutexception": ModelTimeout,
    "modelerrorexception": ModelFailed,
    "modelstreamerrorexception": ModelStreamBroken,
    "validationexception": ModelRequestInvalid,
    "serializationexception": ModelRequestInvalid,
    "resourcenotfoundexception": ModelNotFound,
    "accessdeniedexception": ModelAuthFailed,
    "unrecognizedclientexception": ModelAuthFailed,
    "expiredtokenexception": ModelAuthFailed,
    "invalidsignatureexception": ModelAuthFailed,
    "incompletesignatureexception": ModelAuthFailed,
    "missingauthenticationtokenexception": ModelAuthFailed,
    "missingauthenticationtoken": ModelAuthFailed,
}
_STATUSES: dict[int, type[ModelFailed]] = {
    401: ModelAuthFailed,
    403: ModelAuthFailed,
    404: ModelNotFound,
    408: ModelTimeout,
    413: ContextTooLong,
    424: ModelFailed,
    429: ModelRateLimited,
    504: ModelTimeout,
}
_TOO_LONG = (
    "too long",
    "too many input tokens",
    "input tokens exceed",
    "maximum context length",
    "context window",
    "exceed context limit",
    "expected maxlength",
)
_FILTERED = ("content filter", "content policy", "blocked by")
_UNKNOWN = ("model identifier is invalid", "model id is invalid", "model identifier you provided")
_CLIENT_FAULT, _SERVER_FAULT = 400, 500


def failure(provider: str, model: str, status: int, body: bytes, headers: Mapping[str, str], now: float) -> ModelFailed:
    """The error for an answer that is none. `now` is seconds since 1970."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = {"message": body[:_SHOWN_MAX].decode("utf-8", "replace").strip()}
    # `ThrottlingException:http://…` in a header, or `com.amazonaws…#ThrottlingException` in the body.
    named = str(headers.get("x-amzn-errortype") or said.get("__type") or said.get("code") or "")
    code = named.partition(":")[0].rpartition("#")[2]
    wait = retry_after_s(headers, now)
    return failed(provider, model, code, _words(said), status=status, wait_s=wait)


def _words(said: Mapping[str, Any]) -> str:
    return str(
        said.get("message") or said.get("Message") or said.get("errorMessage") or said.get("originalMessage") or ""
    )


def failed(
    provider: str, model: str, code: str, words: str, *, status: int = 0, wait_s: float | None = None
) -> ModelFailed:
    """The error that the API names so, in an answer of its own or in the middle of a stream (status 0)."""
    kind = _KINDS.get(code.lower()) or _STATUSES.get(status)
    if kind is None:
        kind = ModelRequestInvalid if _CLIENT_FAULT <= status < _SERVER_FAULT else ModelUnavailable
    if kind is ModelRequestInvalid:
        kind = _exactly(words.lower())
    return kind(
        f"{provider}: {words[:_SHOWN_MAX] or code or f'status {status}'}",
        provider=provider,
        model=model,
        provider_status=status,
        provider_code=code,
        retry_after_s=wait_s,
    )


def stream_failure(provider: str, model: str, code: str, payload: bytes) -> ModelFailed:
    """The error in the middle of a stream."""
    try:
        words = _words(msgspec.json.decode(payload, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = payload[:_SHOWN_MAX].decode("utf-8", "replace")
    return failed(provider, model, code, words)


def _exactly(words: str) -> type[ModelFailed]:
    """What the API has one name for, told apart by its words."""
    if any(each in words for each in _TOO_LONG):
        return ContextTooLong
    if any(each in words for each in _FILTERED):
        return ContentFiltered
    if any(each in words for each in _UNKNOWN):
        return ModelNotFound
    return ModelRequestInvalid
