"""Reading the items: by one worker at a time, into chunks that any worker begins children from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from corral.workflows.distributed import reading
from corral.workflows.distributed.children import children
from corral.workflows.distributed.faults import ItemsFailed, ObjectFailed
from corral.workflows.distributed.place import Errand, Place, errand_of
from corral.workflows.failing import ITEM_READER, StateFailed
from corral.workflows.machine.happening import ItemsRead
from corral.workflows.map_run_store import MapRun

HOLD_S = 30.0
"""Who reads items is gone when it was silent for so long."""
LOOK_S = 20.0
"""How often somebody looks whether a map run stands still."""


class _TakenOver(Exception):
    """Somebody else reads these items, or nobody need."""


async def fill(place: Place, run: MapRun) -> bool:
    """Read all items. False: somebody else does, and goes on."""
    token = place.new_token()
    if not await _hold(place, run, token):
        return False
    errand = errand_of(run)

    async def beat() -> None:
        if not await _hold(place, run, token):
            raise _TakenOver

    try:
        await _read(place, run, errand, token, beat)
    except _TakenOver:
        return False
    except (ItemsFailed, ObjectFailed) as failure:
        await _failed(place, run, ITEM_READER, str(failure))
    except StateFailed as failure:
        await _failed(place, run, failure.error, failure.cause or "")
    return True


async def _read(place: Place, run: MapRun, errand: Errand, token: str, beat: Callable[[], Awaitable[None]]) -> None:
    plan = errand.plan
    if plan.fault is not None:
        raise StateFailed(plan.fault.error, plan.fault.cause)
    if plan.reader is not None:
        items = reading.read(plan.reader, place.shelves_of(run.tenant))
    else:
        items = reading.given([] if plan.items is None else plan.items)
    total, count = await place.fresh_chunks(run).fill(
        children(items, plan),
        children_max=place.settings.map_children_max,
        bytes_max=place.settings.map_bytes_max,
        beat=beat,
    )
    look_at = place.now() + LOOK_S
    if await place.store.filled(run.tenant, run.id, token=token, total=total, items=count, look_at=look_at) is None:
        raise _TakenOver
    await say_read(place, errand, total)


async def _failed(place: Place, run: MapRun, error: str, cause: str) -> None:
    await place.store.end(run.tenant, run.id, status="FAILED", error=error, cause=cause, now=place.now())


async def _hold(place: Place, run: MapRun, token: str) -> bool:
    now = place.now()
    held = await place.store.hold(run.tenant, run.id, phase="reading", token=token, now=now, until=now + HOLD_S)
    return held is not None


async def say_read(place: Place, errand: Errand, total: int) -> None:
    """Tell the parent that its map run goes on by itself."""
    order, facts = errand.order, errand.work.facts
    await place.host.tell(facts.tenant, facts.id, ItemsRead(frame=order.frame, total=total, arn=order.arn))
