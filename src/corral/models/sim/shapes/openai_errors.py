"""What OpenAI's APIs have in common: their errors, and the headers about limits."""

from __future__ import annotations

import math
from typing import Any

from corral.models.sim.buckets import Verdict
from corral.models.sim.refusal import Kind, Refused
from corral.models.sim.shapes.shape import JSON_TYPE, Header, Written, seconds, to_json

_FORMS: dict[Kind, tuple[int, str, str | None]] = {
    "invalid": (400, "invalid_request_error", None),
    "auth": (401, "invalid_request_error", "invalid_api_key"),
    "forbidden": (403, "invalid_request_error", "unsupported_country_region_territory"),
    "missing": (404, "invalid_request_error", "model_not_found"),
    "too_long": (400, "invalid_request_error", "context_length_exceeded"),
    "filtered": (400, "invalid_request_error", "content_filter"),
    "rate": (429, "requests", "rate_limit_exceeded"),
    "server": (500, "server_error", None),
    "overloaded": (503, "server_error", None),
    "timeout": (504, "server_error", None),
}


def limit_headers(number: str, verdict: Verdict, retry_after_s: float | None = None) -> list[Header]:
    """The request's id, and what is left."""
    headers: list[Header] = [(b"x-request-id", b"req_" + number.encode())]
    for name, seen in ((b"requests", verdict.requests), (b"tokens", verdict.tokens)):
        if seen is not None:
            limit, left, reset_s = seen
            headers += [
                (b"x-ratelimit-limit-" + name, b"%d" % limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % max(0, left)),
                (b"x-ratelimit-reset-" + name, seconds(reset_s).encode()),
            ]
    if retry_after_s is not None:
        headers += [
            (b"retry-after", b"%d" % max(1, math.ceil(retry_after_s))),
            (b"retry-after-ms", b"%d" % math.ceil(retry_after_s * 1000)),
        ]
    return headers


def error_object(refused: Refused, model: str) -> dict[str, Any]:
    """The error's description."""
    _, kind, code = _FORMS[refused.kind]
    message = refused.message
    if refused.kind == "rate" and refused.verdict.kind:
        kind = refused.verdict.kind
    elif refused.kind == "missing" and model:
        message = f"The model `{model}` does not exist or you do not have access to it."
    elif refused.kind == "too_long":
        message = (
            f"This model's maximum context length was exceeded: {message}. Please reduce the length of the messages."
        )
    elif refused.kind == "invalid" and "unknown field" in message:
        message = f"Unrecognized request argument supplied: {refused.param}"
    elif refused.kind == "invalid" and "missing required field" in message:
        message = f"Missing required parameter: '{refused.param}'."
    return {"message": message, "type": kind, "param": refused.param or None, "code": code}


def refuse(refused: Refused, model: str, number: str) -> Written:
    """An error as OpenAI answers it."""
    status = refused.status or _FORMS[refused.kind][0]
    headers = [JSON_TYPE, *limit_headers(number, refused.verdict, refused.retry_after_s)]
    return Written(status, headers, to_json({"error": error_object(refused, model)}))
