"""Executions, their histories and their tasks, in SQLite."""

from __future__ import annotations

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
    strings,
    task_of,
    tasks_asked_for,
)
from corral.backends.queries import read_queries
from corral.messages import Page
from corral.workflows.store import Due, Loaded, activity_key, execution_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
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

_SQL = read_queries(Path(__file__).with_name("executions.sql"))


class SqliteExecutions:
    """A row per execution, per frame that runs, per batch of events and per task. Moves share the writer's transactions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, row: ExecutionRow, move: Move) -> ExecutionRow:
        """Begin."""
        check_row(row)

        def run(transaction: Transaction) -> ExecutionRow | None:
            columns = _columns(move) | {
                "arn": row.arn,
                "name": row.name,
                "machine_arn": row.machine_arn,
                "version_arn": row.version_arn,
                "alias_arn": row.alias_arn,
                "map_run_arn": row.map_run_arn,
                "started_at": row.started_at,
                "facts": row.facts,
                "input": row.input,
            }
            if transaction.execute(_SQL["begin"], columns).rowcount:
                _write(transaction, move)
                return begun(row, move)
            return _row(transaction, "by_arn", row.tenant, row.arn)

        found = await self._engine.write(run)
        assert found is not None  # noqa: S101 - it is there, or was just put there
        return found

    async def load(self, tenant: str, execution_id: str, *, complete: Sequence[str] = ()) -> Loaded | None:
        """Load."""
        if not findable(tenant, execution_id):
            return None

        def run(view: View) -> Loaded | None:
            view.execute("BEGIN")  # what is read is of one moment
            try:
                row = _row(view, "get", tenant, execution_id)
                if row is None:
                    return None
                frames = view.execute(_SQL["frames"], (tenant, execution_id)).fetchall()
                if complete:
                    frames += view.execute(_SQL["done_below"], (tenant, execution_id, strings(complete))).fetchall()
            finally:
                view.execute("COMMIT")
            return Loaded(row, [frame_of(frame) for frame in frames])

        return await self._engine.read(run)

    async def save(self, moves: Sequence[Move]) -> list[bool]:
        """Write moves."""
        return await self._engine.write(lambda transaction: [_save(transaction, move) for move in moves])

    async def get(self, tenant: str, execution_id: str) -> ExecutionRow | None:
        """One execution."""
        return await self._one("get", tenant, execution_id)

    async def by_arn(self, tenant: str, arn: str) -> ExecutionRow | None:
        """One execution."""
        return await self._one("by_arn", tenant, arn)

    async def _one(self, which: str, tenant: str, name: str) -> ExecutionRow | None:
        if not findable(tenant, name):
            return None
        return await self._engine.read(lambda view: _row(view, which, tenant, name))

    async def find(self, tenant: str, query: ExecutionQuery) -> Page[ExecutionRow]:
        """List."""
        bound = asked_for(query)
        if bound is None or not findable(tenant):
            return Page([])
        bound |= {"tenant": tenant, "statuses": strings(query.statuses) if query.statuses else None}
        which = _SQL[list_for(query)]
        rows = await self._engine.read(lambda view: view.execute(which, bound).fetchall())
        return page_of_executions(rows, query.limit)

    async def open_count(self, tenant: str | None, *, limit: int) -> int:
        """Count what runs."""
        if not findable(tenant):
            return 0
        which, bound = ("open_of_all", (limit,)) if tenant is None else ("open_of_tenant", (tenant, limit))
        (count,) = await self._engine.read(lambda view: view.execute(_SQL[which], bound).fetchone())
        return int(count)

    async def waiting(self, *, limit: int) -> int:
        """Count what people are asked."""
        (count,) = await self._engine.read(lambda view: view.execute(_SQL["waiting"], (limit,)).fetchone())
        return int(count)

    async def counts(self, tenant: str, map_run_arn: str) -> dict[ExecutionStatus, int]:
        """Count children."""
        if not findable(tenant, map_run_arn):
            return {}
        rows = await self._engine.read(lambda view: view.execute(_SQL["counts"], (tenant, map_run_arn)).fetchall())
        return dict(rows)

    async def events(self, tenant: str, execution_id: str, *, first: int, last: int) -> list[EventsRow]:
        """Read history."""
        if not findable(tenant, execution_id):
            return []
        bound = (tenant, execution_id, first, last)
        rows = await self._engine.read(lambda view: view.execute(_SQL["events"], bound).fetchall())
        return [events_of(row) for row in rows]

    async def now(self) -> float:
        """The time."""
        return await self._engine.read(lambda view: view.now)

    async def take_due(self, *, now: float, limit: int, hold_s: float) -> Due:
        """Take what is due."""

        def look(view: View | Transaction) -> float | None:
            row = view.execute(_SQL["next_due"]).fetchone()
            return None if row is None else float(row[0])

        def take(transaction: Transaction) -> Due:
            bound = {"now": now, "hold_s": hold_s, "limit": limit}
            items = [(tenant, name) for tenant, name in transaction.execute(_SQL["take_due"], bound).fetchall()]
            return Due(items, look(transaction))

        next_at = await self._engine.read(look)
        # Nobody need write to find out that nothing is due.
        return Due([], next_at) if next_at is None or next_at > now else await self._engine.write(take)

    async def task(self, tenant: str, token: str) -> TaskRow | None:
        """One task."""
        if not findable(tenant, token):
            return None
        row = await self._engine.read(lambda view: view.execute(_SQL["task"], (token, tenant)).fetchone())
        return None if row is None else task_of(row)

    async def work(self, tenant: str, token: str) -> tuple[TaskRow, ExecutionRow] | None:
        """One task and its execution."""
        if not findable(tenant, token):
            return None

        def run(view: View) -> tuple[TaskRow, ExecutionRow] | None:
            found = view.execute(_SQL["task"], (token, tenant)).fetchone()
            task = None if found is None else task_of(found)
            row = None if task is None or task.state == "closed" else _row(view, "get", tenant, task.execution_id)
            return None if task is None or row is None else (task, row)

        return await self._engine.read(run)

    async def tasks(self, tenant: str, query: TaskQuery) -> Page[TaskRow]:
        """List tasks."""
        bound = tasks_asked_for(query)
        if bound is None or not findable(tenant):
            return Page([])
        bound |= {"tenant": tenant, "states": strings(query.states) if query.states else None}
        which = _SQL[list_of_tasks_for(query)]
        rows = await self._engine.read(lambda view: view.execute(which, bound).fetchall())
        return page_of_tasks(rows, query.limit)

    async def unhanded(self, *, before: float, limit: int) -> list[TaskRow]:
        """Tasks that were forgotten."""
        rows = await self._engine.read(lambda view: view.execute(_SQL["unhanded"], (before, limit)).fetchall())
        return [task_of(row) for row in rows]

    async def handed(self, tokens: Sequence[str]) -> None:
        """Note that they were handed on."""
        await self._change("handed", tokens)

    async def drop(self, tokens: Sequence[str]) -> None:
        """Remove news."""
        await self._change("drop", tokens)

    async def _change(self, which: str, tokens: Sequence[str]) -> None:
        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL[which], (strings(tokens),))

        await self._engine.write(run)

    async def take(self, tenant: str, resource: str, worker: str) -> TaskRow | None:
        """Give out a task of an activity."""
        if not findable(tenant, resource, worker):
            return None

        def look(view: View | Transaction) -> Any:
            return view.execute(_SQL["first_to_fetch"], (tenant, resource)).fetchone()

        def take(transaction: Transaction) -> TaskRow | None:
            first = look(transaction)
            return None if first is None else task_of(transaction.execute(_SQL["take"], (first[0], worker)).fetchone())

        # Many may ask again and again while there is nothing: they do not stand in the writer's way.
        return None if await self._engine.read(look) is None else await self._engine.write(take)

    def watch(self, heard: Callable[[Sequence[str]], None]) -> ExecutionWatch:
        """Hear of executions and activities."""
        return self._engine.job_hints.watch_jobs(heard)

    async def stale(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """What ended long ago."""
        rows = await self._engine.read(lambda view: view.execute(_SQL["stale"], (before, limit)).fetchall())
        return [(tenant, execution_id) for tenant, execution_id in rows]

    async def remove(self, executions: Sequence[tuple[str, str]]) -> int:
        """Remove."""

        def run(transaction: Transaction) -> int:
            return sum(transaction.execute(_SQL["remove"], one).rowcount for one in executions)

        return await self._engine.write(run)


def _row(view: View | Transaction, which: str, tenant: str, name: str) -> ExecutionRow | None:
    row = view.execute(_SQL[which], (tenant, name)).fetchone()
    return None if row is None else execution_of(row)


def _columns(move: Move) -> dict[str, Any]:
    return {
        "tenant": move.tenant,
        "id": move.id,
        "revision": move.revision,
        "mark": move.mark,
        "at": move.at,
        "status": move.status,
        "next_event": move.next_event,
        "redrives": move.redrives,
        "redriven_at": move.redriven_at,
        "stopped_at": stopped_at(move),
        "wake_at": move.wake_at,
        "outcome": move.outcome,
    }


def _save(transaction: Transaction, move: Move) -> bool:
    if not transaction.execute(_SQL["advance"], _columns(move)).rowcount:
        return transaction.execute(_SQL["was_last"], (move.tenant, move.id, move.mark)).fetchone() is not None
    _write(transaction, move)
    return True


def _write(transaction: Transaction, move: Move) -> None:
    """Everything of a move but the execution itself."""
    key = (move.tenant, move.id)
    execute = transaction.execute
    if move.status == "SUCCEEDED":
        if move.revision:
            execute(_SQL["remove_all_frames"], key)
    else:
        if move.removed:
            execute(_SQL["remove_frames"], {"tenant": move.tenant, "id": move.id, "ids": strings(move.removed)})
        for frame in move.frames:
            execute(_SQL["put_frame"], (*key, frame.id, frame.parent, frame.done, frame.body))
    if move.events is not None:
        execute(_SQL["put_events"], (*key, move.events.first, move.events.last, move.events.body))
    _change_tasks(transaction, move, key)
    transaction.job_news.moved[execution_key(*key)] = 0
    for task in move.opened:
        if task.kind == "activity":
            transaction.job_news.moved[activity_key(task.tenant, task.resource)] = 0


def _change_tasks(transaction: Transaction, move: Move, key: tuple[str, str]) -> None:
    execute = transaction.execute
    for token in move.submitted:
        execute(_SQL["submit_task"], (token, *key))
    answers = dict(move.answered)
    for token in move.closed:
        if not execute(_SQL["end_task"], (token, *key)).rowcount:
            execute(_SQL["close_task"], (token, *key, answers.get(token), move.at))
    if move.status != "RUNNING" and move.revision:
        execute(_SQL["end_tasks"], key)
        execute(_SQL["close_tasks"], (*key, move.at))
    for task in move.opened:
        bound = (task.tenant, task.token, task.execution_id, task.frame, task.kind, task.resource, task.body)
        execute(_SQL["open_task"], (*bound, task.created_at))
