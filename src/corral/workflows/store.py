"""The port of this room: where executions stand, what happened to them, and the tasks they wait for.

Implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.executions`. An execution is a row
with a revision; whatever moves it gives the revision it began from, and either all of the move is written or nothing. So
nobody holds an execution: who has news for it loads it, moves it in memory and writes it down, and does so again when
somebody else was quicker. Every method is asynchronous, may be called from many tasks at once, and raises
`StoreUnavailable` when the engine does not answer. Times are the caller's: seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from corral.errors import BadRequest, CorralError, NotFound
from corral.messages import Page
from corral.workflows.machine.run import ExecutionStatus

TaskKind = Literal["job", "activity", "callback", "approval", "map", "answer"]
"""Who does it: a worker of ours, somebody who asks for work, somebody who was told the token, a person, a distributed Map;
`answer` is news: of an execution's end for whoever began it, or of a question for whom it was put to."""

ESCALATION = "escalation"
"""The resource of news of a question."""
STOPPING = "stopping"
"""The resource of news for an execution that nobody waits for any more: it is to be stopped. Its ARN is the body."""

HANDED: tuple[TaskKind, ...] = ("job", "map", "answer")
"""Kinds that are handed on by whoever wrote them down; the others wait to be fetched."""

TaskState = Literal["new", "dispatched", "taken", "closed"]
"""`dispatched`: it was handed on. `taken`: somebody fetched it. `closed`: a person answered; all other tasks go when they end."""


class ExecutionNotFound(NotFound):
    """There is no such execution."""

    code = "execution_not_found"


class ExecutionExists(CorralError):
    """Another execution has this name already; choose another one, or leave it away."""

    status = 409
    code = "execution_exists"


class TooManyExecutions(CorralError):
    """This tenant has as many open executions as it may have; wait until some have ended, or stop some."""

    status = 429
    code = "too_many_executions"
    retryable = True


class NotRedrivable(CorralError):
    """Only an execution that failed, timed out or was stopped can be redriven."""

    status = 409
    code = "not_redrivable"


class TaskTokenInvalid(BadRequest):
    """This is not a task's token."""

    code = "task_token_invalid"


class TaskGone(CorralError):
    """Nobody waits for this task any more: it has ended, or its execution has."""

    status = 409
    code = "task_gone"


class QuestionNotFound(NotFound):
    """Nobody was asked this."""

    code = "approval_not_found"


class QuestionClosed(CorralError):
    """This was answered already."""

    status = 409
    code = "approval_closed"


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as it is kept. What no engine need understand is JSON in bytes."""

    tenant: str
    id: str
    arn: str
    name: str
    machine_arn: str
    version_arn: str = ""
    alias_arn: str = ""
    map_run_arn: str = ""
    status: ExecutionStatus = "RUNNING"
    facts: bytes = b"{}"
    """What never changes, without the input."""
    input: bytes | None = None
    """None: it was not asked for."""
    outcome: bytes | None = None
    """Output, error and cause, once it is over and where they were asked for."""
    revision: int = 0
    next_event: int = 1
    redrives: int = 0
    redriven_at: float | None = None
    started_at: float = 0.0
    updated_at: float = 0.0
    stopped_at: float | None = None


class FrameRow(msgspec.Struct, frozen=True, kw_only=True):
    """A frame as it is kept."""

    id: str
    parent: str | None
    done: bool
    body: bytes


class EventsRow(msgspec.Struct, frozen=True, kw_only=True):
    """Events that were written together: one row, however many they are."""

    first: int
    last: int
    body: bytes


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A task that somebody waits for."""

    tenant: str
    token: str
    execution_id: str
    frame: str
    kind: TaskKind
    resource: str = ""
    """For an activity its ARN, by which it is fetched; for an approval that of its execution."""
    body: bytes = b"{}"
    state: TaskState = "new"
    worker: str = ""
    answer: bytes | None = None
    created_at: float = 0.0
    closed_at: float | None = None


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What one move of an execution writes. All of it or nothing."""

    tenant: str
    id: str
    revision: int
    """The one it was loaded with; 0 for one that begins."""
    mark: str
    """Names this move: written down already, and given again because the answer was lost, it counts as written."""
    at: float
    frames: Sequence[FrameRow] = ()
    """New ones and those that changed."""
    removed: Sequence[str] = ()
    """Frames that are over; all below them goes with them."""
    events: EventsRow | None = None
    opened: Sequence[TaskRow] = ()
    closed: Sequence[str] = ()
    """Tokens of tasks that are over, before any are opened. Approvals stay, and can be answered no more."""
    submitted: Sequence[str] = ()
    """Tokens of tasks whose call was made: from now on they are callbacks."""
    answered: Sequence[tuple[str, bytes]] = ()
    """Tokens of approvals among `closed`, and what was answered."""
    wake_at: float | None = None
    """When something is to happen to it by itself."""
    next_event: int = 1
    redrives: int = 0
    redriven_at: float | None = None
    status: ExecutionStatus = "RUNNING"
    outcome: bytes | None = None
    """Where it ends with this move. One that succeeded leaves no frames, and no ended one has tasks but those it opens now."""


class Loaded(msgspec.Struct, frozen=True):
    """An execution and its frames."""

    row: ExecutionRow
    frames: list[FrameRow]


class Due(msgspec.Struct, frozen=True):
    """What is due, and when the next thing will be."""

    items: list[tuple[str, str]]
    """Tenants and executions."""
    next_at: float | None


class ExecutionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions to list."""

    machine_arn: str | None = None
    version_arn: str | None = None
    alias_arn: str | None = None
    map_run_arn: str | None = None
    statuses: tuple[ExecutionStatus, ...] = ()
    name: str | None = None
    """How the name begins."""
    since: float | None = None
    until: float | None = None
    """Of the time it was started."""
    redriven: bool | None = None
    limit: int = 100
    cursor: str | None = None


class TaskQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks to list."""

    kind: TaskKind
    states: tuple[TaskState, ...] = ()
    execution_id: str | None = None
    limit: int = 100
    cursor: str | None = None


class ExecutionWatch(Protocol):
    """Who wants to know about some executions or activities."""

    def follow(self, key: str) -> None:
        """Be told about what an `execution_key` or an `activity_key` names."""
        ...

    def unfollow(self, key: str) -> None:
        """Be told no more."""
        ...

    def close(self) -> None:
        """End the watch."""
        ...


def execution_key(tenant: str, execution_id: str) -> str:
    """What to follow to hear of an execution."""
    return f"x:{execution_id}\n{tenant}"


def activity_key(tenant: str, arn: str) -> str:
    """What to follow to hear of work for an activity."""
    return f"a:{arn}\n{tenant}"


class Executions(Protocol):
    """Executions, their frames, their history, and the tasks they wait for."""

    async def begin(self, row: ExecutionRow, move: Move) -> ExecutionRow:
        """Begin an execution with its first move, in one transaction; durable when it returns.

        An ARN of the tenant that is there already: that execution with its input, and nothing is written. Which of the two it
        was, the id says.
        """
        ...

    async def load(self, tenant: str, execution_id: str, *, complete: Sequence[str] = ()) -> Loaded | None:
        """An execution, its input, every frame that is not done, and the done children of the frames in `complete`.

        All of one moment. None: there is no such execution.
        """
        ...

    async def save(self, moves: Sequence[Move]) -> list[bool]:
        """Write moves. Each is written as a whole if its execution still has the revision it gives, which then grows by one.

        False: somebody else moved it meanwhile, and nothing of this move is written. No two moves are of one execution.
        A move whose mark is that of the last one written is not written again, and the answer is True.
        """
        ...

    async def get(self, tenant: str, execution_id: str) -> ExecutionRow | None:
        """One execution, with input and outcome."""
        ...

    async def by_arn(self, tenant: str, arn: str) -> ExecutionRow | None:
        """The same, by its ARN."""
        ...

    async def find(self, tenant: str, query: ExecutionQuery) -> Page[ExecutionRow]:
        """List, newest first, without inputs and outcomes."""
        ...

    async def open_count(self, tenant: str | None, *, limit: int) -> int:
        """How many executions of a tenant run, or of all tenants together; counting stops at `limit`."""
        ...

    async def waiting(self, *, limit: int) -> int:
        """How many approvals wait for an answer, of all tenants; counting stops at `limit`."""
        ...

    async def counts(self, tenant: str, map_run_arn: str) -> dict[ExecutionStatus, int]:
        """How many children of a map run have which status."""
        ...

    async def events(self, tenant: str, execution_id: str, *, first: int, last: int) -> list[EventsRow]:
        """The rows that hold events of these numbers, in order. None for an unknown execution."""
        ...

    async def now(self) -> float:
        """The store's clock, in seconds since 1970: the one by which executions are due."""
        ...

    async def take_due(self, *, now: float, limit: int, hold_s: float) -> Due:
        """Executions whose time has come: nobody else gets them for `hold_s`, unless they are moved meanwhile."""
        ...

    async def task(self, tenant: str, token: str) -> TaskRow | None:
        """One task that is not over, or was closed."""
        ...

    async def work(self, tenant: str, token: str) -> tuple[TaskRow, ExecutionRow] | None:
        """One task that is not over, and its execution with its input. None: nobody waits for it any more."""
        ...

    async def tasks(self, tenant: str, query: TaskQuery) -> Page[TaskRow]:
        """List, newest first."""
        ...

    async def unhanded(self, *, before: float, limit: int) -> list[TaskRow]:
        """Tasks of the kinds in `HANDED` that were opened before that time and are still new, of all tenants, oldest first."""
        ...

    async def handed(self, tokens: Sequence[str]) -> None:
        """Note that these were handed on; those that are over are left alone."""
        ...

    async def drop(self, tokens: Sequence[str]) -> None:
        """Remove tasks of kind `answer` that were told."""
        ...

    async def take(self, tenant: str, resource: str, worker: str) -> TaskRow | None:
        """The oldest new task of an activity; nobody else gets it."""
        ...

    def watch(self, heard: Callable[[Sequence[str]], None]) -> ExecutionWatch:
        """Call `heard`, on the running loop, with followed keys that moved, in any process. May be lost, and may be for nothing."""
        ...

    async def stale(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """Tenants and ids of executions that ended before that time, oldest first."""
        ...

    async def remove(self, executions: Sequence[tuple[str, str]]) -> int:
        """Remove executions with all they left behind; how many there were."""
        ...
