"""An execution as people see it: what is asked for when it begins, how it stands, and what it tells while it runs."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from corral.workflows.machine.order import StartMapRun, StartTask
from corral.workflows.machine.run import Behalf, ExecutionStatus, Facts, HistoryEvent, Kind

AnswerForm = Literal["sync", "sync:2", "map"]
"""How whoever began an execution hears of its end: as a task's output in text or as JSON, or as a child of a distributed Map."""


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that is to begin. Whoever asks has looked up the machine: from here on its definition never changes."""

    tenant: str
    machine_arn: str
    """Without version and alias."""
    machine_name: str
    digest: str
    """Of the definition, by which it is kept."""
    kind: Kind = "STANDARD"
    name: str = ""
    """None: one is made."""
    input: Any = msgspec.field(default_factory=dict)
    version_arn: str = ""
    alias_arn: str = ""
    role_arn: str = ""
    traceparent: str = ""
    behalf: Behalf = Behalf()
    arn: str = ""
    """None: it is made from the machine's and the name."""
    parent: str = ""
    """The id of the execution whose distributed Map begins this one."""
    map_run_arn: str = ""
    map_context: dict[str, Any] = {}
    answers: str = ""
    """The token of the task that waits for this execution's end."""
    answer_form: AnswerForm = "sync:2"


class ExecutionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as it is now."""

    tenant: str
    id: str
    arn: str
    name: str
    machine_arn: str
    machine_name: str
    digest: str
    status: ExecutionStatus
    started_at: float
    stopped_at: float | None = None
    kind: Kind = "STANDARD"
    input: Any = UNSET
    """UNSET in lists."""
    output: Any = UNSET
    """Where it succeeded, and not in lists."""
    error: str | None = None
    cause: str | None = None
    version_arn: str = ""
    alias_arn: str = ""
    role_arn: str = ""
    map_run_arn: str = ""
    parent: str = ""
    traceparent: str = ""
    behalf: Behalf = Behalf()
    redrives: int = 0
    redriven_at: float | None = None
    events: int = 0
    """How many its history has."""
    is_new: bool = True
    """False: asked to begin it, we found that it had begun before."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status not in {"RUNNING", "PENDING_REDRIVE"}


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of an execution's history."""

    events: list[HistoryEvent]
    next: int | None = None
    """What to give as `after` for the next page; none: this was the last for now."""


class SyncResult(msgspec.Struct, frozen=True, kw_only=True):
    """An express execution from start to end."""

    info: ExecutionInfo
    history: list[HistoryEvent]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A task for whoever does it."""

    tenant: str
    token: str
    order: StartTask | StartMapRun
    facts: Facts
    """Of its execution."""
    created_at: float
    submitted: bool = False
    """The call was made: what is still to come is told by whoever was called."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a task tells before it ends. Seen by those who watch, and kept nowhere."""

    state: str
    token: str
    data: Any


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is asked, and what was answered."""

    id: str
    """The task's token: whoever has it may answer."""
    execution_id: str
    execution_arn: str
    state_name: str
    payload: Any
    """What the state asks with: message, choices, assignee, form, deadline."""
    asked_at: float
    expires_at: float | None = None
    is_open: bool = True
    answered_at: float | None = None
    answer: Any = UNSET


class Escalated(msgspec.Struct, frozen=True, kw_only=True):
    """A question that nobody answered in time, and to whom it is put now."""

    tenant: str
    id: str
    """The same each time it is told."""
    question: Question
    assignee: str
    step: int
    """1 for the first of its escalations."""
    at: float


__all__ = [
    "UNSET",
    "AnswerForm",
    "Escalated",
    "ExecutionInfo",
    "HistoryPage",
    "Progress",
    "Question",
    "StartRequest",
    "SyncResult",
    "UnsetType",
    "Work",
]
