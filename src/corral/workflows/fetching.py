"""Tasks of activities, and who fetches them: outside workers that ask for work and wait for it."""

from __future__ import annotations

import asyncio

from corral.workflows.execution import Work
from corral.workflows.following import PATIENCE_S, Following
from corral.workflows.keeping import Keeping
from corral.workflows.machine.happening import TaskStarted
from corral.workflows.moving import Mover
from corral.workflows.store import Executions, Move, activity_key


class Activities:
    """Gives tasks of activities out, each to one worker, oldest first."""

    def __init__(self, store: Executions, *, keeping: Keeping, mover: Mover, following: Following) -> None:
        """`following` wakes those who wait."""
        self._store = store
        self._keeping = keeping
        self._mover = mover
        self._following = following

    async def take(self, tenant: str, arn: str, *, worker: str, wait_s: float) -> Work | None:
        """The oldest task, waiting at most so long for one."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        with self._following.bell(activity_key(tenant, arn)) as bell:
            while True:
                work = await self._take(tenant, arn, worker)
                left = until - loop.time()
                if work is not None or left <= 0:
                    return work
                await bell.wait(min(left, PATIENCE_S))

    async def _take(self, tenant: str, arn: str, worker: str) -> Work | None:
        while (row := await self._store.take(tenant, arn, worker)) is not None:
            execution = await self._store.get(tenant, row.execution_id)
            if execution is None:
                continue
            work = await self._keeping.work(row, execution)
            # One that timed out in this very moment is over, and the next one is looked for.
            if await self._mover.tell(tenant, row.execution_id, TaskStarted(row.token, worker)):
                return work
        return None


def opened(move: Move) -> list[str]:
    """The activities for which a move has work, as those who wait for it follow them."""
    return [activity_key(move.tenant, task.resource) for task in move.opened if task.kind == "activity"]
