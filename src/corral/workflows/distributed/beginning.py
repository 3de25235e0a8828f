"""Beginning children: those whose turn has come, each once however often it is tried."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from corral.workflows.distributed.children import ChildInput, Chunks
from corral.workflows.distributed.faults import ItemsFailed
from corral.workflows.distributed.place import Errand, Place, child_name, child_request
from corral.workflows.distributed.results import Record, aborted, outcome_of
from corral.workflows.execution import ExecutionInfo
from corral.workflows.failing import RUNTIME
from corral.workflows.map_run_store import Child, ChildOutcome, MapRun
from corral.workflows.store import ExecutionExists, ExecutionNotFound, NotRedrivable

AT_ONCE = 16
"""Children that begin at the same moment in one process."""

Settled = Callable[[MapRun, Sequence[ChildOutcome]], Awaitable[None]]


def child_arn(errand: Errand, run: MapRun, index: int) -> str:
    """The ARN of a standard child."""
    return f"{errand.machine_arn.replace(':stateMachine:', ':execution:', 1)}:{child_name(run.id, index)}"


async def begin_all(place: Place, run: MapRun, errand: Errand, children: Sequence[Child]) -> list[ChildOutcome]:
    """Begin standard children; the ends of those that have ended already."""
    gate = asyncio.Semaphore(AT_ONCE)
    chunks = place.chunks(run)

    async def one(child: Child) -> ChildOutcome | None:
        async with gate:
            return await _begin(place, run, errand, chunks, child)

    found = await asyncio.gather(*(one(child) for child in children))
    return [outcome for outcome in found if outcome is not None]


async def _begin(place: Place, run: MapRun, errand: Errand, chunks: Chunks, child: Child) -> ChildOutcome | None:
    try:
        given = await chunks.read(child.index)
    except ItemsFailed as failure:
        return _lost(place, errand, run, child, str(failure))
    info = await _known(place, run, errand, child) if child.attempt else None
    if info is None:
        request = child_request(errand, run, child.index, given.input, given.map_context)
        try:
            info = await place.host.start(request)
        except ExecutionExists:
            info = await place.host.describe(run.tenant, child_arn(errand, run, child.index))
    return outcome_of(info, child.index, given.items, place.now()) if info.is_over else None


async def _known(place: Place, run: MapRun, errand: Errand, child: Child) -> ExecutionInfo | None:
    """A child that is to run again: its execution goes on from where it failed."""
    try:
        info = await place.host.describe(run.tenant, child_arn(errand, run, child.index))
    except ExecutionNotFound:
        return None
    if not info.is_over or info.status == "SUCCEEDED" or not is_earlier(info, child, run):
        return info
    try:
        return await place.host.redrive(run.tenant, info.id)
    except NotRedrivable:
        return await place.host.describe(run.tenant, info.id)


def is_earlier(info: ExecutionInfo, child: Child, run: MapRun) -> bool:
    """Whether this end is that of an attempt before the one that runs now."""
    if not info.is_over or info.status == "SUCCEEDED" or not child.attempt:
        return False
    return info.redrives < child.attempt and info.started_at < (run.redriven_at or 0.0)


async def weight(place: Place, run: MapRun, errand: Errand, index: int) -> int:
    """Of how many items a child is; one whose input is gone counts as one."""
    if errand.plan.batching is None:
        return 1
    try:
        return (await place.chunks(run).read(index)).items
    except ItemsFailed:
        return 1


async def run_express(place: Place, run: MapRun, errand: Errand, child: Child) -> ChildOutcome:
    """An express child from start to end, in this process."""
    try:
        given: ChildInput = await place.chunks(run).read(child.index)
    except ItemsFailed as failure:
        return _lost(place, errand, run, child, str(failure))
    request = child_request(errand, run, child.index, given.input, given.map_context)
    result = await place.host.start_sync(request)
    return outcome_of(result.info, child.index, given.items, place.now())


def _lost(place: Place, errand: Errand, run: MapRun, child: Child, why: str) -> ChildOutcome:
    now = place.now()
    record = Record(
        arn=child_arn(errand, run, child.index),
        status="FAILED",
        error=RUNTIME,
        cause=why,
        started_at=now,
        stopped_at=now,
    )
    return ChildOutcome(index=child.index, state="failed", record=msgspec.json.encode(record))


async def stop_child(place: Place, run: MapRun, errand: Errand, child: Child) -> ChildOutcome:
    """End a child now."""
    arn = child_arn(errand, run, child.index)
    items = await weight(place, run, errand, child.index)
    if errand.plan.execution_type == "EXPRESS":
        return aborted(arn, child.index, items, place.now())
    try:
        info = await place.host.describe(run.tenant, arn)
        if not info.is_over:
            info = await place.host.stop(run.tenant, info.id, cause="The Map Run was stopped.")
    except ExecutionNotFound:
        return aborted(arn, child.index, items, place.now())
    return outcome_of(info, child.index, items, place.now())
