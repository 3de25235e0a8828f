"""Refusals of OpenAI, Azure and what speaks like them, in our words; and what they say about their limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
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
    ModelUnavailable,
)
from corral.models.provider import LimitsSeen
from corral.models.wire.retry_after import retry_after_s
from corral.settings.masking import MASK

_SHOWN_MAX = 500
_SECRET_MIN = 6

_STATUSES: dict[int, type[ModelFailed]] = {
    401: ModelAuthFailed,
    402: ModelAuthFailed,
    403: ModelAuthFailed,
    404: ModelNotFound,
    408: ModelUnavailable,
    409: ModelFailed,
    425: ModelUnavailable,
    429: ModelRateLimited,
    500: ModelFailed,
}
# What `code` or `type` says goes before the status, which several share.
_CODES: dict[str, type[ModelFailed]] = {
    "insufficient_quota": ModelAuthFailed,
    "billing_hard_limit_reached": ModelAuthFailed,
    "billing_not_active": ModelAuthFailed,
    "account_deactivated": ModelAuthFailed,
    "access_terminated": ModelAuthFailed,
    "invalid_api_key": ModelAuthFailed,
    "authentication_error": ModelAuthFailed,
    "permission_error": ModelAuthFailed,
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "ResponsibleAIPolicyViolation": ContentFiltered,
    "moderation_blocked": ContentFiltered,
    "invalid_prompt": ContentFiltered,
    "model_not_found": ModelNotFound,
    "DeploymentNotFound": ModelNotFound,
    "NotFoundError": ModelNotFound,
    "rate_limit_exceeded": ModelRateLimited,
    "rate_limit_error": ModelRateLimited,
    "server_error": ModelFailed,
    "engine_overloaded": ModelUnavailable,
    "server_overloaded": ModelUnavailable,
    "service_unavailable": ModelUnavailable,
    "invalid_request_error": ModelRequestInvalid,
    "BadRequestError": ModelRequestInvalid,
}
_GENERAL = frozenset({"invalid_request_error", "BadRequestError", "server_error", "rate_limit_error"})
"""Types that say less than a status does."""
_TOO_LONG = (
    "maximum context length",
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "input is too long",
    "reduce the length of the messages",
    "maximum model length",
)
_TAG = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_MOVED, _CLIENT_FAULT, _TOO_LARGE, _SERVER_FAULT, _GATEWAY_FAULT = 300, 400, 413, 500, 501
_EPOCH, _EPOCH_MS = 1e9, 1e12


class ErrorJson(msgspec.Struct, frozen=True):
    """An error as they write it."""

    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None
    innererror: Any = None
    details: Any = None
    metadata: Any = None


class _Body(msgspec.Struct, frozen=True):
    """Where an answer has it: under `error`, at the top (vLLM), or under `detail` (FastAPI)."""

    error: ErrorJson | str | None = None
    message: Any = None
    type: Any = None
    code: Any = None
    detail: Any = None


_decode = msgspec.json.Decoder(_Body | list[_Body]).decode


def failure(status: int, headers: Mapping[str, str], body: bytes, now: float) -> ModelFailed:
    """The error for an answer whose status is none of success. `now` is seconds since 1970."""
    if _MOVED <= status < _CLIENT_FAULT:
        return ModelNotFound(
            f"answers with a redirect (status {status}), which is not followed: set `base_url` to where it leads.",
            provider_status=status,
        )
    said = _said(body)
    wait = retry_after_s(headers, now)
    return _failed(said, status, wait if wait is not None else _asked_wait_s(said.details))


def said_failed(said: ErrorJson | str) -> ModelFailed:
    """The error for one that stands in an answer whose status was a success, or in the middle of a stream."""
    if isinstance(said, str):
        said = ErrorJson(message=said)
    return _failed(said, _status(said), _asked_wait_s(said.details))


def told(
    error: ModelFailed, *, provider: str, model: str, secrets: Sequence[str], partial: object = None
) -> ModelFailed:
    """The same error with what only the caller knows: who was asked, what had been said already; and without its secrets."""
    message = error.message
    for secret in secrets:
        if len(secret) >= _SECRET_MIN and secret in message:
            message = message.replace(secret, MASK)
    return type(error)(
        message if error.provider else f"{provider}: {message}",  # the transport's name it already
        provider=provider,
        model=model,
        provider_status=error.provider_status,
        provider_code=error.provider_code,
        retry_after_s=error.retry_after_s,
        partial=partial,
    )


def _failed(said: ErrorJson, status: int, wait_s: float | None) -> ModelFailed:
    message = said.message if isinstance(said.message, str) else ""
    if not message and said.message is not None:
        message = msgspec.json.encode(said.message).decode()
    names = [name for name in (said.code, _inner(said.innererror), said.type) if isinstance(name, str) and name]
    kind = _kind(names, status, message.lower())
    code = names[0] if names else ""
    shown = _short(message) or code or f"status {status}"
    return kind(
        shown if not status else f"{shown} (status {status})",
        provider_status=status,
        provider_code=code,
        retry_after_s=wait_s,
    )


def _kind(names: list[str], status: int, words: str) -> type[ModelFailed]:
    if status == _TOO_LARGE or "request too large" in words:
        return ContextTooLong  # also where it is said to be a rate: asking again would not make it smaller
    exact = [_CODES[name] for name in names if name in _CODES and name not in _GENERAL]
    if exact:
        return exact[0]
    kind = _STATUSES.get(status)
    if kind is None and status >= _GATEWAY_FAULT:
        kind = ModelUnavailable
    if kind is None and not status:
        kind = next((_CODES[name] for name in names if name in _CODES), ModelStreamBroken)
    if kind is None:
        kind = ModelRequestInvalid if status < _SERVER_FAULT else ModelFailed
    may_be_long = kind is ModelRequestInvalid or kind is ModelStreamBroken or status == _SERVER_FAULT
    return ContextTooLong if may_be_long and any(each in words for each in _TOO_LONG) else kind


def _inner(inner: Any) -> str:
    """Azure's: the filter that refused."""
    code = inner.get("code") if isinstance(inner, dict) else None
    return code if isinstance(code, str) else ""


def _status(said: ErrorJson) -> int:
    """OpenRouter and vLLM put a status into `code`."""
    code = said.code
    if isinstance(code, str) and code.isdecimal():
        code = int(code)
    return code if isinstance(code, int) and _CLIENT_FAULT <= code < 600 else 0  # noqa: PLR2004 - the last status there is


def _said(body: bytes) -> ErrorJson:
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ErrorJson(message=_plain(body))
    if isinstance(found, list):
        found = found[0] if found else _Body()
    if isinstance(found.error, ErrorJson):
        return found.error
    return ErrorJson(message=found.error or found.message or found.detail, type=found.type, code=found.code)


def _plain(body: bytes) -> str:
    """The words of a page that is no JSON: what a proxy in between has to say."""
    text = body[: 16 * _SHOWN_MAX].decode("utf-8", "replace")
    return _TAG.sub(" ", text) if "<" in text else text


def _short(message: str) -> str:
    words = " ".join(message.split())
    return words if len(words) <= _SHOWN_MAX else f"{words[:_SHOWN_MAX]}…"


# -- limits -----------------------------------------------------------------------------------------------------------


def _asked_wait_s(details: Any) -> float | None:
    """Gemini asks for its wait in the body."""
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("retryDelay"), str):
            return duration_s(detail["retryDelay"])
    return None


_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def duration_s(text: str) -> float | None:
    """`6m0s`, `1.5s`, `20ms` or plain seconds, in seconds; none: it is no duration."""
    total, number, unit = 0.0, "", ""
    for sign in text.strip() + "\0":
        if sign.isdecimal() or sign in ".\0":
            if unit:
                if unit not in _UNITS or not _is_number(number):
                    return None
                total, number, unit = total + float(number) * _UNITS[unit], "", ""
            number += sign if sign != "\0" else ""
        else:
            unit += sign
    if number:
        total = float(number) if total == 0 and _is_number(number) else math.inf
    return total if text.strip() and math.isfinite(total) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.count(".") <= 1 and any(sign != "." for sign in text)


_HEADERS = tuple(
    f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")
)

_TELLING = frozenset({*_HEADERS, "retry-after", "retry-after-ms"})


def limits_seen(headers: Mapping[str, str], now: float) -> LimitsSeen | None:
    """The limits that an answer tells; none: it tells nothing."""
    if _TELLING.isdisjoint(headers):
        return None
    said = [headers.get(name) for name in _HEADERS]
    wait = retry_after_s(headers, now)
    if wait is None and not any(said):
        return None
    return LimitsSeen(
        requests_limit=_count(said[0]),
        requests_left=_count(said[1]),
        requests_reset_s=_reset_s(said[2], now),
        tokens_limit=_count(said[3]),
        tokens_left=_count(said[4]),
        tokens_reset_s=_reset_s(said[5], now),
        retry_after_s=wait,
    )


def _reset_s(said: str | None, now: float) -> float | None:
    """Seconds until a limit is whole again; some tell the moment instead, in seconds or thousandths since 1970."""
    seconds = duration_s(said) if said else None
    if seconds is None or seconds < _EPOCH:
        return seconds
    return max((seconds / 1000 if seconds >= _EPOCH_MS else seconds) - now, 0.0)


def _count(said: str | None) -> int | None:
    return int(said) if said is not None and said.isascii() and said.isdecimal() else None
