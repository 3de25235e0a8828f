"""Runs of distributed Maps, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.encoding import findable
from corral.backends.map_run_rows import check_run, child_of, new_row, run_of, words
from corral.backends.queries import read_queries
from corral.workflows.map_run_store import Child, Taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.workflows.map_run_store import ChildOutcome, ChildState, MapRun, MapRunStatus, Phase

_SQL = read_queries(Path(__file__).with_name("map_runs.sql"))

_ENDS = ("succeeded", "failed", "timed_out", "aborted")


class SqliteMapRuns:
    """One row per map run, and one per child that has begun."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, run: MapRun) -> MapRun:
        """Keep a new map run."""
        check_run(run)

        def write(transaction: Transaction) -> MapRun:
            if transaction.execute(_SQL["begin"], new_row(run)).rowcount:
                transaction.execute(_SQL["keep_work"], (run.tenant, run.id, run.work))
            return _sure(_get(transaction, run.tenant, run.id))

        return await self._engine.write(write)

    async def get(self, tenant: str, run_id: str) -> MapRun | None:
        """One map run."""
        if not findable(tenant, run_id):
            return None
        return await self._engine.read(lambda view: _get(view, tenant, run_id))

    async def of_execution(self, tenant: str, execution_id: str) -> list[MapRun]:
        """The map runs of an execution."""
        if not findable(tenant, execution_id):
            return []
        bound = (tenant, execution_id)
        rows = await self._engine.read(lambda view: view.execute(_SQL["of_execution"], bound).fetchall())
        return [run_of(row) for row in rows]

    async def hold(
        self, tenant: str, run_id: str, *, phase: Phase, token: str, now: float, until: float
    ) -> MapRun | None:
        """Take a map run for a while."""
        bound = {"tenant": tenant, "id": run_id, "phase": phase, "token": token, "now": now, "until": until}
        return await self._changed("hold", bound)

    async def filled(
        self, tenant: str, run_id: str, *, token: str, total: int, items: int, look_at: float
    ) -> MapRun | None:
        """The items are read."""
        bound = {"tenant": tenant, "id": run_id, "token": token, "total": total, "items": items, "look_at": look_at}
        return await self._changed("filled", bound)

    async def take(self, tenant: str, run_id: str, *, limit: int, now: float, look_at: float) -> Taken | None:
        """Have the next children begin."""

        def write(transaction: Transaction) -> Taken | None:
            run = _get(transaction, tenant, run_id)
            if run is None:
                return None
            room = min(limit, run.startable)
            if room == 0:
                return Taken(run, [])
            begun: list[Child] = []
            for row in transaction.execute(_SQL["again"], (tenant, run_id, min(room, run.again))).fetchall():
                one = child_of(row)
                transaction.execute(_SQL["begin_again"], (tenant, run_id, one.index, now))
                begun.append(Child(index=one.index, state="running", attempt=one.attempt + 1, changed_at=now))
            again = len(begun)
            first = run.next_index
            for index in range(first, first + min(room - again, run.total - first)):
                transaction.execute(_SQL["begin_new"], (tenant, run_id, index, now))
                begun.append(Child(index=index, state="running", changed_at=now))
            bound = {"tenant": tenant, "id": run_id, "again": again, "new": len(begun) - again, "look_at": look_at}
            transaction.execute(_SQL["took"], bound)
            return Taken(_sure(_get(transaction, tenant, run_id)), begun)

        return await self._engine.write(write)

    async def settle(self, tenant: str, run_id: str, outcomes: Sequence[ChildOutcome], *, now: float) -> MapRun | None:
        """Count children that ended."""

        def write(transaction: Transaction) -> MapRun | None:
            counted = dict.fromkeys([*_ENDS, *(f"items_{name}" for name in _ENDS), "ended"], 0)
            for one in outcomes:
                bound = {"tenant": tenant, "id": run_id, "number": one.index, "state": one.state, "now": now}
                bound |= {"items": one.items, "record": one.record}
                if transaction.execute(_SQL["settle"], bound).rowcount:
                    counted["ended"] += 1
                    counted[one.state] += 1
                    counted[f"items_{one.state}"] += one.items
            if counted["ended"]:
                transaction.execute(_SQL["settled"], {**counted, "tenant": tenant, "id": run_id})
            return _get(transaction, tenant, run_id)

        return await self._engine.write(write)

    async def children(
        self, tenant: str, run_id: str, *, states: Sequence[ChildState] = (), after: int = -1, limit: int = 500
    ) -> list[Child]:
        """Children that began."""
        wanted = f" {' '.join(states)} " if states else None
        bound = {"tenant": tenant, "id": run_id, "after": after, "states": wanted, "limit": limit}
        rows = await self._engine.read(lambda view: view.execute(_SQL["children"], bound).fetchall())
        return [child_of(row) for row in rows]

    async def end(
        self, tenant: str, run_id: str, *, status: MapRunStatus, error: str = "", cause: str = "", now: float
    ) -> MapRun | None:
        """Settle how it ends."""
        bound = {
            "tenant": tenant,
            "id": run_id,
            "status": status,
            "error": words(error),
            "cause": words(cause),
            "now": now,
        }

        def write(transaction: Transaction) -> MapRun | None:
            transaction.execute(_SQL["end"], bound)
            return _get(transaction, tenant, run_id)

        return await self._engine.write(write)

    async def over(
        self, tenant: str, run_id: str, *, error: str = "", cause: str = "", status: MapRunStatus, now: float
    ) -> None:
        """Its end is done with."""
        await self._changed(
            "over",
            {
                "tenant": tenant,
                "id": run_id,
                "error": words(error),
                "cause": words(cause),
                "status": status,
                "now": now,
            },
        )

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
        bound = {
            "tenant": tenant,
            "id": run_id,
            "max_concurrency": max_concurrency,
            "tolerated_count": tolerated_count,
            "tolerated_percentage": tolerated_percentage,
        }
        return await self._changed("update", bound)

    async def redrive(self, tenant: str, run_id: str, *, now: float) -> MapRun | None:
        """Have what did not succeed run again."""

        def write(transaction: Transaction) -> MapRun | None:
            run = _get(transaction, tenant, run_id)
            if run is None or run.phase != "over" or run.status == "SUCCEEDED":
                return None
            again = transaction.execute(_SQL["fail_forgotten"], (tenant, run_id, now)).rowcount
            transaction.execute(_SQL["redrive"], {"tenant": tenant, "id": run_id, "again": again, "now": now})
            return _get(transaction, tenant, run_id)

        return await self._engine.write(write)

    async def due(self, *, now: float, limit: int, hold_s: float) -> tuple[list[tuple[str, str]], float | None]:
        """Map runs somebody has to look at."""

        def write(transaction: Transaction) -> tuple[list[tuple[str, str]], float | None]:
            found = [(tenant, run_id) for tenant, run_id in transaction.execute(_SQL["due"], (now, limit)).fetchall()]
            for tenant, run_id in found:
                transaction.execute(_SQL["looked"], (tenant, run_id, now + hold_s))
            return found, transaction.execute(_SQL["next_due"]).fetchone()[0]

        return await self._engine.write(write)

    async def stale(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """Map runs that were over before that time."""
        rows = await self._engine.read(lambda view: view.execute(_SQL["stale"], (before, limit)).fetchall())
        return [(tenant, run_id) for tenant, run_id in rows]

    async def remove(self, tenant: str, run_id: str) -> None:
        """Remove a map run."""

        def write(transaction: Transaction) -> None:
            transaction.execute(_SQL["remove"], (tenant, run_id))

        await self._engine.write(write)

    async def _changed(self, query: str, bound: dict[str, Any]) -> MapRun | None:
        def write(transaction: Transaction) -> MapRun | None:
            changed = transaction.execute(_SQL[query], bound).rowcount
            return _get(transaction, bound["tenant"], bound["id"]) if changed else None

        return await self._engine.write(write)


def _get(view: View | Transaction, tenant: str, run_id: str) -> MapRun | None:
    row = view.execute(_SQL["get"], (tenant, run_id)).fetchone()
    return None if row is None else run_of(row)


def _sure(run: MapRun | None) -> MapRun:
    assert run is not None  # noqa: S101 - written in the same transaction
    return run
