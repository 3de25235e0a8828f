"""Executions, their histories and their tasks, in PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.encoding import findable
from corral.backends.execution_rows import (
    asked_for,
    begun,
    check_row,
    events_of,
    execution_of,
    frame_of,
    list_for,
    list_of_tasks_for,
    page_of_executions,
    page_of_tasks,
    stopped_at,
    task_of,
    tasks_asked_for,
)
from corral.backends.queries import read_queries
from corral.messages import Page
from corral.workflows.store import Due, Loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.postgres.engine import Engine
    from corral.workflows.machine.run import ExecutionStatus
    from corral.workflows.store import (
        EventsRow,
        ExecutionQuery,
        ExecutionRow,
        ExecutionWatch,
        Move,
        TaskQuery,
        TaskRow,
    )

_TASK_COLUMNS = 12

_SQL = read_queries(Path(__file__).with_name("executions.sql"))


class PostgresExecutions:
    """A row per execution, per frame that runs, per batch of events and per task. A move is one statement."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, row: ExecutionRow, move: Move) -> ExecutionRow:
        """Begin."""
        check_row(row)
        arns = (row.arn, row.name, row.machine_arn, row.version_arn, row.alias_arn, row.map_run_arn)
        columns = (*_columns(move), *arns, row.started_at, row.facts, row.input)
        while True:  # one that was in the way may be removed in this very moment
            if await self._engine.fetch(_SQL["begin"], *columns, about=move.id):
                return begun(row, move)
            found = await self.by_arn(row.tenant, row.arn)
            if found is not None:
                return found

    async def load(self, tenant: str, execution_id: str, *, complete: Sequence[str] = ()) -> Loaded | None:
        """Load."""
        if not findable(tenant, execution_id):
            return None
        row = await self._engine.fetch_one(_SQL["load"], tenant, execution_id, list(complete))
        if row is None:
            return None
        *columns, frames = row
        return Loaded(execution_of(columns), [frame_of(frame) for frame in frames])

    async def save(self, moves: Sequence[Move]) -> list[bool]:
        """Write moves."""
        return await asyncio.gather(*(self._save(move) for move in moves))

    async def _save(self, move: Move) -> bool:
        (written,) = await self._engine.fetch_one(_SQL["advance"], *_columns(move), move.revision, about=move.id)
        return bool(written)

    async def get(self, tenant: str, execution_id: str) -> ExecutionRow | None:
        """One execution."""
        return await self._one("get", tenant, execution_id)

    async def by_arn(self, tenant: str, arn: str) -> ExecutionRow | None:
        """One execution."""
        return await self._one("by_arn", tenant, arn)

    async def _one(self, which: str, tenant: str, name: str) -> ExecutionRow | None:
        if not findable(tenant, name):
            return None
        row = await self._engine.fetch_one(_SQL[which], tenant, name)
        return None if row is None else execution_of(row)

    async def find(self, tenant: str, query: ExecutionQuery) -> Page[ExecutionRow]:
        """List."""
        bound = asked_for(query)
        if bound is None or not findable(tenant):
            return Page([])
        rows = await self._engine.fetch(
            _SQL[list_for(query)],
            tenant,
            bound["before_at"],
            bound["before_id"],
            bound["since"],
            bound["until"],
            list(query.statuses) or None,
            query.machine_arn,
            query.version_arn,
            query.alias_arn,
            query.map_run_arn,
            query.name,
            query.redriven,
            bound["limit"],
        )
        return page_of_executions(rows, query.limit)

    async def open_count(self, tenant: str | None, *, limit: int) -> int:
        """Count what runs."""
        if not findable(tenant):
            return 0
        (count,) = await self._engine.fetch_one(_SQL["open_count"], tenant, limit)
        return int(count)

    async def waiting(self, *, limit: int) -> int:
        """Count what people are asked."""
        (count,) = await self._engine.fetch_one(_SQL["waiting"], limit)
        return int(count)

    async def counts(self, tenant: str, map_run_arn: str) -> dict[ExecutionStatus, int]:
        """Count children."""
        if not findable(tenant, map_run_arn):
            return {}
        return dict(await self._engine.fetch(_SQL["counts"], tenant, map_run_arn))

    async def events(self, tenant: str, execution_id: str, *, first: int, last: int) -> list[EventsRow]:
        """Read history."""
        if not findable(tenant, execution_id):
            return []
        rows = await self._engine.fetch(_SQL["events"], tenant, execution_id, first, last)
        return [events_of(row) for row in rows]

    async def now(self) -> float:
        """The time."""
        row = await self._engine.fetch_one(_SQL["now"])
        assert row is not None  # noqa: S101 - a query without tables has one row
        return float(row[0])

    async def take_due(self, *, now: float, limit: int, hold_s: float) -> Due:
        """Take what is due."""
        items: list[tuple[str, str]] = []
        next_at = await self._next_due()
        if next_at is not None and next_at <= now:
            rows = await self._engine.fetch(_SQL["take_due"], now, limit, hold_s)
            items = [(tenant, execution_id) for tenant, execution_id in rows]
            next_at = await self._next_due()
        return Due(items, next_at)

    async def _next_due(self) -> float | None:
        row = await self._engine.fetch_one(_SQL["next_due"])
        return None if row is None else float(row[0])

    async def task(self, tenant: str, token: str) -> TaskRow | None:
        """One task."""
        if not findable(tenant, token):
            return None
        row = await self._engine.fetch_one(_SQL["task"], token, tenant)
        return None if row is None else task_of(row)

    async def work(self, tenant: str, token: str) -> tuple[TaskRow, ExecutionRow] | None:
        """One task and its execution."""
        if not findable(tenant, token):
            return None
        row = await self._engine.fetch_one(_SQL["work"], token, tenant)
        return None if row is None else (task_of(row[:_TASK_COLUMNS]), execution_of(row[_TASK_COLUMNS:]))

    async def tasks(self, tenant: str, query: TaskQuery) -> Page[TaskRow]:
        """List tasks."""
        bound = tasks_asked_for(query)
        if bound is None or not findable(tenant):
            return Page([])
        rows = await self._engine.fetch(
            _SQL[list_of_tasks_for(query)],
            tenant,
            bound["before_at"],
            bound["before_id"],
            list(query.states) or None,
            bound["limit"],
            query.kind,
            query.execution_id,
        )
        return page_of_tasks(rows, query.limit)

    async def unhanded(self, *, before: float, limit: int) -> list[TaskRow]:
        """Tasks that were forgotten."""
        return [task_of(row) for row in await self._engine.fetch(_SQL["unhanded"], before, limit)]

    async def handed(self, tokens: Sequence[str]) -> None:
        """Note that they were handed on."""
        await self._engine.fetch(_SQL["handed"], list(tokens))

    async def drop(self, tokens: Sequence[str]) -> None:
        """Remove news."""
        await self._engine.fetch(_SQL["drop"], list(tokens))

    async def take(self, tenant: str, resource: str, worker: str) -> TaskRow | None:
        """Give out a task of an activity."""
        if not findable(tenant, resource, worker):
            return None
        # Many may ask again and again while there is nothing: that only reads.
        if await self._engine.fetch_one(_SQL["has_to_fetch"], tenant, resource) is None:
            return None
        row = await self._engine.fetch_one(_SQL["take"], tenant, resource, worker, again=False)
        return None if row is None else task_of(row)

    def watch(self, heard: Callable[[Sequence[str]], None]) -> ExecutionWatch:
        """Hear of executions and activities."""
        return self._engine.jobs.watch_jobs(heard)

    async def stale(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """What ended long ago."""
        return [(tenant, name) for tenant, name in await self._engine.fetch(_SQL["stale"], before, limit)]

    async def remove(self, executions: Sequence[tuple[str, str]]) -> int:
        """Remove."""
        columns = [[one[place] for one in executions] for place in (0, 1)]
        (gone,) = await self._engine.fetch_one(_SQL["remove"], *columns)
        return int(gone)


def _columns(move: Move) -> tuple[Any, ...]:
    events = move.events
    answers = dict(move.answered)
    return (
        move.tenant,
        move.id,
        move.mark,
        move.at,
        move.status,
        move.next_event,
        move.redrives,
        move.redriven_at,
        stopped_at(move),
        move.wake_at,
        move.outcome,
        [frame.id for frame in move.frames],
        [frame.parent for frame in move.frames],
        [frame.done for frame in move.frames],
        [frame.body for frame in move.frames],
        list(move.removed),
        None if events is None else events.first,
        None if events is None else events.last,
        None if events is None else events.body,
        [task.token for task in move.opened],
        [task.frame for task in move.opened],
        [task.kind for task in move.opened],
        [task.resource for task in move.opened],
        [task.body for task in move.opened],
        list(move.closed),
        [answers.get(token) for token in move.closed],
        list(move.submitted),
    )
