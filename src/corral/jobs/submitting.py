"""Jobs that are handed in at the same time by many are enqueued together: one commit for all that came meanwhile."""

from __future__ import annotations

import asyncio
import copy
from contextvars import Context

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, QueueFull, StoreUnavailable
from corral.jobs.job import Enqueued, JobDraft
from corral.jobs.store import JobStore

_TOGETHER_MAX = 500
_FULL_S = 0.25
"""A queue that was full is taken to be so for this long: a flood of refusals costs the store nothing."""
_RETRY_AFTER_S = 2.0

_Waiting = tuple[JobDraft, asyncio.Future[Enqueued]]


class Submissions:
    """Enqueues single jobs. Whoever comes while nothing is being written writes at once; the others go together."""

    def __init__(self, store: JobStore, *, depth_max: int, clock: Clock = SYSTEM_CLOCK) -> None:
        """At most `depth_max` jobs may be open in a queue."""
        self._store = store
        self._depth_max = depth_max
        self._now = clock.monotonic
        self._writing = False
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._full: dict[str, float] = {}
        """Until when a queue is taken to be full."""

    async def add(self, draft: JobDraft) -> Enqueued:
        """Enqueue one job, durably. Raises what the store has against this one, and nothing that others did."""
        self._check(draft.queue)
        if self._writing:
            future: asyncio.Future[Enqueued] = asyncio.get_running_loop().create_future()
            self._waiting.append((draft, future))
            return await future
        self._writing = True
        try:
            return (await self.add_all([draft]))[0]
        finally:
            self._writing = False
            if self._waiting:
                self._writing = True
                self._task = asyncio.get_running_loop().create_task(self._write_waiting(), context=Context())

    async def add_all(self, drafts: list[JobDraft]) -> list[Enqueued]:
        """Enqueue all or none."""
        try:
            return await self._store.enqueue(drafts, depth_max=self._depth_max)
        except QueueFull as error:
            if error.retry_after_s is None:
                error.retry_after_s = _RETRY_AFTER_S
            if len(drafts) == 1:
                self._full[drafts[0].queue] = self._now() + _FULL_S
            raise

    def _check(self, queue: str) -> None:
        until = self._full.get(queue)
        if until is None:
            return
        if self._now() < until:
            raise QueueFull(
                f"The queue {queue!r} holds as many jobs as it may ({self._depth_max}, `jobs.depth_max`); try again later.",
                retry_after_s=_RETRY_AFTER_S,
            )
        del self._full[queue]

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_TOGETHER_MAX], self._waiting[_TOGETHER_MAX:]
                await self._write(batch)
        finally:
            self._writing = False
            for _, future in self._waiting:  # only where the loop itself ends
                future.cancel()
            self._waiting.clear()

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            answers = await self.add_all([draft for draft, _ in batch])
        except CorralError as error:
            if len(batch) > 1 and not isinstance(error, StoreUnavailable):
                await self._write_singly(batch)
                return
            for _, future in batch:
                _fail(future, error)
        except BaseException as error:
            for _, future in batch:
                _fail(future, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def _write_singly(self, batch: list[_Waiting]) -> None:
        """One of them is refused: find out which, so that it hits nobody else."""
        for draft, future in batch:
            try:
                self._check(draft.queue)
            except QueueFull as error:
                _fail(future, error)
            else:
                await self._write([(draft, future)])


def _fail(future: asyncio.Future[Enqueued], error: BaseException) -> None:
    if not future.done():
        if isinstance(error, Exception):
            future.set_exception(copy.copy(error))  # each has a traceback of its own
        else:
            future.cancel()
