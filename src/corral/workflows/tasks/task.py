"""A task while it is done, and how it fails."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from corral.context import Context
from corral.errors import CorralError
from corral.observability.redaction import redacted, redacted_text
from corral.workflows.failing import DATA_LIMIT, DATA_MAX_BYTES, StateFailed
from corral.workflows.language.resource import Resource
from corral.workflows.machine.order import StartTask
from corral.workflows.machine.run import Facts

Say = Callable[[bytes], Awaitable[None]]
"""Tells a piece of an answer (JSON text) to those who watch."""

_OURS = str(Path(__file__).parents[2])
_FRAMES_MAX = 20
_CAUSE_MAX = 32_768


class Task:
    """What whoever does it knows of it."""

    __slots__ = ("context", "facts", "order", "say", "tenant")

    def __init__(self, tenant: str, order: StartTask, facts: Facts, context: Context, say: Say) -> None:
        """`context` says on whose behalf it is done; its idempotency key is the token."""
        self.tenant = tenant
        self.order = order
        self.facts = facts
        self.context = context
        self.say = say

    @property
    def token(self) -> str:
        """What it is known by."""
        return self.order.token

    @property
    def resource(self) -> Resource:
        """What is to be done."""
        return self.order.resource

    @property
    def payload(self) -> Any:
        """What it is to be done with."""
        return self.order.payload


Doer = Callable[[Task], Awaitable[Any]]
"""Does tasks of one service and returns their result as JSON. Raises `StateFailed`, or whatever went wrong."""


class FunctionFailed(Exception):
    """A function raised an error of its own, or took too long."""

    def __init__(self, error: str, message: str, frames: list[str] | None = None) -> None:
        """Say what, as the function's own world names it."""
        self.error = error
        self.message = message
        self.frames = frames
        super().__init__(f"{error}: {message}")

    def cause(self, request_id: str, *, compact: bool = True) -> str:
        """The function's answer, as AWS Lambda forms it: JSON."""
        import json  # noqa: PLC0415 - its spaces are part of the answer, and few functions fail

        said: dict[str, Any] = {"errorMessage": self.message, "errorType": self.error, "requestId": request_id}
        if self.frames is not None:
            said["stackTrace"] = self.frames
        return json.dumps(said, ensure_ascii=False, separators=(",", ":") if compact else None)


def own_error(error: BaseException) -> FunctionFailed:
    """An error of the user's own code, with the part of its stack that is theirs."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a user's own __str__ may raise anything
        message = name
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OURS)]
    lines = [
        f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n    {frame.line}\n'
        for frame in frames[-_FRAMES_MAX:]
    ]
    return FunctionFailed(name, redacted_text(message)[:_CAUSE_MAX], redacted(lines))


def failure_of(error: BaseException, request_id: str) -> StateFailed:
    """What Retry and Catch see of an error."""
    if isinstance(error, StateFailed):
        return error
    if isinstance(error, FunctionFailed):
        return StateFailed(error.error, error.cause(request_id))
    original = getattr(error, "original", None)
    if isinstance(original, BaseException):
        return failure_of(own_error(original), request_id)
    if isinstance(error, CorralError):
        return StateFailed(type(error).__name__, error.message)
    return failure_of(own_error(error), request_id)


def check_size(result: Any, resource: Resource) -> None:
    """Raise what the answer of a call fails with that is too large."""
    if len(msgspec.json.encode(result)) > DATA_MAX_BYTES:
        named = resource.service if resource.action else resource.text
        raise StateFailed(
            DATA_LIMIT,
            f"The state/task '{named}' returned a result with a size exceeding the maximum number of bytes service limit.",
        )


def members(task: Task, *known: str, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The payload as an object with these members and no others. Raises what is wrong with it."""
    given = task.payload
    if not isinstance(given, dict):
        raise invalid(task, f"takes a JSON object, and was given {msgspec.json.encode(given).decode()[:100]}")
    for name in given:
        if known and name not in known:
            raise invalid(task, f"has no member {name!r}; there is: {', '.join(known)}")
    for name in required:
        if given.get(name) in {None, ""} if not isinstance(given.get(name), list | dict) else False:
            raise invalid(task, f"needs {name!r}")
    return given


def invalid(task: Task, what: str) -> StateFailed:
    """A payload that does not fit."""
    return StateFailed("Corral.InvalidPayload", f"The task {task.resource.text!r} {what}.")
