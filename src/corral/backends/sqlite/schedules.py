"""Jobs that come again and again, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.cursor import check_limit
from corral.backends.encoding import check_id, decode, encode, findable
from corral.backends.queries import read_queries
from corral.backends.sqlite.job_drafts import draft_rows
from corral.backends.sqlite.job_enqueuing import enqueue
from corral.jobs.job import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import JobDraft

_SQL = read_queries(Path(__file__).with_name("schedules.sql"))


class SqliteSchedules:
    """One row per tenant and name. Firing compares the row with what was read, and moves it on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def save(self, schedule: Schedule) -> None:
        """Create or replace."""
        check_id("tenant", schedule.tenant)
        check_id("schedule's name", schedule.name)
        check_id("cron expression", schedule.cron)
        check_id("time zone", schedule.timezone)
        row = _row(schedule)

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["save"], row)

        await self._engine.write(run)

    async def remove(self, tenant: str, name: str) -> bool:
        """Remove."""
        if not findable(tenant, name):
            return False
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["remove"], (tenant, name)).rowcount > 0
        )

    async def schedules(self, tenant: str) -> list[Schedule]:
        """List."""
        if not findable(tenant):
            return []
        rows = await self._engine.read(lambda view: view.execute(_SQL["list"], (tenant,)).fetchall())
        return [_schedule(row) for row in rows]

    async def due(self, *, limit: int = 100) -> tuple[list[Schedule], float | None]:
        """What is due."""
        check_limit(limit)

        def run(view: View) -> tuple[list[tuple[Any, ...]], float | None]:
            rows = view.execute(_SQL["due"], (view.now, limit)).fetchall()
            following = view.execute(_SQL["next"], (view.now,)).fetchone()
            return rows, None if following is None else following[0] - view.now

        rows, next_s = await self._engine.read(run)
        return [_schedule(row) for row in rows], next_s

    async def fire(self, schedule: Schedule, drafts: Sequence[JobDraft], *, next_at: float | None) -> bool:
        """Enqueue and move on."""
        if not findable(schedule.tenant, schedule.name, schedule.cron, schedule.timezone):
            return False
        rows = draft_rows(drafts)
        known = _row(schedule)

        def run(transaction: Transaction) -> bool:
            if transaction.execute(_SQL["is_unchanged"], known).fetchone() is None:
                return False
            if rows:
                enqueue(transaction, rows)
            transaction.execute(_SQL["move_on"], (next_at, schedule.tenant, schedule.name))
            return True

        return await self._engine.write(run)


def _row(schedule: Schedule) -> tuple[Any, ...]:
    return (
        schedule.tenant,
        schedule.name,
        schedule.cron,
        schedule.timezone,
        schedule.catch_up,
        schedule.paused,
        schedule.next_at,
        schedule.last_at,
        encode(schedule.job, "The request"),
    )


def _schedule(row: Sequence[Any]) -> Schedule:
    tenant, name, cron, timezone, catch_up, paused, next_at, last_at, job = row
    return Schedule(
        tenant=tenant,
        name=name,
        cron=cron,
        timezone=timezone,
        catch_up=catch_up,
        paused=bool(paused),
        job=decode(job),
        next_at=next_at,
        last_at=last_at,
    )
