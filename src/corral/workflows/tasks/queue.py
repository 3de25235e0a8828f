"""Hands tasks to the queue, each as one job however often it is handed on; stops them, and hears them while they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from corral.errors import JobNotFound, Overloaded
from corral.jobs.bell import Bell
from corral.jobs.follower import Follower
from corral.jobs.hub import JobHub
from corral.jobs.job import Backoff, JobDraft, JobQuery
from corral.jobs.store import JobStore
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.execution import Work
from corral.workflows.functions import Function, Functions
from corral.workflows.machine.order import StartTask
from corral.workflows.machine.run import Facts
from corral.workflows.tasks.jobs import job_id_of
from corral.workflows.tasks.lambdas import function_named
from corral.workflows.tasks.task import Task

TASK = "corral.task"
"""The name of its jobs, in the place of an agent's."""
FUNCTION = "corral.function"
"""The same, of functions whose task does not wait for them."""
_ALL = JobQuery()
_BACKOFF = Backoff(initial_s=0.2, max_s=30.0)
_HEARD = frozenset({"piece", "progress", "log"})
_PATIENCE_S = 5.0
_SOON_S = 0.02
_TOGETHER = 64
"""Jobs that are stopped at the same time: an engine writes them with one commit."""
_EVENT_ATTEMPTS = 3
"""Of a function that nobody waits for, as AWS Lambda has it."""
_SPARE = 20
"""Attempts beyond those that count: it is a worker that gives a task up, and its execution hears of that."""


class TaskJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """The input of such a job."""

    token: str


class FunctionJob(msgspec.Struct, frozen=True):
    """The input of a job that calls a function, and nothing waits for it."""

    function: str
    payload: Any


class TaskQueue:
    """Those who do tasks, as the engine sees them."""

    def __init__(self, store: JobStore, hub: JobHub, functions: Functions, settings: WorkflowSettings) -> None:
        """`functions` may have bounds of their own; `hub` tells what jobs say."""
        self._store = store
        self._hub = hub
        self._functions = functions
        self._settings = settings

    async def begin(self, tasks: Sequence[Work]) -> None:
        """Enqueue them; durable when it returns."""
        drafts = [
            draft for work in tasks if isinstance(work.order, StartTask) for draft in [self._draft(work, work.order)]
        ]
        if drafts:
            await self._store.enqueue(drafts)

    async def cancel(self, tenant: str, tokens: Sequence[str]) -> None:
        """Stop their jobs, and those they have begun; what is over stays as it is."""
        jobs = [job_id_of(token, what) for token in tokens for what in ("", "job")]
        for at in range(0, len(jobs), _TOGETHER):
            await asyncio.gather(
                *(self._store.cancel(tenant, _ALL, job_id=job_id) for job_id in jobs[at : at + _TOGETHER])
            )

    async def progress(self, tenant: str, token: str) -> AsyncIterator[Any]:
        """What the job of a task says while it runs: pieces of its answer as they are, progress as an object."""
        bell = Bell()
        follower = await self._followed(tenant, job_id_of(token), bell)
        try:
            while not follower.gone:
                news = await follower.take()
                for event in news.events:
                    if event.kind in _HEARD:
                        value = msgspec.json.decode(event.data)
                        yield value if event.kind == "piece" else {event.kind: value}
                if news.last:
                    return
                if not news.events and news.info is None:
                    await bell.wait(_PATIENCE_S)
        finally:
            follower.close()

    async def _followed(self, tenant: str, job_id: str, bell: Bell) -> Follower:
        """Whoever listens is often quicker than the worker that hands the job in, and never gives up before he is cancelled."""
        wait_s = _SOON_S
        while True:
            try:
                return await self._hub.follow(tenant, job_id, bell.ring)
            except (JobNotFound, Overloaded):
                await bell.wait(wait_s)
                wait_s = min(2 * wait_s, _PATIENCE_S)

    async def call_later(self, function: Function, payload: Any, task: Task) -> None:
        """Have a function called by a job of its own, which fails by itself."""
        job = FunctionJob(function.name, payload)
        draft = self._common(job_id_of(task.token, "event"), FUNCTION, job, task.facts, function)
        attempts = max(_EVENT_ATTEMPTS, function.retries + 1)
        await self._store.enqueue([msgspec.structs.replace(draft, max_attempts=attempts)])

    def _draft(self, work: Work, order: StartTask) -> JobDraft:
        function = function_of(self._functions, order)
        return self._common(job_id_of(order.token), TASK, TaskJob(order.token), work.facts, function)

    def _common(self, job_id: str, agent: str, job: object, facts: Facts, function: Function | None) -> JobDraft:
        settings = self._settings
        draft = JobDraft(
            id=job_id,
            tenant=facts.tenant,
            agent=agent,
            input=msgspec.json.encode(job),
            queue=settings.queue,
            timeout_s=settings.task_timeout_s,
            max_attempts=settings.task_workers_max + _SPARE,
            backoff=_BACKOFF,
            traceparent=facts.traceparent,
            user_id=facts.behalf.user_id or None,
            tier=facts.behalf.tier,
            roles=facts.behalf.roles,
            scope=facts.behalf.scope,
        )
        if function is None:
            return draft
        return msgspec.structs.replace(
            draft,
            queue=function.queue or settings.queue,
            max_attempts=settings.task_workers_max + function.retries + _SPARE,
            concurrency_key=None if function.concurrency is None else f"function {function.name}",
            concurrency_limit=function.concurrency or 1,
        )


def function_of(functions: Functions, order: StartTask) -> Function | None:
    """Which function a task calls; none: it calls none, or one that is not here."""
    resource = order.resource
    if resource.service == "function" or (resource.service == "lambda" and not resource.action):
        return functions.find(resource.name)
    return function_named(functions, order.payload) if resource.service == "lambda" else None
