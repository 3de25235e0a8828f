"""Answers of foreign addresses as results of tools: JSON as a value, text as text, what went wrong as a fault with its cause."""

from __future__ import annotations

import msgspec

from corral.errors import OutboundFailed, OutboundRefused
from corral.outbound.client import Answer
from corral.tools.failing import ToolFailed
from corral.tools.results import ToolOutput

_SAID_MAX = 2_000
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CODES = {
    400: "invalid_input",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    409: "conflict",
    410: "not_found",
    413: "invalid_input",
    422: "invalid_input",
    429: "rate_limited",
}
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_ERRORS_FROM = 300
_SERVERS_FROM = 500
_NO_CONTENT = 204


def output_of_answer(answer: Answer) -> ToolOutput:
    """The result. Raises `ToolFailed` for one that is not 2xx."""
    if answer.status >= _ERRORS_FROM:
        raise _fault(answer)
    if answer.status == _NO_CONTENT or not answer.body:
        return ToolOutput(content=[{"type": "text", "text": f"Done ({answer.status})."}])
    kind = media_type(answer)
    if is_json(kind) and answer.complete:
        try:
            return ToolOutput(value=msgspec.json.decode(answer.body))
        except (msgspec.DecodeError, UnicodeError):
            return ToolOutput(content=_as_text(answer), value=None)
    if is_json(kind) or is_text(kind):
        return ToolOutput(content=_as_text(answer))
    text = f"[{len(answer.body)} bytes of {kind or 'no said type'}: not text]"
    return ToolOutput(content=[{"type": "text", "text": text}])


def unreachable(name: str, error: OutboundFailed | OutboundRefused) -> ToolFailed:
    """No answer at all."""
    refused = isinstance(error, OutboundRefused)
    return ToolFailed(f"{name}: {error.message}", code="denied" if refused else "unavailable", retryable=not refused)


def media_type(answer: Answer) -> str:
    """`text/html`."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Also `application/problem+json`."""
    return kind == "application/json" or kind.endswith("+json")


def is_text(kind: str) -> bool:
    """What people can read; without a type it may be."""
    return not kind or kind.startswith("text/") or kind.endswith(("/xml", "+xml", "javascript", "/yaml", "x-yaml"))


def text_of(answer: Answer) -> str:
    """The body, as its own words say it is written."""
    charset = answer.headers.get("content-type", "").lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    try:
        return answer.body.decode(charset or "utf-8", "replace")
    except LookupError:
        return answer.body.decode("utf-8", "replace")


def redirected(answer: Answer) -> str:
    """Where it points instead; empty: nowhere else."""
    return answer.headers.get("location", "") if answer.status in _REDIRECTS else ""


def _as_text(answer: Answer) -> list[dict[str, str]]:
    text = text_of(answer)
    if not answer.complete:
        text += f"\n\n[Only the first {len(answer.body)} bytes were read.]"
    return [{"type": "text", "text": text}]


def _fault(answer: Answer) -> ToolFailed:
    status = answer.status
    if where := redirected(answer):
        return ToolFailed(
            f"It answers {status} and points to {where[:_SAID_MAX]}, which is not followed.", code="failed"
        )
    said = text_of(answer).strip()[:_SAID_MAX]
    code = _CODES.get(status, "unavailable" if status >= _SERVERS_FROM else "failed")
    after = answer.headers.get("retry-after", "")
    return ToolFailed(
        f"It answers {status}: {said}" if said else f"It answers {status}, and says no more.",
        code=code,
        retryable=status in _PASSING,
        retry_after_s=float(after) if after.isdigit() and len(after) < 6 else None,  # noqa: PLR2004 - up to a day
    )
