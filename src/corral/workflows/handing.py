"""Hands tasks on as soon as they are written down: to the queue, to map runs, to whoever began an execution.

What is lost here is found by the sweep: a task stays `new` in the store until somebody noted that it was handed on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from corral.errors import StoreUnavailable
from corral.workflows.doing import Doers, MapRuns
from corral.workflows.execution import Work
from corral.workflows.keeping import Keeping
from corral.workflows.store import Executions, TaskRow

_log = logging.getLogger("corral.workflows")

_WAITING_MAX = 10_000
"""More are left to the sweep."""
_NOTE_S = 0.5
"""Tasks that end sooner need no note that they were handed on."""
_NOTES_MAX = 1000


class Handing:
    """What is to be handed on by this process, in the order it was written."""

    def __init__(self, store: Executions, *, keeping: Keeping, doers: Doers, map_runs: MapRuns) -> None:
        """`doers` do jobs, `map_runs` go over items."""
        self._store = store
        self._keeping = keeping
        self._doers = doers
        self._map_runs = map_runs
        self.answer: Callable[[TaskRow], Awaitable[None]] | None = None
        """Tells whoever began an execution of its end; the engine's."""
        self._waiting: dict[str, tuple[TaskRow, Work | None]] = {}
        self._gone: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
        self._notes: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._noting: asyncio.Task[None] | None = None

    def hand(self, tasks: Sequence[tuple[TaskRow, Work | None]]) -> None:
        """These were written down and are to be done; what is not known of them is looked up."""
        if tasks and len(self._waiting) < _WAITING_MAX:
            self._waiting.update((task[0].token, task) for task in tasks)
            self._rouse()

    def cancel(self, key: tuple[str, str], tokens: Sequence[str], frames: Sequence[str]) -> None:
        """Nobody waits for these tasks and these map runs of an execution any more."""
        for token in tokens:
            self._waiting.pop(token, None)
        if tokens or frames:
            known = self._gone.setdefault(key, ([], []))
            known[0].extend(tokens)
            known[1].extend(frames)
            self._rouse()

    async def drain(self) -> None:
        """Hand on what was written, and note it."""
        while self._work is not None:
            await asyncio.wait([self._work])
        self._write_notes()
        if self._noting is not None:
            await asyncio.wait([self._noting])

    def _rouse(self) -> None:
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting or self._gone:
                gone, self._gone = self._gone, {}
                tasks, self._waiting = list(self._waiting.values()), {}
                for (tenant, execution_id), (tokens, frames) in gone.items():
                    await self._attempt(self._cancel(tenant, execution_id, tokens, frames))
                await self._hand(tasks)
        finally:
            self._work = None

    async def _hand(self, tasks: Sequence[tuple[TaskRow, Work | None]]) -> None:
        jobs: list[Work] = []
        for row, known in tasks:
            if row.kind == "answer":
                if self.answer is not None:
                    await self._attempt(self.answer(row))
                continue
            work = known or await self._look_up(row)
            if work is None:
                continue
            if row.kind == "job":
                jobs.append(work)
            elif await self._attempt(self._map_runs.begin(work)):
                self._note([work])
        if jobs and await self._attempt(self._doers.begin(jobs)):
            self._note(jobs)

    async def _look_up(self, row: TaskRow) -> Work | None:
        found: list[Work] = []

        async def look() -> None:
            execution = await self._store.get(row.tenant, row.execution_id)
            if execution is not None:
                found.append(await self._keeping.work(row, execution))

        await self._attempt(look())
        return found[0] if found else None

    async def _attempt(self, work: Awaitable[None]) -> bool:
        try:
            await work
        except StoreUnavailable as error:
            _log.debug("Tasks could not be handed on, will try again: %s", error)
            return False
        except Exception:  # noqa: BLE001 - the others are handed on all the same, and the sweep tries this one again
            _log.exception("Tasks could not be handed on, will try again")
            return False
        return True

    async def _cancel(self, tenant: str, execution_id: str, tokens: Sequence[str], frames: Sequence[str]) -> None:
        if tokens:
            await self._doers.cancel(tenant, tokens)
        for frame in frames:
            await self._map_runs.cancel(tenant, execution_id, frame)

    def _note(self, tasks: Sequence[Work]) -> None:
        self._notes.update(dict.fromkeys(task.token for task in tasks))
        if len(self._notes) >= _NOTES_MAX:
            self._write_notes()
        elif self._timer is None and self._notes:
            self._timer = asyncio.get_running_loop().call_later(_NOTE_S, self._write_notes)

    def _write_notes(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._noting is None and self._notes:
            notes, self._notes = list(self._notes), {}
            self._noting = asyncio.get_running_loop().create_task(self._written(notes))

    async def _written(self, notes: list[str]) -> None:
        try:
            await self._attempt(self._store.handed(notes))
        finally:
            self._noting = None
            if self._notes:
                self._note([])
