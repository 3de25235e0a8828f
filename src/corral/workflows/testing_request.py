"""What somebody wants to know of a state, and what is wrong with the question. Messages are worded as Step Functions words them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from corral.errors import BadRequest, ValidationFailed
from corral.workflows.language.definition import Map, Parallel, State, Task

Level = Literal["INFO", "DEBUG", "TRACE"]
ValidationMode = Literal["STRICT", "PRESENT", "NONE"]


_WAITING = (".sync", ".sync:2", ".waitForTaskToken")
"""Resources whose end comes from elsewhere."""


class TryInputInvalid(BadRequest):
    """The input of a state is JSON."""

    code = "invalid_execution_input"


class StateUntriable(BadRequest):
    """A state that goes on elsewhere is tried with a mock alone."""

    code = "state_untriable"


class MockError(msgspec.Struct, frozen=True, kw_only=True):
    """How a mocked task fails."""

    error: str = ""
    cause: str = ""


class Mock(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a state is told instead of running."""

    result: str | None = None
    """JSON."""
    error_output: MockError | None = None
    field_validation_mode: ValidationMode = "STRICT"


class Configuration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far the state has come before it is tried."""

    retrier_retry_count: int = 0
    error_caused_by_state: str | None = None
    map_iteration_failure_count: int = 0
    map_item_reader_data: str | None = None
    """JSON: what `ItemReader` would have read."""


class TryRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A state to be tried. The members are those of TestState."""

    definition: str
    role_arn: str | None = None
    input: str = "{}"
    inspection_level: Level = "INFO"
    reveal_secrets: bool = False
    variables: str | None = None
    state_name: str | None = None
    mock: Mock | None = None
    context: str | None = None
    state_configuration: Configuration = Configuration()


def json_of(text: str, refused: type[BadRequest], message: str) -> Any:
    """A member that is JSON. Raises `refused`."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise refused(f"{message}: {error}") from None


def check_mock(request: TryRequest, state: State) -> None:
    """Whether the state can be tried like this. Raises `BadRequest`."""
    mock, kind = request.mock, type(state).__name__
    if mock is None:
        if isinstance(state, Map | Parallel):
            raise StateUntriable(
                "TestState API does not support Map or Parallel states. Supported state types include: "
                "[Task, Wait, Pass, Succeed, Fail, Choice]"
            )
        if isinstance(state, Task) and not request.role_arn:
            raise ValidationFailed("RoleArn must be specified when testing a Task state")
        if isinstance(state, Task) and (":activity:" in state.resource or state.resource.endswith(_WAITING)):
            raise ValidationFailed(f"The resource '{state.resource}' can only be tested when a mock is specified.")
        return
    if not isinstance(state, Task | Map | Parallel):
        raise ValidationFailed(f"State type '{kind}' is not supported when a mock is specified")
    if request.reveal_secrets:
        raise ValidationFailed("TestState does not support RevealSecrets when a mock is specified.")
    if (mock.result is None) == (mock.error_output is None):
        raise ValidationFailed("A test mock should have only one of the following fields: [result, errorOutput].")
    if mock.result is not None:
        _check_result(json_of(mock.result, ValidationFailed, "Mocked result must be valid JSON"), state)


def _check_result(result: Any, state: State) -> None:
    if isinstance(state, Map) and state.result_writer is not None:
        if not isinstance(result, dict):
            raise ValidationFailed("Mocked result must be a JSON object.")
    elif isinstance(state, Map | Parallel) and not isinstance(result, list):
        raise ValidationFailed("Mocked result must be an array.")
    elif isinstance(state, Parallel) and len(result) != len(state.branches):
        raise ValidationFailed(
            f"Mocked result must have one element for each of the {len(state.branches)} branches, not {len(result)}."
        )


# -- the context object ------------------------------------------------------------------------------------------------

_TEXT, _NUMBER, _OBJECT, _ANY = "string", "integer", "object", ""

_CONTEXT: dict[str, dict[str, str]] = {
    "Execution": {
        "Id": _TEXT,
        "Input": _ANY,
        "Name": _TEXT,
        "RoleArn": _TEXT,
        "StartTime": _TEXT,
        "RedriveCount": _NUMBER,
        "RedriveTime": _TEXT,
    },
    "State": {"EnteredTime": _TEXT, "Name": _TEXT, "RetryCount": _NUMBER},
    "StateMachine": {"Id": _TEXT, "Name": _TEXT},
    "Task": {"Token": _TEXT},
}


def context_of(text: str, state: State) -> dict[str, Any]:
    """The context object that expressions shall see. Raises `BadRequest`."""
    given = json_of(text, ValidationFailed, "Invalid Context object provided")
    if not isinstance(given, dict):
        raise _refused("the Context object must be an object")
    if "Map" in given:
        raise _refused("'Map' field is not supported when mocking a Context object")
    for part, members in given.items():
        if part not in _CONTEXT:
            raise _refused(f"Field '{part}' is not allowed")
        _check_type(part, members, _OBJECT)
        for name, value in members.items():
            if name not in _CONTEXT[part]:
                raise _refused(f"Field '{name}' is not allowed")
            _check_type(f"{part}.{name}", value, _CONTEXT[part][name])
    waits = isinstance(state, Task) and state.resource.endswith(_WAITING)
    if "Task" in given and not waits:
        raise _refused(
            "Context object contains 'Task' when state is not a Task state with a '.sync' or '.waitForTaskToken' service "
            "integration pattern"
        )
    return given


def _check_type(name: str, value: Any, wanted: str) -> None:
    fits = {
        _TEXT: isinstance(value, str),
        _NUMBER: isinstance(value, int) and not isinstance(value, bool),
        _OBJECT: isinstance(value, dict),
        _ANY: True,
    }[wanted]
    if not fits:
        raise _refused(f"{name} must be {'an' if wanted[0] in 'aeio' else 'a'} {wanted}")


def _refused(why: str) -> ValidationFailed:
    return ValidationFailed(f"Invalid Context object provided: {why}")
