"""Jobs that come again and again, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.encoding import check_id, encode, findable
from corral.backends.postgres.job_columns import columns_of
from corral.backends.postgres.jobs import refused_of
from corral.backends.queries import read_queries
from corral.clock import new_id
from corral.jobs.job import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.jobs.job import JobDraft

_SQL = read_queries(Path(__file__).with_name("schedules.sql"))


class _Rule(msgspec.Struct, frozen=True):
    """What the database need not understand of a schedule."""

    cron: str
    timezone: str
    catch_up: Any
    job: dict[str, Any]


_rule = msgspec.json.Decoder(_Rule)


class PostgresSchedules:
    """One row per schedule; firing one is an update under the condition that nobody did."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def save(self, schedule: Schedule) -> None:
        """Create, or replace."""
        check_id("tenant", schedule.tenant)
        check_id("name", schedule.name)
        when = (schedule.paused, schedule.next_at, schedule.last_at)
        await self._engine.fetch(_SQL["save"], schedule.tenant, schedule.name, *when, _rule_of(schedule))
        self._engine.jobs.worked()

    async def remove(self, tenant: str, name: str) -> bool:
        """Remove."""
        if not findable(tenant, name):
            return False
        return await self._engine.fetch_one(_SQL["remove"], tenant, name) is not None

    async def schedules(self, tenant: str) -> list[Schedule]:
        """All of a tenant."""
        if not findable(tenant):
            return []
        return [_schedule(row) for row in await self._engine.fetch(_SQL["schedules"], tenant)]

    async def due(self, *, limit: int = 100) -> tuple[list[Schedule], float | None]:
        """Those whose time has come."""
        due = [_schedule(row) for row in await self._engine.fetch(_SQL["due"], limit)]
        if len(due) == limit:
            return due, 0.0
        (next_s,) = await self._engine.fetch_one(_SQL["next_due"])
        return due, None if next_s is None else max(0.0, next_s)

    async def fire(self, schedule: Schedule, drafts: Sequence[JobDraft], *, next_at: float | None) -> bool:
        """Enqueue and move on."""
        was = (schedule.tenant, schedule.name, schedule.next_at, _rule_of(schedule))
        (outcome,) = await self._engine.fetch_one(_SQL["fire"], *was, next_at, new_id(), *columns_of(drafts))
        if outcome not in {"fired", "moved"}:
            raise refused_of(outcome)
        if outcome == "fired" and drafts:
            self._engine.jobs.worked()
        return bool(outcome == "fired")


def _rule_of(schedule: Schedule) -> bytes:
    return encode(_Rule(schedule.cron, schedule.timezone, schedule.catch_up, schedule.job), "A schedule")


def _schedule(row: Sequence[Any]) -> Schedule:
    tenant, name, paused, next_at, last_at, body = row
    rule = _rule.decode(body)
    return Schedule(
        tenant=tenant,
        name=name,
        cron=rule.cron,
        timezone=rule.timezone,
        catch_up=rule.catch_up,
        paused=paused,
        job=rule.job,
        next_at=next_at,
        last_at=last_at,
    )
