"""How a reply and an error look on the wire: AgentCore's container contract, our own API, or the AWS data plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import msgspec

from corral.errors import AgentFailed, CorralError, InvalidEncoding, InvalidJson, ValidationFailed
from corral.limits.rate_headers import headers_of
from corral.limits.rates import RateExceeded
from corral.runtime.encoding import to_compact_json, to_json
from corral.server.http import JSON, PROBLEM, Header, Request


class ErrorBody(msgspec.Struct, frozen=True):
    """A complete error response."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Sequence[Header] = ()


class Dialect(Protocol):
    """What differs between the APIs that run agents."""

    def error(self, request: Request, error: BaseException) -> ErrorBody:
        """The response for an error before anything was streamed."""
        ...

    def headers(self, request: Request) -> Sequence[Header]:
        """Headers of a successful response."""
        ...

    def piece(self, number: int, text: str) -> bytes:
        """One piece of a stream; numbers start at 1."""
        ...

    def broken(self, request: Request, error: BaseException, number: int) -> bytes:
        """The last event of a stream that failed."""
        ...

    def finished(self, request: Request, number: int) -> bytes:
        """The last event of a stream that ended well; may be empty."""
        ...


def retry_headers(error: BaseException) -> list[Header]:
    """`Retry-After` where waiting helps, in whole seconds and never 0; of a limit, how it stands."""
    wait_s = getattr(error, "retry_after_s", None)
    headers: list[Header] = [] if wait_s is None else [(b"retry-after", b"%d" % max(1, math.ceil(wait_s)))]
    if isinstance(error, RateExceeded):
        headers += headers_of(error.stands)
    return headers


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; one that is not Corral's own is a 500."""
    if isinstance(error, AgentFailed):
        return error.answer_status
    return error.status if isinstance(error, CorralError) else 500


def said_outside(error: BaseException) -> str:
    """What an outsider may read of an error: nothing of what went wrong inside the house."""
    return error.message if isinstance(error, CorralError) else CorralError().message


# -- the container contract ---------------------------------------------------------------------------------------------


class ContractDialect:
    """`POST /invocations` as AgentCore's platform and clients know it, to the byte."""

    def error(self, request: Request, error: BaseException) -> ErrorBody:
        """`{"error": …}`, with `details` for a body that is no JSON."""
        del request
        content: dict[str, object]
        if isinstance(error, InvalidJson | InvalidEncoding):
            content = {"error": error.contract_title, "details": error.message}
        elif isinstance(error, AgentFailed):
            content = {"error": error.detail}
        else:
            content = {"error": said_outside(error)}
            if isinstance(error, ValidationFailed):
                content["details"] = error.errors
        return ErrorBody(status_of(error), to_compact_json(content), headers=retry_headers(error))

    def headers(self, request: Request) -> Sequence[Header]:
        """None of its own."""
        del request
        return ()

    def piece(self, number: int, text: str) -> bytes:
        """`data: <json>` and an empty line: no id, no event name."""
        del number
        return f"data: {text}\n\n".encode()

    def broken(self, request: Request, error: BaseException, number: int) -> bytes:
        """The error as one more `data:` event."""
        del request, number
        original = getattr(error, "original", None) or error
        content = {
            "error": error.said if isinstance(error, AgentFailed) else said_outside(error),
            "error_type": type(original).__name__,
            "message": "An error occurred during streaming",
        }
        return f"data: {to_json(content)}\n\n".encode()

    def finished(self, request: Request, number: int) -> bytes:
        """Nothing: the contract's streams just end."""
        del request, number
        return b""


# -- our own API ----------------------------------------------------------------------------------------------------------


def problem(request: Request, error: BaseException) -> dict[str, object]:
    """RFC 9457 problem details."""
    status = status_of(error)
    code = error.code if isinstance(error, CorralError) else CorralError.code
    content: dict[str, object] = {
        "type": f"urn:corral:problem:{code.replace('_', '-')}",
        "title": (type(error).__doc__ or "").strip() if isinstance(error, CorralError) else CorralError().message,
        "status": status,
        "detail": _detail(error),
        "code": code,
        "retryable": bool(getattr(error, "retryable", False)),
        "request_id": request.context.request_id,
    }
    if isinstance(error, CorralError) and error.errors:
        content["errors"] = error.errors
    return content


def _detail(error: BaseException) -> str:
    """The agent's own words where it has some."""
    detail = error.detail if isinstance(error, AgentFailed) else None
    return detail if isinstance(detail, str) and detail else said_outside(error)


class NativeDialect:
    """`/v1/…`: problem details, streams with ids and an explicit end."""

    def error(self, request: Request, error: BaseException) -> ErrorBody:
        """A problem document."""
        return ErrorBody(status_of(error), to_compact_json(problem(request, error)), PROBLEM, retry_headers(error))

    def headers(self, request: Request) -> Sequence[Header]:
        """Whether this answer is an earlier run's."""
        del request
        return ()

    def piece(self, number: int, text: str) -> bytes:
        """`id` and `data`."""
        return f"id: {number}\ndata: {text}\n\n".encode()

    def broken(self, request: Request, error: BaseException, number: int) -> bytes:
        """`event: error` with the problem."""
        return b"id: %d\nevent: error\ndata: %s\n\n" % (number, to_compact_json(problem(request, error)))

    def finished(self, request: Request, number: int) -> bytes:
        """`event: done`: without it the stream was cut."""
        data = msgspec.json.encode({"request_id": request.context.request_id, "pieces": number - 1})
        return b"id: %d\nevent: done\ndata: %s\n\n" % (number, data)


CONTRACT = ContractDialect()
NATIVE = NativeDialect()
