"""Errors as OpenAI's clients know them, whatever went wrong and wherever."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corral.errors import CorralError, ModelFailed
from corral.limits.rate_headers import openai_headers_of
from corral.limits.rates import RateExceeded
from corral.server.dialects import ErrorBody, retry_headers, said_outside, status_of
from corral.server.http import Header, Request

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
_CODES = {
    "context_too_long": "context_length_exceeded",
    "content_filtered": "content_filter",
    "auth_error": "invalid_api_key",
    "rate_exceeded": "rate_limit_exceeded",
}


def openai_error(error: BaseException) -> dict[str, object]:
    """The object under `error`."""
    code = error.code if isinstance(error, CorralError) else CorralError.code
    found: dict[str, object] = {
        "message": said_outside(error),
        "type": _TYPES.get(status_of(error), "server_error"),
        "param": getattr(error, "param", None),
        "code": _CODES.get(code, code),
    }
    if isinstance(error, ModelFailed) and error.provider:
        found["provider"] = error.provider
    return found


class OpenAiDialect:
    """How the addresses under `/v1/chat`, `/v1/responses`, `/v1/embeddings` and `/v1/models` answer."""

    def error(self, request: Request, error: BaseException) -> ErrorBody:
        """`{"error": {"message", "type", "param", "code"}}`; a header tells clients whether to try again."""
        del request
        headers: list[Header] = retry_headers(error)
        if isinstance(error, RateExceeded):
            headers += openai_headers_of(error.stands)
        if isinstance(error, CorralError) and not error.retryable:
            headers.append((b"x-should-retry", b"false"))
        return ErrorBody(status_of(error), msgspec.json.encode({"error": openai_error(error)}), headers=headers)

    def headers(self, request: Request) -> Sequence[Header]:
        """None of its own."""
        del request
        return ()

    def piece(self, number: int, text: str) -> bytes:
        """One `data:` line."""
        del number
        return f"data: {text}\n\n".encode()

    def broken(self, request: Request, error: BaseException, number: int) -> bytes:
        """The error as the last event: OpenAI's clients raise it."""
        del request, number
        return b"data: " + msgspec.json.encode({"error": openai_error(error)}) + b"\n\n"

    def finished(self, request: Request, number: int) -> bytes:
        """The end."""
        del request, number
        return b"data: [DONE]\n\n"


OPENAI = OpenAiDialect()
