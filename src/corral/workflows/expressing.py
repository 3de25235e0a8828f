"""Express executions: from start to end in this process, with their history in memory, and nothing written down."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from corral.clock import Clock, new_id, new_time_id
from corral.errors import Overloaded
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.counting import Counting, entered
from corral.workflows.doing import CallTask
from corral.workflows.execution import UNSET, ExecutionInfo, HistoryPage, StartRequest, SyncResult
from corral.workflows.machine.run import Ended, Facts, HistoryEvent
from corral.workflows.machines import Machines

_log = logging.getLogger("corral.workflows")

_KNOWN_MAX = 1000
"""Executions that were begun and can still be looked at."""


_THREADS = 4


class _Known(msgspec.Struct, kw_only=True):
    info: ExecutionInfo
    history: list[HistoryEvent] = []


class ExpressRuns:
    """Those that run in this process, and the last that did."""

    def __init__(
        self,
        machines: Machines,
        call_task: CallTask | None,
        *,
        settings: WorkflowSettings,
        counting: Counting,
        over: Callable[[ExecutionInfo], None],
        clock: Clock,
    ) -> None:
        """`call_task` does their tasks; none: this process runs none. `over` is told of the end of those that nobody waits for."""
        self._heard = over
        self._machines = machines
        self._call_task = call_task
        self._settings = settings
        self._counting = counting
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._tasks: set[asyncio.Task[SyncResult]] = set()
        self._running = 0
        self._threads: ThreadPoolExecutor | None = None

    def begin(self, request: StartRequest, now: float) -> ExecutionInfo:
        """Begin one that nobody waits for. Raises `Overloaded` when too many run here."""
        info = self._admit(request, now)
        self._remember(_Known(info=info))
        task = asyncio.get_running_loop().create_task(self._run(request, info))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return info

    async def run(self, request: StartRequest, now: float) -> SyncResult:
        """One from start to end. Raises `Overloaded` when too many run here."""
        return await self._run(request, self._admit(request, now))

    def get(self, tenant: str, execution_id: str) -> ExecutionInfo | None:
        """One that runs here or did not long ago, by id or ARN."""
        known = self._known.get((tenant, execution_id))
        return None if known is None else known.info

    def history(self, info: ExecutionInfo, *, after: int | None, limit: int, reverse: bool) -> HistoryPage:
        """What such a one did, once it is over."""
        events = self._known[info.tenant, info.id].history
        if reverse:
            upper = len(events) if after is None else min(len(events), after - 1)
            lower = max(0, upper - limit)
            return HistoryPage(events=events[lower:upper][::-1], next=lower + 1 if lower else None)
        lower = after or 0
        upper = min(len(events), lower + limit)
        return HistoryPage(events=events[lower:upper], next=upper if upper < len(events) else None)

    async def drain(self) -> None:
        """Wait for those that run."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def stop(self) -> None:
        """End those that run."""
        for task in list(self._tasks):
            task.cancel()
        await self.drain()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    def _admit(self, request: StartRequest, now: float) -> ExecutionInfo:
        if self._call_task is None or self._running >= self._settings.express_max:
            raise Overloaded(
                f"{self._running} express executions run in this server; at most {self._settings.express_max} may "
                "(setting `workflows.express_max`)."
            )
        name = request.name or new_id()
        express = request.machine_arn.replace(":stateMachine:", ":express:", 1)
        return ExecutionInfo(
            tenant=request.tenant,
            id=new_time_id(now),
            arn=request.arn or f"{express}:{name}:{new_id()}",
            name=name,
            machine_arn=request.machine_arn,
            machine_name=request.machine_name,
            digest=request.digest,
            status="RUNNING",
            started_at=now,
            kind="EXPRESS",
            input=request.input,
            version_arn=request.version_arn,
            alias_arn=request.alias_arn,
            role_arn=request.role_arn,
            map_run_arn=request.map_run_arn,
            parent=request.parent,
            traceparent=request.traceparent,
            behalf=request.behalf,
        )

    async def _run(self, request: StartRequest, info: ExecutionInfo) -> SyncResult:
        assert self._call_task is not None  # noqa: S101 - admitted
        from corral.workflows import express  # noqa: PLC0415 - with all that expressions need

        facts = Facts(
            id=info.id,
            arn=info.arn,
            name=info.name,
            tenant=info.tenant,
            machine_arn=info.machine_arn,
            machine_name=info.machine_name,
            version_arn=info.version_arn,
            alias_arn=info.alias_arn,
            role_arn=info.role_arn,
            kind="EXPRESS",
            started_at=info.started_at,
            input=request.input,
            traceparent=request.traceparent,
            behalf=request.behalf,
            parent=request.parent,
            map_run_arn=request.map_run_arn,
            map_context=request.map_context,
        )
        self._running += 1
        self._counting.express("RUNNING", 0)
        try:
            machine = await self._machines.get(request.tenant, request.digest)
            is_slow = self._machines.is_slow(request.tenant, request.digest)
            ended, history = await express.run(
                machine,
                facts,
                self._call_task,
                clock=self._clock,
                limit_s=self._settings.express_s,
                threads=self._thinkers() if is_slow else None,
            )
        finally:
            self._running -= 1
        over = self._over(info, ended)
        self._counting.express(over.status, entered(event.type for event in history))
        return SyncResult(info=over, history=history)

    def _thinkers(self) -> ThreadPoolExecutor:
        """The threads for expressions that may take long."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "corral-express")
        return self._threads

    def _over(self, info: ExecutionInfo, ended: Ended) -> ExecutionInfo:
        return msgspec.structs.replace(
            info,
            status=ended.status,
            stopped_at=self._clock.now(),
            output=ended.output if ended.status == "SUCCEEDED" else UNSET,
            error=ended.error,
            cause=ended.cause,
        )

    def _remember(self, known: _Known) -> None:
        for name in (known.info.id, known.info.arn):
            self._known[known.info.tenant, name] = known
        while len(self._known) > 2 * _KNOWN_MAX:
            self._known.popitem(last=False)

    def _ended(self, task: asyncio.Task[SyncResult]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("An express execution broke off", exc_info=error)
            return
        result = task.result()
        known = self._known.get((result.info.tenant, result.info.id))
        if known is not None:
            known.info, known.history = result.info, result.history
        self._heard(result.info)
