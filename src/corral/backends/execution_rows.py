"""Executions and tasks as rows: the same columns on every engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import LAST, check_id, findable
from corral.workflows.store import EventsRow, ExecutionRow, FrameRow, TaskRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.messages import Page
    from corral.workflows.store import ExecutionQuery, Move, TaskQuery

_END = (math.inf, LAST)


def check_row(row: ExecutionRow) -> None:
    """Refuse an execution that an engine could not keep."""
    check_id("tenant", row.tenant)
    check_id("execution's id", row.id)
    check_id("execution's ARN", row.arn)
    check_id("execution's name", row.name)
    check_id("state machine's ARN", row.machine_arn)
    for arn in (row.version_arn, row.alias_arn, row.map_run_arn):
        check_id("ARN", arn, empty=True)


def execution_of(row: Sequence[Any]) -> ExecutionRow:
    """An execution out of the columns of `list` or `get`; the latter has input and outcome as well."""
    (tenant, execution_id, arn, name, machine_arn, version_arn, alias_arn, map_run_arn, status, facts, *rest) = row
    revision, next_event, redrives, redriven_at, started_at, updated_at, stopped_at, *values = rest
    given, outcome = values or (None, None)
    return ExecutionRow(
        tenant=tenant,
        id=execution_id,
        arn=arn,
        name=name,
        machine_arn=machine_arn,
        version_arn=version_arn,
        alias_arn=alias_arn,
        map_run_arn=map_run_arn,
        status=status,
        facts=facts,
        input=given,
        outcome=outcome,
        revision=revision,
        next_event=next_event,
        redrives=redrives,
        redriven_at=redriven_at,
        started_at=started_at,
        updated_at=updated_at,
        stopped_at=stopped_at,
    )


def frame_of(row: Sequence[Any]) -> FrameRow:
    """A frame out of the columns id, parent, done, body."""
    frame_id, parent, done, body = row
    return FrameRow(id=frame_id, parent=parent, done=bool(done), body=body)


def events_of(row: Sequence[Any]) -> EventsRow:
    """Events out of the columns first, last, body."""
    first, last, body = row
    return EventsRow(first=first, last=last, body=body)


def task_of(row: Sequence[Any]) -> TaskRow:
    """A task out of the columns of `task`."""
    (tenant, token, execution_id, frame, kind, resource, body, state, worker, answer, created_at, closed_at) = row
    return TaskRow(
        tenant=tenant,
        token=token,
        execution_id=execution_id,
        frame=frame,
        kind=kind,
        resource=resource,
        body=body,
        state=state,
        worker=worker,
        answer=answer,
        created_at=created_at,
        closed_at=closed_at,
    )


def begun(row: ExecutionRow, move: Move) -> ExecutionRow:
    """A new execution after its first move."""
    return msgspec.structs.replace(
        row,
        status=move.status,
        revision=1,
        next_event=move.next_event,
        redrives=move.redrives,
        redriven_at=move.redriven_at,
        updated_at=move.at,
        stopped_at=stopped_at(move),
        outcome=move.outcome,
    )


def stopped_at(move: Move) -> float | None:
    """When an execution ended that ends with this move."""
    return None if move.status == "RUNNING" else move.at


def asked_for(query: ExecutionQuery) -> dict[str, Any] | None:
    """A query as what the statements take; none: nothing can be found by it."""
    check_limit(query.limit)
    before_at, before_id = read_cursor(query.cursor, tuple[float, str]) or _END
    names = (query.machine_arn, query.version_arn, query.alias_arn, query.map_run_arn, query.name, before_id)
    if not findable(*names):
        return None
    return {
        "before_at": before_at,
        "before_id": before_id,
        "since": -math.inf if query.since is None else query.since,
        "until": math.inf if query.until is None else query.until,
        "machine_arn": query.machine_arn,
        "version_arn": query.version_arn,
        "alias_arn": query.alias_arn,
        "map_run_arn": query.map_run_arn,
        "name": query.name,
        "redriven": query.redriven,
        "limit": query.limit + 1,
    }


def list_for(query: ExecutionQuery) -> str:
    """The statement whose index fits a query best."""
    if query.map_run_arn is not None:
        return "list_of_map_run"
    if query.statuses == ("RUNNING",):
        return "list_open"
    return "list" if query.machine_arn is None else "list_of_machine"


def page_of_executions(rows: Sequence[Sequence[Any]], limit: int) -> Page[ExecutionRow]:
    """A page of executions."""
    return page_of([execution_of(row) for row in rows], lambda last: (last.started_at, last.id), limit)


def tasks_asked_for(query: TaskQuery) -> dict[str, Any] | None:
    """The same, for tasks."""
    check_limit(query.limit)
    before_at, before_id = read_cursor(query.cursor, tuple[float, str]) or _END
    if not findable(query.execution_id, before_id):
        return None
    return {
        "before_at": before_at,
        "before_id": before_id,
        "kind": query.kind,
        "execution_id": query.execution_id,
        "limit": query.limit + 1,
    }


def list_of_tasks_for(query: TaskQuery) -> str:
    """The statement whose index fits a query best."""
    if query.execution_id is not None:
        return "tasks_of_execution"
    return "approvals" if query.kind == "approval" else "tasks"


def page_of_tasks(rows: Sequence[Sequence[Any]], limit: int) -> Page[TaskRow]:
    """A page of tasks."""
    return page_of([task_of(row) for row in rows], lambda last: (last.created_at, last.token), limit)


def strings(values: Sequence[str]) -> str:
    """Strings as JSON, for statements that take a list as one value."""
    return msgspec.json.encode(list(values)).decode()
