"""What can happen to an execution from outside. Each is one message; a message for something that is over changes nothing."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec


class Happening(msgspec.Struct, frozen=True, tag=True):
    """The common ground of all of them."""


class Started(Happening, frozen=True):
    """The execution begins."""


class Woken(Happening, frozen=True):
    """Time has passed: waits that are due end, tasks that are late fail, retries begin, unfinished moves go on."""


class TaskStarted(Happening, frozen=True):
    """Somebody took a task on."""

    token: str
    worker: str = ""


class TaskSubmitted(Happening, frozen=True):
    """The call was made and answered; the task's end comes later (`.sync`, `.waitForTaskToken`)."""

    token: str
    output: Any = None


class TaskBeat(Happening, frozen=True):
    """Who works on a task is alive."""

    token: str


class TaskSucceeded(Happening, frozen=True):
    """A task's end. `output` is JSON."""

    token: str
    output: Any = None


class TaskFailed(Happening, frozen=True):
    """A task's other end."""

    token: str
    error: str = ""
    cause: str = ""
    timed_out: bool = False
    at: str = ""
    """Where it failed before anybody worked on it: `schedule`, `start` or `submit`."""
    retryable: bool = True


class ItemsRead(Happening, frozen=True):
    """A distributed Map knows what to go over; the items themselves are kept by the engine."""

    frame: str
    total: int
    arn: str = ""
    """Of the map run: what a state that has begun another one since need not listen to."""


class MapRunEnded(Happening, frozen=True):
    """Every child of a distributed Map is over, or too many of them failed."""

    frame: str
    result: Any = None
    error: str = ""
    cause: str = ""
    arn: str = ""
    """Of the map run."""


class Stopped(Happening, frozen=True):
    """Somebody wants the execution to end now."""

    error: str | None = None
    cause: str | None = None


class Redriven(Happening, frozen=True):
    """An execution that failed goes on from the states that failed."""


Message: TypeAlias = (
    Started
    | Woken
    | TaskStarted
    | TaskSubmitted
    | TaskBeat
    | TaskSucceeded
    | TaskFailed
    | ItemsRead
    | MapRunEnded
    | Stopped
    | Redriven
)
