"""How errors of memories and of the control plane look: other names than those of running agents."""

from __future__ import annotations

from corral.errors import CorralError, NotFound, ValidationFailed
from corral.runtime.encoding import to_json
from corral.server.aws import AwsDialect
from corral.server.dialects import ErrorBody, retry_headers, said_outside, status_of
from corral.server.http import JSON, Request

_NAMES = {
    400: "ValidationException",
    401: "AccessDeniedException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    413: "ValidationException",
    422: "ValidationException",
}
_THROTTLED = 429
_CONFLICT = 409


class UnknownOperation(NotFound):
    """No operation that is answered here has this address."""

    code = "unknown_operation"


class ControlDialect(AwsDialect):
    """`bedrock-agentcore-control`, and what it shares with the data plane of memories."""

    throttled = "ThrottlingException"
    failed = "InternalServerException"

    def error(self, request: Request, error: BaseException) -> ErrorBody:
        """The error's name in a header, its message in the body."""
        del request
        status = status_of(error)
        content: dict[str, object] = {"message": said_outside(error)}
        if _NAMES.get(status) == "ValidationException":
            status = 400
            faults = error.errors if isinstance(error, ValidationFailed) else []
            content["reason"] = "FieldValidationFailed" if faults else "CannotParse"
            content["fieldList"] = [
                {"name": str(fault.get("pointer", "")), "message": str(fault.get("message", ""))} for fault in faults
            ]
        headers = [(b"x-amzn-errortype", self.name_of(status, error).encode()), *retry_headers(error)]
        return ErrorBody(status, to_json(content).encode(), JSON, headers)

    def name_of(self, status: int, error: BaseException) -> str:
        """What the service calls it."""
        if isinstance(error, UnknownOperation):
            return "UnknownOperationException"
        if status == _THROTTLED:
            return self.throttled
        if status == _CONFLICT and isinstance(error, CorralError) and error.retryable:
            return "RetryableConflictException"
        return _NAMES.get(status, self.failed)


class MemoryDialect(ControlDialect):
    """The data plane of memories, and its part of the control plane."""

    throttled = "ThrottledException"
    failed = "ServiceException"


CONTROL = ControlDialect()
MEMORY = MemoryDialect()
