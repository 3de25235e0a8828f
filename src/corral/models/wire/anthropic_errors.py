"""Anthropic's refusals in our words, and what it says about its limits."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from corral.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelTimeout,
    ModelUnavailable,
)
from corral.models.provider import LimitsSeen
from corral.models.wire.anthropic_reply import ErrorJson
from corral.models.wire.retry_after import retry_after_s, until_s

_SHOWN_MAX = 500

_KINDS: dict[str, type[ModelFailed]] = {
    "rate_limit_error": ModelRateLimited,
    "overloaded_error": ModelUnavailable,
    "api_error": ModelUnavailable,
    "timeout_error": ModelTimeout,
    "authentication_error": ModelAuthFailed,
    "permission_error": ModelAuthFailed,
    "billing_error": ModelAuthFailed,
    "not_found_error": ModelNotFound,
    "request_too_large": ContextTooLong,
    "invalid_request_error": ModelRequestInvalid,
    "conflict_error": ModelFailed,
}
_STATUSES: dict[int, type[ModelFailed]] = {
    401: ModelAuthFailed,
    402: ModelAuthFailed,
    403: ModelAuthFailed,
    404: ModelNotFound,
    408: ModelTimeout,
    409: ModelFailed,
    413: ContextTooLong,
    429: ModelRateLimited,
    504: ModelTimeout,
}
_TOO_LONG = ("prompt is too long", "exceed context limit", "context window", "too many total text bytes")
_FILTERED = ("content filtering policy", "content policy", "usage policy")
_UNPAID = ("credit balance", "billing")
_CLIENT_FAULT, _TOO_MANY, _SERVER_FAULT = 400, 429, 500


class _Body(msgspec.Struct, frozen=True):
    error: ErrorJson


_decode = msgspec.json.Decoder(_Body).decode


def failure(provider: str, model: str, status: int, body: bytes, headers: Mapping[str, str], now: float) -> ModelFailed:
    """The error for an answer that is none. `now` is seconds since 1970."""
    try:
        said = _decode(body).error
    except msgspec.DecodeError:
        said = ErrorJson(message=body[:_SHOWN_MAX].decode("utf-8", "replace").strip())
    wait = retry_after_s(headers, now)
    return failed(provider, model, said, status=status, wait_s=wait)


def failed(provider: str, model: str, said: ErrorJson, *, status: int = 0, wait_s: float | None = None) -> ModelFailed:
    """The error for what the API says, in an answer of its own or in the middle of a stream (status 0)."""
    kind = _KINDS.get(said.type) or _STATUSES.get(status)
    if kind is None:
        kind = ModelRequestInvalid if _CLIENT_FAULT <= status < _SERVER_FAULT else ModelUnavailable
    if status == _TOO_MANY and kind is ModelUnavailable:  # proxies put a type of their own beside the status
        kind = ModelRateLimited
    if kind is ModelRequestInvalid:
        kind = _exactly(said.message.lower())
    return kind(
        f"{provider}: {said.message[:_SHOWN_MAX] or said.type or f'status {status}'}",
        provider=provider,
        model=model,
        provider_status=status,
        provider_code=said.type,
        retry_after_s=wait_s,
    )


def _exactly(words: str) -> type[ModelFailed]:
    """What the API has one code for, told apart by its words."""
    if any(each in words for each in _TOO_LONG):
        return ContextTooLong
    if any(each in words for each in _FILTERED):
        return ContentFiltered
    if any(each in words for each in _UNPAID):
        return ModelAuthFailed
    return ModelRequestInvalid


def limits_seen(headers: Mapping[str, str], now: float) -> LimitsSeen | None:
    """The limits that an answer tells; none: it tells nothing. `tokens` is whichever of the API's limits is nearest."""
    prefix = "anthropic-ratelimit-"
    wait = retry_after_s(headers, now)
    tokens = f"{prefix}tokens" if f"{prefix}tokens-limit" in headers else f"{prefix}input-tokens"
    requests = f"{prefix}requests"
    seen = LimitsSeen(
        requests_limit=_count(headers.get(f"{requests}-limit")),
        requests_left=_count(headers.get(f"{requests}-remaining")),
        requests_reset_s=until_s(headers.get(f"{requests}-reset"), now),
        tokens_limit=_count(headers.get(f"{tokens}-limit")),
        tokens_left=_count(headers.get(f"{tokens}-remaining")),
        tokens_reset_s=until_s(headers.get(f"{tokens}-reset"), now),
        retry_after_s=wait,
    )
    return None if seen == _NOTHING else seen


_NOTHING = LimitsSeen()


def _count(said: str | None) -> int | None:
    return int(said) if said is not None and said.isdecimal() else None
