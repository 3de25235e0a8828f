"""`states:startExecution`: an execution that begins another one, and may wait for its end without a worker."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import CorralError, NotFound
from corral.workflows.execution import AnswerForm, ExecutionInfo
from corral.workflows.failing import StateFailed
from corral.workflows.store import ExecutionExists
from corral.workflows.tasks.lambdas import http_metadata
from corral.workflows.tasks.task import Task, members

_KNOWN = ("StateMachineArn", "Input", "Name", "TraceHeader")


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """The execution that is to begin."""

    machine: str
    """An ARN, perhaps with a version or an alias; or a name of ours."""
    name: str
    input: Any
    answers: str
    """The token that hears of its end; empty: none does."""
    form: AnswerForm
    task: Task


Begin = Callable[[Child], Awaitable[ExecutionInfo]]
"""Begins it. One of that name and input that runs already is the one."""


class Executions:
    """Begins executions."""

    def __init__(self, begin: Begin, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """`begin` knows the state machines."""
        self._begin = begin
        self._clock = clock

    async def do(self, task: Task) -> dict[str, Any]:
        """`{"ExecutionArn", "StartDate", …}`; with `.sync` the task ends when the execution has."""
        given = members(task, *_KNOWN, required=("StateMachineArn",))
        machine, pattern = str(given["StateMachineArn"]), task.resource.pattern
        waits = pattern.startswith("sync")
        child = Child(
            machine=machine,
            name=str(given.get("Name") or _name_of(task.token)),
            input=_input(given.get("Input")),
            answers=task.token if waits else "",
            form="sync" if pattern == "sync" else "sync:2",
            task=task,
        )
        try:
            info = await self._begin(child)
        except NotFound as error:
            raise _refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{machine}'") from error
        except ExecutionExists as error:
            raise _refused("ExecutionAlreadyExists", f"Execution Already Exists: '{child.name}'") from error
        except CorralError as error:
            raise StateFailed(f"StepFunctions.{type(error).__name__}", error.message) from error
        return self._answer(info)

    def _answer(self, info: ExecutionInfo) -> dict[str, Any]:
        said = {"ExecutionArn": info.arn, "StartDate": round(info.started_at, 3)}
        request_id = new_id()
        headers = {
            "connection": "keep-alive",
            "x-amzn-RequestId": request_id,
            "Content-Length": str(len(msgspec.json.encode(said))),
            "Date": formatdate(self._clock.now(), usegmt=True),
            "Content-Type": "application/x-amz-json-1.0",
        }
        return {
            **said,
            "SdkHttpMetadata": http_metadata(headers),
            "SdkResponseMetadata": {"RequestId": request_id},
        }


def _name_of(token: str) -> str:
    """A name that is the same each time this task is done."""
    return str(uuid.UUID(bytes=hashlib.sha256(token.encode()).digest()[:16], version=4))


def _input(given: Any) -> Any:
    """What the execution begins with: JSON, or JSON as text."""
    if given is None:
        return {}
    if not isinstance(given, str):
        return given
    try:
        return msgspec.json.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return given


def _refused(code: str, message: str) -> StateFailed:
    return StateFailed(
        f"StepFunctions.{code}Exception",
        f"{message} (Service: AWSStepFunctions; Status Code: 400; Error Code: {code}; Request ID: {new_id()}; Proxy: null)",
    )
