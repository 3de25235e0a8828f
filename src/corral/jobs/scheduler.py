"""Has jobs come again and again: one in every process that may, and each time fires once all the same."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import StoreUnavailable
from corral.jobs.bell import Bell
from corral.jobs.job import JobDraft, Schedule
from corral.jobs.outage import Outage
from corral.jobs.schedules import RESERVED_PREFIX, check_name, due, from_settings, planned
from corral.jobs.store import ScheduleStore

_log = logging.getLogger("corral.jobs")

_LIMIT = 100
_BROKEN_PAUSE_S = 3600.0
"""A schedule that can no longer be understood is looked at again after this long, so that it stands in nobody's way."""

_BEHIND_PAUSE_S = 0.05
"""Until the next look, when others had fired all that was due."""

MakeDrafts = Callable[[Schedule, float], Sequence[JobDraft]]
"""The jobs of a schedule for one of its times. Raises `CorralError` where the request is none."""


class Scheduler:
    """Fires what is due. Whichever process is first moves the schedule on; the others find it moved."""

    def __init__(
        self,
        store: ScheduleStore,
        make_drafts: MakeDrafts,
        configured: Mapping[str, Mapping[str, Any]],
        *,
        tenant: str = "default",
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
        poll_s: float = 5.0,
    ) -> None:
        """`configured` is the setting `jobs.schedules`, whose jobs are `tenant`'s; `chance` gives numbers from 0 to 1."""
        self._store = store
        self._make_drafts = make_drafts
        self._configured = configured
        self._tenant = tenant
        self._clock = clock
        self._chance = chance
        self._poll_s = poll_s
        self._outage = Outage(chance)
        self._bell = Bell()
        self._draining = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look now: a schedule was saved. Other processes see it at their next look."""
        self._bell.ring()

    async def drain(self) -> None:
        """Fire nothing more; what is being fired is finished first."""
        self._draining = True
        self._bell.ring()
        if self._task is not None and not self._outage:
            await asyncio.wait([self._task])

    async def stop(self) -> None:
        """End now. Calling it again does nothing."""
        self._draining = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._outage.outlast("schedules", self._save_configured)
        except Exception:  # noqa: BLE001 - those that the store has already come all the same
            _log.exception("The schedules of the settings could not be saved.")
        failures = 0
        while not self._draining:
            try:
                pause_s = await self._look()
                failures = 0
                self._outage.over("schedules")
            except StoreUnavailable as error:
                self._outage.began("schedules", error)
                pause_s = self._outage.pause_s(failures)
                failures += 1
            except Exception:  # noqa: BLE001 - a schedule like no other must not end all of them
                _log.exception("Schedules could not be looked at, will try again.")
                pause_s = self._poll_s
            if pause_s > 0:
                await self._bell.wait(pause_s)

    async def _look(self) -> float:
        """Fire what is due; the seconds until the next look."""
        ready, next_s = await self._store.due(limit=_LIMIT)
        # Processes wake at the same moment: each begins elsewhere.
        moved = False
        for schedule in sorted(ready, key=lambda _: self._chance()):
            if self._draining:
                return 0.0
            moved |= await self._fire(schedule)
        if ready:  # some may be due once more; where all were moved by others, so are the next
            return 0.0 if moved else _BEHIND_PAUSE_S
        return self._poll_s if next_s is None else min(self._poll_s, max(next_s, 0.001))

    async def _fire(self, schedule: Schedule) -> bool:
        """Enqueue what is due and move on; False: another process did."""
        now = self._clock.now()
        try:
            found = await asyncio.to_thread(due, schedule, now=now)
        except Exception as error:  # noqa: BLE001 - an expression of an older version, a time zone that is gone
            _log.error("The schedule %s cannot be understood any more: %s", _shown(schedule), error)
            return await self._store.fire(schedule, [], next_at=now + _BROKEN_PAUSE_S)
        if found.left_out:
            _log.warning(
                "The schedule %s missed more times than are made up for at once: %d come now, the others do not.",
                _shown(schedule),
                len(found.times),
            )
        drafts = self._drafts(schedule, found.times)
        try:
            return await self._store.fire(schedule, drafts, next_at=found.next_at)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with these jobs, the schedule goes on
            _log.error("The schedule %s is left out this time: %s", _shown(schedule), error)
            return await self._store.fire(schedule, [], next_at=found.next_at)

    def _drafts(self, schedule: Schedule, times: Sequence[float]) -> list[JobDraft]:
        drafts: list[JobDraft] = []
        tag = f"schedule:{schedule.name}"
        try:
            for at in times:
                for draft in self._make_drafts(schedule, at):
                    drafts.append(msgspec.structs.replace(draft, tags=(*draft.tags, tag)))  # noqa: PERF401 - those before a failure stay
        except Exception as error:  # noqa: BLE001 - the request is a person's; it may hold anything
            _log.error("The schedule %s is left out this time: %s", _shown(schedule), error)
        return drafts

    # -- those in the settings

    async def _save_configured(self) -> None:
        """Have the store hold what the settings say. What stayed the same keeps its next time, and what it missed."""
        known = {s.name: s for s in await self._store.schedules(self._tenant) if s.name.startswith(RESERVED_PREFIX)}
        for name, entry in self._configured.items():
            before = known.pop(RESERVED_PREFIX + name, None)
            try:
                wanted = await self._configured_one(name, entry, before)
                if wanted != before:
                    await self._store.save(wanted)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one that is wrong must not keep the others from coming
                _log.error("The setting jobs.schedules.%s cannot be used: %s", name, error)
        for name in known:
            await self._store.remove(self._tenant, name)

    async def _configured_one(self, name: str, entry: Mapping[str, Any], before: Schedule | None) -> Schedule:
        now = self._clock.now()
        wanted = await planned(self._tenant, RESERVED_PREFIX + check_name(name), from_settings(entry), now=now)
        self._make_drafts(wanted, now)  # a job that cannot be made is told now, not at six in the morning
        if before is None:
            return wanted
        same_times = (before.cron, before.timezone) == (wanted.cron, wanted.timezone)
        next_at = before.next_at if same_times else wanted.next_at
        return msgspec.structs.replace(wanted, next_at=next_at, last_at=before.last_at)


def _shown(schedule: Schedule) -> str:
    return f"{schedule.name} (tenant {schedule.tenant})"
