"""Runs of distributed Maps, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import findable
from corral.backends.map_run_rows import check_run, child_of, new_row, run_of, words
from corral.backends.queries import read_queries
from corral.workflows.map_run_store import Child, Taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine
    from corral.workflows.map_run_store import ChildOutcome, ChildState, MapRun, MapRunStatus, Phase

_SQL = read_queries(Path(__file__).with_name("map_runs.sql"))


class PostgresMapRuns:
    """One row per map run, and one per child that has begun; what is decided under a lock holds the map run's row."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, run: MapRun) -> MapRun:
        """Keep a new map run."""
        check_run(run)
        await self._engine.fetch(_SQL["begin"], *new_row(run), run.work)
        kept = await self.get(run.tenant, run.id)
        assert kept is not None  # noqa: S101 - written before, and removed only after it is over for long
        return kept

    async def get(self, tenant: str, run_id: str) -> MapRun | None:
        """One map run."""
        if not findable(tenant, run_id):
            return None
        row = await self._engine.fetch_one(_SQL["get"], tenant, run_id)
        return None if row is None else run_of(row)

    async def of_execution(self, tenant: str, execution_id: str) -> list[MapRun]:
        """The map runs of an execution."""
        if not findable(tenant, execution_id):
            return []
        return [run_of(row) for row in await self._engine.fetch(_SQL["of_execution"], tenant, execution_id)]

    async def hold(
        self, tenant: str, run_id: str, *, phase: Phase, token: str, now: float, until: float
    ) -> MapRun | None:
        """Take a map run for a while."""
        row = await self._engine.fetch_one(_SQL["hold"], tenant, run_id, phase, token, now, until)
        return None if row is None else await self.get(tenant, run_id)

    async def filled(
        self, tenant: str, run_id: str, *, token: str, total: int, items: int, look_at: float
    ) -> MapRun | None:
        """The items are read."""
        row = await self._engine.fetch_one(_SQL["filled"], tenant, run_id, token, total, items, look_at, again=False)
        return None if row is None else await self.get(tenant, run_id)

    async def take(self, tenant: str, run_id: str, *, limit: int, now: float, look_at: float) -> Taken | None:
        """Have the next children begin."""
        rows = await self._engine.fetch(_SQL["take"], tenant, run_id, limit, now, look_at, again=False)
        run = await self.get(tenant, run_id)
        if run is None:
            return None
        begun = [Child(index=index, state="running", attempt=attempt, changed_at=now) for index, attempt in rows]
        return Taken(run, begun)

    async def settle(self, tenant: str, run_id: str, outcomes: Sequence[ChildOutcome], *, now: float) -> MapRun | None:
        """Count children that ended."""
        await self._engine.fetch(
            _SQL["settle"],
            tenant,
            run_id,
            [one.index for one in outcomes],
            [one.state for one in outcomes],
            [one.items for one in outcomes],
            [one.record for one in outcomes],
            now,
        )
        return await self.get(tenant, run_id)

    async def children(
        self, tenant: str, run_id: str, *, states: Sequence[ChildState] = (), after: int = -1, limit: int = 500
    ) -> list[Child]:
        """Children that began."""
        rows = await self._engine.fetch(_SQL["children"], tenant, run_id, after, list(states) or None, limit)
        return [child_of(row) for row in rows]

    async def end(
        self, tenant: str, run_id: str, *, status: MapRunStatus, error: str = "", cause: str = "", now: float
    ) -> MapRun | None:
        """Settle how it ends."""
        await self._engine.fetch(_SQL["end"], tenant, run_id, status, words(error), words(cause), now)
        return await self.get(tenant, run_id)

    async def over(
        self, tenant: str, run_id: str, *, error: str = "", cause: str = "", status: MapRunStatus, now: float
    ) -> None:
        """Its end is done with."""
        await self._engine.fetch(_SQL["over"], tenant, run_id, status, words(error), words(cause), now)

    async def update(
        self,
        tenant: str,
        run_id: str,
        *,
        max_concurrency: int | None = None,
        tolerated_count: int | None = None,
        tolerated_percentage: float | None = None,
    ) -> MapRun | None:
        """Change how a map run goes on."""
        row = await self._engine.fetch_one(
            _SQL["update"], tenant, run_id, max_concurrency, tolerated_count, tolerated_percentage
        )
        return None if row is None else await self.get(tenant, run_id)

    async def redrive(self, tenant: str, run_id: str, *, now: float) -> MapRun | None:
        """Have what did not succeed run again."""
        (goes_on,) = await self._engine.fetch_one(_SQL["redrive"], tenant, run_id, now, again=False)
        return await self.get(tenant, run_id) if goes_on else None

    async def due(self, *, now: float, limit: int, hold_s: float) -> tuple[list[tuple[str, str]], float | None]:
        """Map runs somebody has to look at."""
        rows = await self._engine.fetch(_SQL["due"], now, limit, now + hold_s)
        (next_at,) = await self._engine.fetch_one(_SQL["next_due"])
        return [(tenant, run_id) for tenant, run_id in rows], next_at

    async def stale(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """Map runs that were over before that time."""
        return [(tenant, run_id) for tenant, run_id in await self._engine.fetch(_SQL["stale"], before, limit)]

    async def remove(self, tenant: str, run_id: str) -> None:
        """Remove a map run."""
        await self._engine.fetch(_SQL["remove"], tenant, run_id)
