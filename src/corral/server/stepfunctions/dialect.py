"""How errors look to a client of Step Functions: `{"__type": "Code", "message": …}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corral.errors import CorralError, CursorNotFound, InvalidEncoding, InvalidJson
from corral.runtime.encoding import to_json
from corral.server.dialects import ContractDialect, ErrorBody, retry_headers, said_outside, status_of
from corral.server.http import Header, Request
from corral.workflows.arns import ArnInvalid
from corral.workflows.language.fault import DefinitionInvalid, said
from corral.workflows.map_run_store import MapRunNotFound, MapRunOver
from corral.workflows.refusals import (
    ActivityNotFound,
    CatalogConflict,
    KindRefused,
    LoggingInvalid,
    NameInvalid,
    ParameterMissing,
    Referenced,
    StateMachineDeleting,
    StateMachineExists,
    StateMachineNotFound,
    TooManyTags,
)
from corral.workflows.store import (
    ExecutionExists,
    ExecutionNotFound,
    NotRedrivable,
    TaskGone,
    TaskTokenInvalid,
    TooManyExecutions,
)
from corral.workflows.testing_request import StateUntriable, TryInputInvalid

AWS_JSON = b"application/x-amz-json-1.0"
_REFUSED = 400
_BELOW_FAILED = 500
_KEEP_STATUS = frozenset({401, 403, 413, 429})


class UnknownOperation(CorralError):
    """The header X-Amz-Target names no operation of `AWSStepFunctions`."""

    status = 400
    code = "unknown_operation"


class ExecutionInputInvalid(CorralError):
    """The input of an execution is JSON."""

    status = 400
    code = "invalid_execution_input"


class OutputInvalid(CorralError):
    """The output of a task is JSON."""

    status = 400
    code = "invalid_output"


_NAMES: dict[type[CorralError], str] = {
    ArnInvalid: "InvalidArn",
    ActivityNotFound: "ActivityDoesNotExist",
    CatalogConflict: "ConflictException",
    CursorNotFound: "InvalidToken",
    DefinitionInvalid: "InvalidDefinition",
    ExecutionExists: "ExecutionAlreadyExists",
    TooManyExecutions: "ExecutionLimitExceeded",
    ExecutionInputInvalid: "InvalidExecutionInput",
    ExecutionNotFound: "ExecutionDoesNotExist",
    InvalidEncoding: "SerializationException",
    InvalidJson: "SerializationException",
    KindRefused: "StateMachineTypeNotSupported",
    LoggingInvalid: "InvalidLoggingConfiguration",
    MapRunNotFound: "ResourceNotFound",
    MapRunOver: "ValidationException",
    NameInvalid: "InvalidName",
    NotRedrivable: "ExecutionNotRedrivable",
    OutputInvalid: "InvalidOutput",
    ParameterMissing: "MissingRequiredParameter",
    Referenced: "ResourceNotFound",
    StateMachineDeleting: "StateMachineDeleting",
    StateMachineExists: "StateMachineAlreadyExists",
    StateMachineNotFound: "StateMachineDoesNotExist",
    StateUntriable: "InvalidDefinition",
    TaskGone: "TaskTimedOut",
    TaskTokenInvalid: "InvalidToken",
    TooManyTags: "TooManyTags",
    TryInputInvalid: "InvalidExecutionInput",
    UnknownOperation: "UnknownOperationException",
}
_BY_STATUS = {
    409: "ConflictException",
    401: "UnrecognizedClientException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    413: "ValidationException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_MESSAGES: dict[type[CorralError], str] = {
    CursorNotFound: "Invalid Token: 'Invalid token'",
    TaskTokenInvalid: "Invalid Token: 'Invalid token'",
    TaskGone: "Task Timed Out: 'Provided task does not exist anymore'",
}


class StepFunctionsDialect(ContractDialect):
    """The JSON protocol of Step Functions."""

    def error(self, request: Request, error: BaseException) -> ErrorBody:
        """The error's name and its message in the body. Clients look at the name; 5xx they try again."""
        del request
        status, named = status_of(error), _named(error)
        content: dict[str, Any] = {"__type": name_of(error), "message": message_of(error)}
        if named or (status < _BELOW_FAILED and status not in _KEEP_STATUS):
            status = _REFUSED
        return ErrorBody(status, to_json(content).encode(), AWS_JSON, retry_headers(error))

    def headers(self, request: Request) -> Sequence[Header]:
        """None of its own."""
        del request
        return ()


def name_of(error: BaseException) -> str:
    """What Step Functions calls it."""
    status = status_of(error)
    return _named(error) or _BY_STATUS.get(
        status, "ValidationException" if status < _BELOW_FAILED else "InternalServerError"
    )


def _named(error: BaseException) -> str:
    """The name of an error that the service has as well."""
    return next((_NAMES[kind] for kind in type(error).__mro__ if kind in _NAMES), "")


def message_of(error: BaseException) -> str:
    """What Step Functions says about it."""
    if isinstance(error, DefinitionInvalid):
        return f"Invalid State Machine Definition: '{said(error.faults)}'"
    for kind in type(error).__mro__:
        if kind in _MESSAGES:
            return _MESSAGES[kind]
    return said_outside(error)


STEP_FUNCTIONS = StepFunctionsDialect()
