"""Fetches work: woken, never in a hurry, and in batches as large as there is room."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from corral.clock import SYSTEM_CLOCK, Clock
from corral.jobs.bell import Bell

if TYPE_CHECKING:
    from corral.jobs.company import Company
    from corral.jobs.job import Claimed, ClaimedJob
    from corral.jobs.outage import Outage
    from corral.jobs.store import JobStore, StandingClaim
    from corral.jobs.turns import Turns
    from corral.settings.sections import JobSettings

_GATHER_S = 0.005
"""With a backlog and few free slots, wait so long for more of them: one claim of many costs what one of few does.

Who comes anew waits for less: until it is so long ago that somebody claimed.
"""
_STANDS_S = 0.05
"""So long a claim stands beside a crowd until it is looked whether there still is room for what it brings."""
_BESIDE = 4
"""So many are claimed beside what is under way when somebody comes anew: a few, so that they are there at once."""


class Claimer:
    """One call to the store at a time, as long as there may be work and there is room for it.

    And a small one beside it for who comes anew meanwhile: it shall not wait for what the claim of a crowd takes.
    """

    def __init__(  # noqa: PLR0913 - what a worker has for it; all but three by name
        self,
        store: JobStore,
        settings: JobSettings,
        outage: Outage,
        *,
        worker: str,
        free: Callable[[], int],
        enough: Callable[[], int],
        take: Callable[[Sequence[ClaimedJob], float], None],
        turns: Turns,
        company: Company,
        may_exceed: Callable[[], bool] = lambda: False,
        exclude: Callable[[], Sequence[str]] = tuple,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`free` says for how many jobs there is room, and `enough` how much of it is worth a claim.

        `may_exceed` says whether a few more than that will begin in a moment. `take` gets those that were claimed, at once, even
        while draining. It is also told when they were asked for, on the monotonic clock: since then this process may have been
        stopped, and their leases be over.
        """
        self._store = store
        self._settings = settings
        self._outage = outage
        self._worker = worker
        self._free = free
        self._take = take
        self._turns = turns
        self._company = company
        self._may_exceed = may_exceed
        self._exclude = exclude
        self._now = clock.monotonic
        self._asked_at = 0.0
        """When what is being claimed was asked for."""
        self._chance = chance
        self._enough = enough
        self._wanted = 1
        """So much room ends the wait for it."""
        self._bell = Bell()
        self._may_find = True
        self._has_come = False
        """Whether there is work that was not there at the last claim, as far as anybody said."""
        self._claimed_at = 0.0
        self._is_idle = False
        self._beside: asyncio.Task[None] | None = None
        self._stood: StandingClaim | None = None
        """A claim that waits beside the crowd for who comes anew, until its answer is here."""
        self.stands_by = False
        """Whether the engine can claim who comes in the transaction that enqueues it."""
        self._outside = contextvars.copy_context()
        """Where what is claimed beside begins: we are woken in the context of whoever enqueued, and runs shall find nothing of it."""
        self._comes_again = False
        """Whether somebody came since the last claim beside."""
        self._crowd_waits = False
        """Whether a claim of many waits for the one beside: newcomers without end would keep it from its turn."""
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to claim. Calling it again does nothing."""
        if self._task is None:
            self._unwatch = self._store.watch_work(self._woken)
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> None:
        """Claim no more; what is being claimed is still taken. Calling it again does nothing."""
        self._draining = True
        self._bell.ring()
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        tasks = [task for task in (self._task, self._beside) if task is not None]
        if tasks:
            await asyncio.wait(tasks)
        self._stand_beside()
        if self._stood is not None:
            await asyncio.wait([self._stood.claimed])

    def made_room(self) -> None:
        """A slot got free."""
        if self._may_find and self._free() >= self._wanted:
            self._bell.ring()

    def _woken(self) -> None:
        self._may_find = self._comes_again = True
        if self._beside is None and self._stood is None and not self._is_idle and self._may_claim_beside():
            self._beside = asyncio.get_running_loop().create_task(self._claim_beside(), context=self._outside)
        else:
            self._has_come = True
            self._bell.ring()

    def _may_claim_beside(self) -> bool:
        return not self._draining and self._company.may_hide and self._may_exceed()

    async def _claim_beside(self) -> None:
        """A few, first of all who comes anew: whose turn it is among those that are not being claimed already."""
        try:
            while self._comes_again and not self._crowd_waits and self._may_claim_beside():
                self._comes_again = False
                asked_at = self._now()
                claimed = await self._claim(_BESIDE)
                self._company.met_beside(claimed.jobs)
                self._take(claimed.jobs, asked_at)
        except Exception as error:  # noqa: BLE001 - whatever ails the store, the claims that follow deal with it
            self._outage.began("claim", error)
        finally:
            self._beside = None
            self._has_come = True
            self._bell.ring()

    def _stand_beside(self) -> None:
        """Where the engine can, have who comes beside a crowd claimed in the transaction that enqueues it: no longer, or anew."""
        if self._stood is not None and not self._stood.withdraw():
            return
        self._stood = None
        if not self._may_claim_beside():
            return
        asked_at = self._now()
        stood = self._stand_by(_BESIDE)
        if stood is not None:
            self._stood = stood
            stood.claimed.add_done_callback(lambda claimed: self._came_beside(claimed, asked_at), context=self._outside)

    def _came_beside(self, claimed: asyncio.Future[Claimed], asked_at: float) -> None:
        self._stood = None
        error = claimed.exception()
        if error is not None:
            self._outage.began("claim", error)
            return
        jobs = claimed.result().jobs
        self._company.met_beside(jobs, as_they_came=True)
        self._take(jobs, asked_at)
        self._stand_beside()

    async def _run(self) -> None:
        failures = 0
        while not self._draining:
            free = self._free()
            if free <= 0:
                self._may_find = True  # nobody looks meanwhile: not even for what becomes due
                self._stand_beside()
                await self._bell.wait(None if self._stood is None else _STANDS_S)
                continue
            if free < self._enough():
                await self._gather()
                free = self._free()
                if free <= 0 or self._draining:
                    continue
            try:
                async with self._turns.turn():
                    claimed = await self._claim_many()
            except Exception as error:  # noqa: BLE001 - whatever ails the store, the next attempt may succeed
                self._outage.began("claim", error)
                self._may_find = True
                await self._sleep(self._outage.pause_s(failures))
                failures += 1
                continue
            self._outage.over("claim")
            failures = 0
            if claimed is not None:
                await self._work_off(*claimed)

    async def _claim_many(self) -> tuple[Claimed, int] | None:
        """All that there is room for, and how much that was; those first who are being claimed beside."""
        if self._beside is not None:
            self._crowd_waits = True
            try:
                await asyncio.wait([self._beside])
            finally:
                self._crowd_waits = False
        free = self._free()
        if free <= 0 or self._draining:
            return None
        self._may_find = self._has_come = False
        self._claimed_at = asyncio.get_running_loop().time()
        self._asked_at = self._now()
        claimed = await self._claim(free)
        self._company.met(claimed.jobs, is_crowded=len(claimed.jobs) >= free)
        self._stand_beside()
        return claimed, free

    async def _claim(self, limit: int) -> Claimed:
        settings = self._settings
        return await self._store.claim(
            self._worker, queues=settings.queues, limit=limit, lease_s=settings.lease_s, exclude=self._exclude()
        )

    def _stand_by(self, limit: int) -> StandingClaim | None:
        settings = self._settings
        standing = self._store.stand_by(
            self._worker, queues=settings.queues, limit=limit, lease_s=settings.lease_s, exclude=self._exclude()
        )
        self.stands_by = standing is not None
        return standing

    async def _work_off(self, claimed: Claimed, limit: int) -> None:
        """Take what was claimed, and all that a standing claim brings, until there is a reason to look again."""
        while True:
            self._take(claimed.jobs, self._asked_at)
            if len(claimed.jobs) >= limit:
                self._may_find = True
            if self._may_find or self._draining:
                return
            self._is_idle = True
            try:
                came = await self._idle(claimed.next_due_s)
            finally:
                self._is_idle = False
            if came is None:
                return
            claimed, limit = came

    async def _gather(self) -> None:
        """Wait a little for more room, however it comes."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        self._wanted = self._enough()
        while not self._draining and self._free() < self._wanted:
            since = self._claimed_at if self._has_come else began_at
            rest = since + _GATHER_S - loop.time()
            if rest <= 0:
                break
            await self._bell.wait(rest)
        self._wanted = 1

    async def _idle(self, next_due_s: float | None) -> tuple[Claimed, int] | None:
        """Wait until there may be work: woken, or something is due, or it is time to look whether a wake-up was lost.

        Where the engine can, work that comes through this process is claimed as it comes: that, and how much it could have been.
        """
        pause_s = self._settings.poll_s * (0.75 + self._chance() / 4)
        if next_due_s is not None:
            pause_s = min(pause_s, max(0.0, next_due_s))
        free = self._free()
        standing = None
        if free > 0:
            self._asked_at = self._now()
            standing = self._stand_by(free)
        if standing is None:
            await self._bell.wait(pause_s)
            return None
        standing.claimed.add_done_callback(lambda _: self._bell.ring())
        try:
            await self._bell.wait(pause_s)
        finally:
            is_over = not standing.withdraw()
        if not is_over:
            return None
        try:
            return await standing.claimed, free
        except Exception as error:  # noqa: BLE001 - as where it claims without waiting, which it does next
            self._outage.began("claim", error)
            self._may_find = True
            return None

    async def _sleep(self, seconds: float) -> None:
        """Wait out a failure: nothing but the end cuts it short."""
        until = asyncio.get_running_loop().time() + seconds
        while not self._draining and (rest := until - asyncio.get_running_loop().time()) > 0:
            await self._bell.wait(rest)
