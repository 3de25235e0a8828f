"""What people ask of map runs: how far one is, which ones there are, and that one goes on differently."""

from __future__ import annotations

import msgspec

from corral.errors import ValidationFailed
from corral.workflows.distributed.faults import ItemsFailed
from corral.workflows.distributed.place import Place, errand_of, run_id_of
from corral.workflows.map_run_store import Counts, MapRun, MapRunNotFound, MapRunOver, MapRunStatus

_WHOLE = 100.0


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many children, or items, stand how."""

    pending: int
    running: int
    succeeded: int
    failed: int
    timed_out: int
    aborted: int
    total: int
    results_written: int
    not_redrivable: int = 0
    pending_redrive: int = 0


class MapRunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A map run as people see it."""

    arn: str
    execution_arn: str
    machine_arn: str
    """Of the children: the parent's, and the label."""
    status: MapRunStatus
    started_at: float
    stopped_at: float | None
    max_concurrency: int
    """0: as many as the house allows."""
    tolerated_count: int
    tolerated_percentage: float
    items: Tally
    children: Tally
    redrives: int
    redriven_at: float | None


async def forget(place: Place, *, before: float, limit: int = 100) -> int:
    """Remove map runs that were over before that time, with the inputs of their children; how many."""
    stale = await place.store.stale(before=before, limit=limit)
    for tenant, run_id in stale:
        await place.keep.delete(tenant, f"maprun/{run_id}/")
        await place.store.remove(tenant, run_id)
    return len(stale)


class MapRunDesk:
    """For the APIs. Everything is a tenant's own."""

    def __init__(self, place: Place) -> None:
        """The same place that map runs are kept in."""
        self._place = place

    async def describe(self, tenant: str, arn: str) -> MapRunInfo:
        """One map run. Raises `MapRunNotFound`."""
        run = await self._known(tenant, arn)
        return self._info(run, await self._items(run))

    async def of_execution(self, tenant: str, execution_id: str) -> list[MapRunInfo]:
        """The map runs of an execution, newest first; without knowing how many items run and wait."""
        listed = await self._place.store.of_execution(tenant, execution_id)
        found = [await self._place.store.get(tenant, run.id) for run in reversed(listed)]
        return [self._info(run, run.next_index) for run in found if run is not None]

    async def update(
        self,
        tenant: str,
        arn: str,
        *,
        max_concurrency: int | None = None,
        tolerated_count: int | None = None,
        tolerated_percentage: float | None = None,
    ) -> None:
        """Change what is given. Raises `MapRunNotFound`, `MapRunOver`, and `ValidationFailed`."""
        for name, value in (("maxConcurrency", max_concurrency), ("toleratedFailureCount", tolerated_count)):
            if value is not None and value < 0:
                raise ValidationFailed(f"{name} must be zero or more.")
        if tolerated_percentage is not None and not 0 <= tolerated_percentage <= _WHOLE:
            raise ValidationFailed("toleratedFailurePercentage must be between 0 and 100.")
        run = await self._known(tenant, arn)
        most = self._place.settings.map_concurrency_max
        changed = await self._place.store.update(
            tenant,
            run.id,
            max_concurrency=None if max_concurrency is None else min(max_concurrency or most, most),
            tolerated_count=tolerated_count,
            tolerated_percentage=tolerated_percentage,
        )
        if changed is None:
            raise MapRunOver

    async def _known(self, tenant: str, arn: str) -> MapRun:
        run = await self._place.store.get(tenant, run_id_of(arn))
        if run is None or run.arn != arn:
            raise MapRunNotFound(f"Resource not found: '{arn}'")
        return run

    async def _items(self, run: MapRun) -> int:
        """How many items the children have that began."""
        try:
            return await self._place.chunks(run).items_before(run.next_index)
        except ItemsFailed:
            return run.next_index

    def _info(self, run: MapRun, begun_items: int) -> MapRunInfo:
        errand = errand_of(run)
        plan, facts = errand.plan, errand.work.facts
        is_over = run.status != "RUNNING"
        written = run.phase == "over" and plan.writer is not None and bool(plan.writer.resource)
        running_items = max(0, begun_items - run.items.ended - run.again) if not is_over else 0
        return MapRunInfo(
            arn=run.arn,
            execution_arn=facts.arn,
            machine_arn=errand.machine_arn,
            status=run.status,
            started_at=run.started_at,
            stopped_at=run.stopped_at,
            max_concurrency=run.max_concurrency
            if run.max_concurrency < self._place.settings.map_concurrency_max
            else 0,
            tolerated_count=run.tolerated_count or 0,
            tolerated_percentage=run.tolerated_percentage or 0.0,
            items=_tally(run.items, run.items_total, running_items, written=written, again=run.again),
            children=_tally(run.children, run.total, run.running, written=written, again=run.again),
            redrives=run.redrives,
            redriven_at=run.redriven_at,
        )


def _tally(counts: Counts, total: int, running: int, *, written: bool, again: int) -> Tally:
    return Tally(
        pending=max(0, total - counts.ended - running - again),
        running=running,
        succeeded=counts.succeeded,
        failed=counts.failed,
        timed_out=counts.timed_out,
        aborted=counts.aborted,
        total=total,
        results_written=counts.ended if written else 0,
        pending_redrive=again,
    )


__all__ = ["MapRunDesk", "MapRunInfo", "Tally"]
