"""Writes for all running jobs of a worker at once: endings, steps and events, each kind one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from corral.jobs.grouping import Grouping
from corral.jobs.job import Ending, JobEventDraft, Step, StepWrite
from corral.jobs.journal_values import LargeValues

if TYPE_CHECKING:
    from corral.jobs.outage import Outage
    from corral.jobs.pieces import Pieces
    from corral.jobs.retrying import Retrying
    from corral.jobs.running import RunningJob
    from corral.jobs.store import BlobStore, JobStore
    from corral.jobs.turns import Turns
    from corral.settings.sections import JobSettings


InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls a function in a thread, with the caller's context variables."""


class Scribe:
    """Where running jobs hand in what is to be kept."""

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        settings: JobSettings,
        retrying: Retrying,
        outage: Outage,
        in_thread: InThread,
        *,
        endings_worth: Callable[[], int] = lambda: 1,
        turns: Turns,
    ) -> None:
        """One per worker. `endings_worth` says how many endings are worth a call to the store now."""
        self.in_thread = in_thread
        self._store = store
        self._claims_stay = getattr(store, "claims_stay", True)  # somebody else's store need not know of it
        self._outage = outage
        self._turns = turns
        self._events_max = settings.events_max
        self._lease_s = settings.lease_s
        self.retrying = retrying
        self.large = LargeValues(blobs, outage, inline_max_bytes=settings.inline_max_bytes)
        self.endings: Grouping[Ending, bool] = Grouping("endings", self._settle, outage, enough=endings_worth)
        self.journal: Grouping[StepWrite, bool] = Grouping("steps", store.journal, outage)
        self.events: Grouping[Pieces, bool] = Grouping("events", self._emit, outage)

    async def steps(self, job_id: str) -> Sequence[Step]:
        """The journal of a job, however long the store takes."""
        return await self._outage.outlast("journal", lambda: self._store.steps(job_id))

    async def is_ours(self, job: RunningJob) -> bool:
        """Whether the job is still ours, before it does something that costs.

        Known without asking while the lease is good. A process that was stopped for a while asks: another worker may be
        doing the same already. So does one whose claim may be undone by a crash of the store, once: nothing is done for a
        claim that was never there.
        """
        while True:
            asked_at = job.now()
            if (job.is_sure or self._claims_stay) and asked_at - job.renewed_at < self._lease_s:
                return True
            renewed = await self._outage.outlast("renew", lambda: self._store.renew([job.claim], lease_s=self._lease_s))
            if job.claim.token in renewed.lost:
                return False
            # What it answered was so when it was asked: this process may have been stopped until the answer was read.
            job.renewed_at, job.is_sure = max(job.renewed_at, asked_at), True

    async def finish(self, within_s: float) -> None:
        """Wait until all is written, what was said before how it ended; at most so long."""
        until = asyncio.get_running_loop().time() + within_s
        for group in (self.journal, self.events, self.endings):
            await group.finish(max(0.0, until - asyncio.get_running_loop().time()))

    async def _settle(self, endings: list[Ending]) -> Sequence[bool]:
        async with self._turns.turn():
            return await self._store.settle(endings)

    async def _emit(self, buffers: list[Pieces]) -> list[bool]:
        drafts: list[JobEventDraft] = []
        ends = []
        for buffer in buffers:
            drafts += buffer.take()
            ends.append(len(drafts))
        if not drafts:
            return [True] * len(buffers)
        numbers = await self._store.emit(drafts, keep=self._events_max)
        begins = [0, *ends]
        return [all(numbers[begin:end]) for begin, end in zip(begins, ends, strict=False)]
