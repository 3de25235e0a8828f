"""Ending a map run: children are stopped, results are written, and the parent is told. Done again after a crash, with the same end."""

from __future__ import annotations

import asyncio
from typing import Any

from corral.workflows.distributed import results
from corral.workflows.distributed.beginning import stop_child
from corral.workflows.distributed.filling import HOLD_S
from corral.workflows.distributed.place import Errand, Place, errand_of
from corral.workflows.failing import StateFailed
from corral.workflows.machine.happening import MapRunEnded
from corral.workflows.map_run_store import MapRun, MapRunStatus
from corral.workflows.store import ExecutionNotFound

_PAGE = 100
_AT_ONCE = 16

EXCEEDED = "The specified tolerated failure threshold was exceeded"


async def finish(place: Place, run: MapRun) -> None:
    """Do all that is left to do, if nobody else does."""
    token = place.new_token()
    now = place.now()
    held = await place.store.hold(run.tenant, run.id, phase="ending", token=token, now=now, until=now + HOLD_S)
    if held is None:
        return
    errand = errand_of(held)
    await _stop_children(place, held, errand, token)
    status, error, cause, result = held.status, held.error, held.cause, None
    if status != "ABORTED":
        try:
            result = await _result(place, held, errand)
        except StateFailed as failure:
            if status == "SUCCEEDED":
                status, error, cause = "FAILED", failure.error, failure.cause or ""
        await _tell(place, errand, status, error, cause, result)
    await place.store.over(run.tenant, run.id, error=error, cause=cause, status=status, now=place.now())


async def _stop_children(place: Place, run: MapRun, errand: Errand, token: str) -> None:
    """Whatever runs is stopped; what ends by itself meanwhile has ended so."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(child: Any) -> Any:
        async with gate:
            return await stop_child(place, run, errand, child)

    while page := await place.store.children(run.tenant, run.id, states=("running",), limit=_PAGE):
        outcomes = await asyncio.gather(*(one(child) for child in page))
        await place.store.settle(run.tenant, run.id, outcomes, now=place.now())
        now = place.now()
        await place.store.hold(run.tenant, run.id, phase="ending", token=token, now=now, until=now + HOLD_S)


async def _result(place: Place, run: MapRun, errand: Errand) -> Any:
    """The state's result. Raises `StateFailed`."""
    writer = errand.plan.writer
    if writer is not None and writer.resource:
        known = await place.store.get(run.tenant, run.id)
        return await results.exported(place, known or run, errand)
    return await results.inline(place, run, errand) if run.status == "SUCCEEDED" else None


async def _tell(place: Place, errand: Errand, status: MapRunStatus, error: str, cause: str, result: Any) -> None:
    order, facts = errand.order, errand.work.facts
    failed = status != "SUCCEEDED"
    news = MapRunEnded(
        frame=order.frame,
        arn=order.arn,
        result=None if failed else result,
        error=error if failed else "",
        cause=cause if failed else "",
    )
    try:
        await place.host.tell(facts.tenant, facts.id, news)
    except ExecutionNotFound:
        return  # it was removed, and nobody waits
