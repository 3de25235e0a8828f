"""Runs tasks: the handler of their jobs, and the same for express executions, which need no job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.context import Context, enter_context, leave_context
from corral.errors import CorralError, StoreUnavailable
from corral.jobs.running import Outcome, RunningJob
from corral.observability.traces import join_trace
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.execution import Work
from corral.workflows.failing import TASK_FAILED, TIMEOUT
from corral.workflows.functions import Functions
from corral.workflows.machine.happening import Message, TaskBeat, TaskFailed, TaskStarted
from corral.workflows.machine.order import StartTask
from corral.workflows.machine.run import Facts
from corral.workflows.store import ExecutionNotFound, TaskGone
from corral.workflows.tasks.doing import TaskEnd, Tasks
from corral.workflows.tasks.queue import TASK, TaskJob, function_of
from corral.workflows.tasks.task import Task

_log = logging.getLogger("corral.workflows")

_PAUSE_S = 0.1
_PAUSE_MAX_S = 5.0
_BEATS = 3
"""How often somebody who is alive says so within the time in which he has to."""
_BEAT_MIN_S = 0.2


class Engine(Protocol):
    """What is asked of the engine here."""

    async def work(self, tenant: str, token: str) -> Work | None:
        """What a task asks for; none: it is over."""
        ...

    async def answer(self, tenant: str, token: str, message: Message) -> None:
        """Tell the execution that waits. Raises `TaskGone`."""
        ...

    def note(self, tenant: str, execution_id: str, message: Message) -> None:
        """Tell it soon."""
        ...


class TryAgain(CorralError):
    """The function failed, and is called once more."""

    code = "task_retried"
    retryable = True


class TaskRuns:
    """Does tasks as they come."""

    def __init__(
        self,
        tasks: Tasks,
        functions: Functions,
        settings: WorkflowSettings,
        during: Callable[[Context], AbstractContextManager[Context]],
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`during` is around each task, on behalf of its context. The engine is given before anything runs."""
        self.engine: Engine
        self._tasks = tasks
        self._functions = functions
        self._settings = settings
        self._during = during
        self._clock = clock
        self._rooms: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()
        """For functions of which only so many run at once, by tenant: for as long as anybody calls them."""

    # -- by a job -----------------------------------------------------------------------------------------------------

    async def run(self, job: RunningJob) -> Outcome:
        """Do the task of a job, and tell its execution before the job ends. A task that is over is not done."""
        claimed = job.claimed
        token = msgspec.json.decode(claimed.input, type=TaskJob).token
        work = await self.engine.work(claimed.tenant, token)
        if work is None or work.submitted or not isinstance(work.order, StartTask):
            return Outcome()
        order, facts = work.order, work.facts
        retries = self._retries(order)
        if claimed.failures >= self._settings.task_workers_max + retries:
            cause = f"{claimed.failures} workers were lost while they did this task, or could not reach the store."
            await self._told(job, TaskFailed(token, TASK_FAILED, cause))
            return Outcome()
        self.engine.note(work.tenant, facts.id, TaskStarted(token))
        context = self._context(facts, order, request_id=claimed.id)
        job.attach_to(context)
        try:
            async with self._alive(work.tenant, facts.id, order):
                message = await self._done(Task(work.tenant, _own(order), facts, context, job.say))
        except asyncio.CancelledError:
            await self._cancelled(job, token)
            raise
        if isinstance(message, TaskFailed) and claimed.failures < retries:
            raise TryAgain(f"{message.error}: {message.cause}")
        await self._told(job, message)
        return Outcome()

    async def _cancelled(self, job: RunningJob, token: str) -> None:
        """Somebody stopped it. If that was not its execution, that one hears of it."""
        if job.stop_reason in {"timeout", "deadline"}:
            cause = f"The task took longer than {self._settings.task_timeout_s:g} s (`workflows.task_timeout_s`)."
            await self._told(job, TaskFailed(token, TIMEOUT, cause, timed_out=True))
        elif job.stop_reason == "cancelled":
            await self._told(job, TaskFailed(token, TASK_FAILED, f"The job {job.id} was cancelled."))

    async def _told(self, job: RunningJob, message: TaskEnd) -> None:
        """Tell it until it is heard: what was done must not be done again because the store was away for a moment."""
        tries = 0
        while True:
            try:
                await self.engine.answer(job.claimed.tenant, message.token, message)
            except (TaskGone, ExecutionNotFound):
                return
            except StoreUnavailable:
                if job.now() >= job.deadline:
                    raise
                await asyncio.sleep(min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** min(tries, 10)))
                tries += 1
            else:
                return

    @asynccontextmanager
    async def _alive(self, tenant: str, execution_id: str, order: StartTask) -> AsyncIterator[None]:
        """Say now and then that somebody works on it, where that is to be said."""
        if order.heartbeat_s is None:
            yield
            return
        pause_s = max(_BEAT_MIN_S, order.heartbeat_s / _BEATS)

        async def beat() -> None:
            while True:
                await asyncio.sleep(pause_s)
                self.engine.note(tenant, execution_id, TaskBeat(order.token))

        beating = asyncio.get_running_loop().create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])

    # -- by an express execution --------------------------------------------------------------------------------------

    async def call(self, order: StartTask, facts: Facts) -> Message:
        """Do a task here and now; of a function with bounds of its own, so many at once in this process."""
        function = function_of(self._functions, order)
        if function is None or function.concurrency is None:
            return await self._called(order, facts, 0 if function is None else function.retries)
        place = (facts.tenant, function.name)
        room = self._rooms.get(place)
        if room is None:
            room = self._rooms[place] = asyncio.Semaphore(function.concurrency)
        async with room:
            return await self._called(order, facts, function.retries)

    async def _called(self, order: StartTask, facts: Facts, retries: int) -> Message:
        tries = 0
        while True:
            context = self._context(facts, order, request_id=new_id())
            message = await self._done(Task(facts.tenant, _own(order), facts, context, _nobody_listens))
            if not isinstance(message, TaskFailed) or tries >= retries:
                return message
            await asyncio.sleep(min(_PAUSE_MAX_S, _PAUSE_S * 2.0**tries))
            tries += 1

    # -- both ---------------------------------------------------------------------------------------------------------

    async def _done(self, task: Task) -> TaskEnd:
        with self._during(task.context) as context:
            token = enter_context(context)
            try:
                return await self._tasks.do(task)
            finally:
                leave_context(token)

    def _context(self, facts: Facts, order: StartTask, *, request_id: str) -> Context:
        context = Context(request_id, TASK)
        behalf = facts.behalf
        context.tenant, context.user_id, context.tier = facts.tenant, behalf.user_id or None, behalf.tier
        context.roles = behalf.roles
        context.limit_to(behalf.scope)
        context.idempotency_key = order.token
        join_trace(context, facts.traceparent or None)
        return context

    def _retries(self, order: StartTask) -> int:
        function = function_of(self._functions, order)
        return 0 if function is None else function.retries


def _own(order: StartTask) -> StartTask:
    """With a payload that whoever does the task may change: the execution still knows what it was."""
    if not isinstance(order.payload, dict | list):
        return order
    return msgspec.structs.replace(order, payload=msgspec.json.decode(msgspec.json.encode(order.payload)))


async def _nobody_listens(_piece: bytes) -> None:
    """Express executions tell nothing before they end."""
