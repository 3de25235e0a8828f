"""Goes over the items of distributed Maps: whoever hears of a map run does what is to be done next, and leaves it to whoever hears next.

A map run is read by one worker, and then belongs to nobody: a child's end is counted, and the next child begun, wherever
the news comes. What stands still because a worker died is found by a look every few seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

import msgspec

from corral.errors import Overloaded, StoreUnavailable
from corral.jobs.bell import Bell
from corral.workflows.distributed.beginning import begin_all, is_earlier, run_express, weight
from corral.workflows.distributed.desk import forget
from corral.workflows.distributed.ending import EXCEEDED, finish
from corral.workflows.distributed.filling import LOOK_S, fill, say_read
from corral.workflows.distributed.place import Errand, Host, Place, errand_of, index_of, run_id_of, write_errand
from corral.workflows.distributed.results import outcome_of
from corral.workflows.execution import ExecutionInfo, Work
from corral.workflows.failing import TOLERANCE
from corral.workflows.machine.distributed import plan_from
from corral.workflows.machine.order import StartMapRun
from corral.workflows.map_run_store import Child, ChildOutcome, MapRun

_log = logging.getLogger("corral.workflows")

_SLICE = 50
"""Children that begin with one transaction."""
_PAGE = 200
_POLL_S = 5.0
_DUE_MAX = 50
_COUNTED_MAX = 10_000
_FULL_PAUSE_S = 0.1
_PATIENCE_MAX_S = 900.0
_FORGET_S = 600.0
_FORGOTTEN_MAX = 50

Key = tuple[str, str]


class _Looked(msgspec.Struct, frozen=True, kw_only=True):
    """How a map run stood when its children were looked for last."""

    stands: tuple[int, ...]
    pause_s: float
    again_at: float


class MapRunner:
    """All map runs that this process has to do with. Belongs to one event loop."""

    def __init__(self, place: Place) -> None:
        """Nothing is done before `start`, but what is told."""
        self._place = place
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._again: set[Key] = set()
        self._express: dict[tuple[str, str, int], asyncio.Task[None]] = {}
        self._ended: dict[Key, list[ChildOutcome]] = {}
        self._looked: OrderedDict[Key, _Looked] = OrderedDict()
        self._counted: OrderedDict[tuple[str, str, int, int], None] = OrderedDict()
        self._gate = asyncio.Semaphore(max(1, place.settings.express_max // 2))
        self._bell = Bell()
        self._draining = False
        self._forget_at = 0.0
        self._sweep: asyncio.Task[None] | None = None

    def attach(self, host: Host) -> None:
        """From now on children begin there."""
        self._place.attach(host)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Look after map runs that stand still. Calling it again does nothing."""
        if self._sweep is None:
            self._sweep = asyncio.create_task(self._look_after())

    async def drain(self) -> None:
        """Begin nothing more, and finish what was begun here; what is left goes on elsewhere."""
        self._draining = True
        self._bell.ring()
        while tasks := [*self._tasks.values(), *self._express.values()]:
            await asyncio.wait(tasks)
        for key in list(self._ended):
            await self._count_at_last(key)
        if self._sweep is not None:
            await asyncio.wait([self._sweep])

    async def stop(self) -> None:
        """End now. Calling it again does nothing."""
        self._draining = True
        tasks = [*self._tasks.values(), *self._express.values()]
        if self._sweep is not None:
            tasks.append(self._sweep)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- what is told -------------------------------------------------------------------------------------------------

    async def begin(self, work: Work) -> None:
        """Begin a map run, durably. Given the same ARN twice, it begins once."""
        order = work.order
        if not isinstance(order, StartMapRun):
            raise TypeError(f"{order!r} is no map run")
        place, facts = self._place, work.facts
        run_id = run_id_of(order.arn)
        known = await place.store.get(work.tenant, run_id)
        if known is None:
            plan = plan_from(order.spec)
            most = place.settings.map_concurrency_max
            now = place.now()
            info = await place.host.describe(work.tenant, facts.id)
            known = await place.store.begin(
                MapRun(
                    tenant=work.tenant,
                    id=run_id,
                    arn=order.arn,
                    execution_id=facts.id,
                    work=write_errand(work, info.digest),
                    max_concurrency=min(plan.max_concurrency or most, most),
                    tolerated_count=plan.tolerated_count,
                    tolerated_percentage=plan.tolerated_percentage,
                    started_at=now,
                    look_at=now + LOOK_S,
                )
            )
        elif order.redrive:
            known = await place.store.redrive(work.tenant, run_id, now=place.now()) or known
        if known.phase == "running":
            await say_read(place, errand_of(known), known.total)
        self._rouse(work.tenant, run_id)

    async def cancel(self, tenant: str, execution_id: str, frame: str) -> None:
        """Stop the map run of this frame, and its children."""
        for listed in await self._place.store.of_execution(tenant, execution_id):
            if listed.phase not in {"reading", "running"}:
                continue
            run = await self._place.store.get(tenant, listed.id)
            if run is not None and errand_of(run).order.frame == frame:
                await self._abort(run)
                self._rouse(tenant, run.id)

    async def child_ended(self, child: ExecutionInfo) -> None:
        """A child is over: it is counted when this returns, and the next one begins."""
        place = self._place
        run_id = run_id_of(child.map_run_arn)
        index = index_of(run_id, child.name)
        if index is None or not child.is_over:
            return
        if (child.tenant, run_id, index, child.redrives) in self._counted:
            return
        run = await place.store.get(child.tenant, run_id)
        if run is None or run.phase == "over":
            return
        if run.redrives:
            rows = await place.store.children(child.tenant, run_id, after=index - 1, limit=1)
            if not rows or rows[0].index != index or is_earlier(child, rows[0], run):
                return
        items = await weight(place, run, errand_of(run), index)
        known = await place.store.settle(
            child.tenant, run_id, [outcome_of(child, index, items, place.now())], now=place.now()
        )
        if known is not None:
            await self._judge(known)
        self._rouse(child.tenant, run_id)

    # -- going on -----------------------------------------------------------------------------------------------------

    def _rouse(self, tenant: str, run_id: str) -> None:
        """Do what is to be done next, once however often it is asked for."""
        key = (tenant, run_id)
        if self._draining:
            return
        if key in self._tasks:
            self._again.add(key)
        else:
            self._tasks[key] = asyncio.get_running_loop().create_task(self._go_on(key))

    async def _go_on(self, key: Key) -> None:
        try:
            while True:
                self._again.discard(key)
                await self._step(key)
                if key not in self._again or self._draining:
                    return
        except StoreUnavailable as error:
            _log.debug("A map run could not go on, will try again: %s", error)
        except Exception:  # noqa: BLE001 - it is looked at again in a while
            _log.exception("The map run %s could not go on, will try again", key[1])
        finally:
            self._tasks.pop(key, None)

    async def _step(self, key: Key) -> None:
        """Everything that can be done for it now."""
        place = self._place
        while not self._draining:
            await self._count(key)
            run = await place.store.get(*key)
            if run is None or run.phase == "over":
                return
            if run.phase == "reading":
                if not await fill(place, run):
                    return
            elif run.phase == "ending":
                await finish(place, run)
                return
            elif not await self._begin_some(run):
                return

    async def _count(self, key: Key) -> None:
        """Count the express children that have ended here since, together."""
        outcomes = self._ended.pop(key, [])
        if not outcomes:
            return
        try:
            known = await self._place.store.settle(*key, outcomes, now=self._place.now())
        except StoreUnavailable:
            self._ended.setdefault(key, []).extend(outcomes)
            raise
        if known is not None:
            await self._judge(known)

    async def _count_at_last(self, key: Key) -> None:
        try:
            await self._count(key)
        except StoreUnavailable as error:
            _log.warning("Children of the map run %s ended and could not be counted; they run again: %s", key[1], error)

    async def _begin_some(self, run: MapRun) -> bool:
        """Begin children that may; false: there is nothing more to do now."""
        place = self._place
        now = place.now()
        taken = await place.store.take(run.tenant, run.id, limit=_SLICE, now=now, look_at=now + LOOK_S)
        if taken is None:
            return False
        if not taken.children:
            return await self._judge(taken.run)
        errand = errand_of(taken.run)
        if errand.plan.execution_type == "EXPRESS":
            for child in taken.children:
                self._run_express(taken.run, errand, child)
            return True
        await self._begin_standard(taken.run, errand, taken.children)
        return True

    async def _begin_standard(self, run: MapRun, errand: Errand, children: list[Child]) -> None:
        outcomes = await begin_all(self._place, run, errand, children)
        if not outcomes:
            return
        known = await self._place.store.settle(run.tenant, run.id, outcomes, now=self._place.now())
        for outcome in outcomes:
            self._counted[run.tenant, run.id, outcome.index, run.redrives] = None
        while len(self._counted) > _COUNTED_MAX:
            self._counted.popitem(last=False)
        if known is not None:
            await self._judge(known)

    async def _judge(self, run: MapRun) -> bool:
        """Settle how it ends, where that can be said; true: it has changed."""
        if run.phase != "running":
            return run.phase == "ending"
        if run.is_exceeded:
            await self._place.store.end(
                run.tenant, run.id, status="FAILED", error=TOLERANCE, cause=EXCEEDED, now=self._place.now()
            )
            return True
        if run.pending == 0 and run.running == 0:
            await self._place.store.end(run.tenant, run.id, status="SUCCEEDED", now=self._place.now())
            return True
        return False

    async def _abort(self, run: MapRun) -> None:
        await self._place.store.end(run.tenant, run.id, status="ABORTED", now=self._place.now())

    # -- express children ---------------------------------------------------------------------------------------------

    def _run_express(self, run: MapRun, errand: Errand, child: Child) -> None:
        key = (run.tenant, run.id, child.index)
        if key not in self._express:
            self._express[key] = asyncio.get_running_loop().create_task(self._express_child(run, errand, child))

    async def _express_child(self, run: MapRun, errand: Errand, child: Child) -> None:
        try:
            async with self._gate:
                outcome = await self._admitted(run, errand, child)
            self._ended.setdefault((run.tenant, run.id), []).append(outcome)
        except StoreUnavailable as error:
            _log.debug("A child could not run, will try again: %s", error)
        except Exception:  # noqa: BLE001 - it is looked at again in a while
            _log.exception("A child of the map run %s broke off; it runs again", run.id)
        finally:
            del self._express[run.tenant, run.id, child.index]
            self._rouse(run.tenant, run.id)

    async def _admitted(self, run: MapRun, errand: Errand, child: Child) -> ChildOutcome:
        """Run it as soon as there is room beside the express executions of others."""
        while True:
            try:
                return await run_express(self._place, run, errand, child)
            except Overloaded:
                await asyncio.sleep(_FULL_PAUSE_S)

    # -- what stands still --------------------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        while not self._draining:
            pause_s = _POLL_S
            try:
                due, next_at = await self._place.store.due(now=self._place.now(), limit=_DUE_MAX, hold_s=LOOK_S)
                for tenant, run_id in due:
                    await self._look_at(tenant, run_id)
                await self._forget()
                if len(due) == _DUE_MAX:
                    pause_s = 0.0
                elif next_at is not None:
                    pause_s = min(_POLL_S, max(next_at - self._place.now(), 0.05))
            except StoreUnavailable as error:
                _log.debug("Map runs could not be looked at: %s", error)
            except Exception:  # noqa: BLE001 - one like no other must not end the looking after all
                _log.exception("Map runs could not be looked at, will try again")
            if pause_s:
                await self._bell.wait(pause_s)

    async def _forget(self) -> None:
        """What was over for long goes, a little at a time."""
        now = self._place.now()
        if now >= self._forget_at:
            gone = await forget(self._place, before=now - self._place.settings.keep_s, limit=_FORGOTTEN_MAX)
            self._forget_at = now if gone == _FORGOTTEN_MAX else now + _FORGET_S

    async def _look_at(self, tenant: str, run_id: str) -> None:
        place = self._place
        run = await place.store.get(tenant, run_id)
        if run is None or run.phase == "over":
            return
        errand = errand_of(run)
        if run.phase != "ending" and await place.host.work(tenant, errand.work.token) is None:
            await self._abort(run)
        elif run.phase == "running" and run.running:
            await self._look_for_children(run, errand)
        self._rouse(tenant, run_id)

    async def _look_for_children(self, run: MapRun, errand: Errand) -> None:
        """Children whose news was lost are counted, those that never came to be are begun."""
        place = self._place
        now = place.now()
        key = (run.tenant, run.id)
        stands = (run.children.ended, run.next_index, run.again, run.redrives)
        looked = self._looked.get(key)
        if looked is not None and looked.stands == stands and now < looked.again_at:
            return
        after = -1
        while page := await place.store.children(run.tenant, run.id, states=("running",), after=after, limit=_PAGE):
            after = page[-1].index
            if errand.plan.execution_type == "EXPRESS":
                for child in page:
                    if child.changed_at < now - LOOK_S / 2 - place.settings.express_s:
                        self._run_express(run, errand, child)
            elif old := [child for child in page if child.changed_at < now - LOOK_S / 2]:
                await self._begin_standard(run, errand, old)
        # Where nothing has changed since the last look, the next one may wait: children may take days.
        pause_s = LOOK_S if looked is None or looked.stands != stands else min(looked.pause_s * 2, _PATIENCE_MAX_S)
        self._looked[key] = _Looked(stands=stands, pause_s=pause_s, again_at=now + pause_s)
        while len(self._looked) > _COUNTED_MAX:
            self._looked.popitem(last=False)
