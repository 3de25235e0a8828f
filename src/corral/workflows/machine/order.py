"""What an execution wants done outside of itself."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from corral.workflows.language.resource import Resource


class StartTask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Work to be done by somebody. Given again after a crash, with the same token."""

    token: str
    """Names the task to everybody: who ends it shows this."""
    state: str
    resource: Resource
    payload: Any = None
    """What the task is given: the state's effective input, its Parameters or its Arguments."""
    attempt: int = 0
    """How often this state was retried before."""
    timeout_at: float | None = None
    """When the machine gives it up by itself."""
    heartbeat_s: float | None = None
    credentials: Any = None


class CancelTask(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for this task any more."""

    token: str
    child: str = ""
    """The ARN of the execution that it began and waited for, which is to be stopped as well."""


class StartMapRun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Go over many items, each in an execution of its own."""

    frame: str
    state: str
    arn: str
    spec: dict[str, Any]
    """What `distributed.py` made of the state: reader, items, batcher, selector, tolerance, concurrency, writer; all evaluated."""
    redrive: bool = False
    """A run that has failed goes on with the children that did not succeed."""


class CancelMapRun(msgspec.Struct, frozen=True, tag=True):
    """Stop what a distributed Map still does."""

    frame: str


class Escalate(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A question has waited for so long that it is put to somebody else, who is to be told."""

    token: str
    step: int
    """1 for the first of its escalations."""
    assignee: str
    at: float


Order: TypeAlias = StartTask | CancelTask | StartMapRun | CancelMapRun | Escalate
