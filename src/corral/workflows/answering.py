"""The end of an execution as the message for the task that waits for it, in Step Functions' form."""

from __future__ import annotations

from typing import Any

from corral.workflows import failing
from corral.workflows.execution import ExecutionInfo
from corral.workflows.keeping import KeptFacts, encode
from corral.workflows.machine.happening import Message, TaskFailed, TaskSucceeded


def answer_of(info: ExecutionInfo, kept: KeptFacts) -> Message:
    """`.sync` hands input and output on as text, `.sync:2` as JSON. What failed fails the task, with all of it as the cause."""
    as_text = kept.answer_form == "sync"
    if info.status == "SUCCEEDED":
        return TaskSucceeded(kept.answers, description_of(info, as_text=as_text))
    cause = encode(description_of(info, as_text=True)).decode()
    return TaskFailed(kept.answers, failing.TASK_FAILED, cause)


def description_of(info: ExecutionInfo, *, as_text: bool) -> dict[str, Any]:
    """An execution that is over, as `.sync` shows it. Members are in the order of the alphabet, times in milliseconds."""
    found: dict[str, Any] = {}
    if info.cause is not None:
        found["Cause"] = info.cause
    if info.error is not None:
        found["Error"] = info.error
    found["ExecutionArn"] = info.arn
    found["Input"] = _shown(info.input, as_text=as_text)
    found["InputDetails"] = {"Included": True}
    found["Name"] = info.name
    if info.status == "SUCCEEDED":
        found["Output"] = _shown(info.output, as_text=as_text)
        found["OutputDetails"] = {"Included": True}
    found["StartDate"] = round(info.started_at * 1000)
    found["StateMachineArn"] = info.machine_arn
    found["Status"] = info.status
    found["StopDate"] = round((info.stopped_at or info.started_at) * 1000)
    return found


def _shown(value: Any, *, as_text: bool) -> Any:
    return encode(value).decode() if as_text else value
