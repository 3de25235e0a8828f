"""How a state fails: the error names of the language, and what a state raises."""

from __future__ import annotations

ALL = "States.ALL"
TIMEOUT = "States.Timeout"
HEARTBEAT_TIMEOUT = "States.HeartbeatTimeout"
TASK_FAILED = "States.TaskFailed"
PERMISSIONS = "States.Permissions"
RUNTIME = "States.Runtime"
QUERY_EVALUATION = "States.QueryEvaluationError"
DATA_LIMIT = "States.DataLimitExceeded"
NO_CHOICE = "States.NoChoiceMatched"
INTRINSIC = "States.IntrinsicFailure"
PARAMETER_PATH = "States.ParameterPathFailure"
RESULT_PATH = "States.ResultPathMatchFailure"
BRANCH_FAILED = "States.BranchFailed"
TOLERANCE = "States.ExceedToleratedFailureThreshold"
ITEM_READER = "States.ItemReaderFailed"
RESULT_WRITER = "States.ResultWriterFailed"

DATA_MAX_BYTES = 262_144
"""Of an input, an output or a result, as UTF-8."""


class StateFailed(Exception):
    """A state failed: `error` is the name that Retry and Catch look for, `cause` is for people.

    `prefixed`: the cause is told with the state's name and event before it ("An error occurred while executing …").
    `evaluation`: an expression could not be evaluated; the history says so in an event of its own, with the field's
    `location` where it is known.
    """

    def __init__(
        self,
        error: str,
        cause: str | None = None,
        *,
        prefixed: bool = False,
        evaluation: bool = False,
        location: str | None = None,
        catchable: bool = True,
        retryable: bool = True,
        also: tuple[str, ...] = (),
    ) -> None:
        """Say what failed; an empty `error` is one that nobody named."""
        self.error = error
        self.cause = cause
        self.prefixed = prefixed
        self.evaluation = evaluation
        self.location = location
        self.catchable = catchable
        """False: neither Retry nor Catch may look at it."""
        self.retryable = retryable
        """False: trying again is of no use."""
        self.also = also
        """Other names by which Retry and Catch know it."""
        super().__init__(f"{error}: {cause}" if cause else error)
