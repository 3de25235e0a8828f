"""Joins workflows to jobs, agents, tools, functions and HTTP."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from corral.agents.desk import RunDesk
from corral.backends.stores import Stores
from corral.clock import SYSTEM_CLOCK, Clock, StoreClock, new_id
from corral.context import Context, check_scope
from corral.errors import AgentUnavailable, NotFound
from corral.jobs.desk import JobDesk
from corral.jobs.job import JobDraft, JobInfo
from corral.jobs.running import Handler, Outcome, RunningJob
from corral.jobs.schedules import STARTER
from corral.messages import Audit
from corral.observability.metrics import Metrics
from corral.outbound.client import Outbound
from corral.runtime.invocation import Invocation
from corral.runtime.registry import Agents
from corral.server.agentcore.once import Once
from corral.server.approval_links import ApprovalLinkRoutes
from corral.server.approvals import ApprovalRoutes
from corral.server.buckets import BucketRoutes
from corral.server.counted import NOT_COUNTED, Counted
from corral.server.events import EventRoutes
from corral.server.executions import ExecutionRoutes
from corral.server.routes import Route
from corral.server.stepfunctions.map_runs import MapRuns
from corral.server.stepfunctions.routes import StepFunctionsRoutes
from corral.server.workflows import WorkflowRoutes
from corral.settings.sections import Settings
from corral.wiring.calling import FunctionCalls
from corral.wiring.tooling import Tooling
from corral.wiring.working import Answers, During, context_of
from corral.workflows.activities import Activities
from corral.workflows.arns import Arns
from corral.workflows.catalog import Catalog
from corral.workflows.catalog_store import digest_of
from corral.workflows.counting import Counting
from corral.workflows.desk import WorkflowDesk, WorkflowDraft
from corral.workflows.distributed.buckets import Buckets
from corral.workflows.distributed.desk import MapRunDesk
from corral.workflows.distributed.place import Place
from corral.workflows.distributed.runner import MapRunner
from corral.workflows.distributed.storage import Storage
from corral.workflows.engine import Engine
from corral.workflows.escalating import NOTICE, Escalations
from corral.workflows.execution import ExecutionInfo, StartRequest
from corral.workflows.failing import DATA_MAX_BYTES, TASK_FAILED
from corral.workflows.functions import Functions
from corral.workflows.machine.happening import TaskFailed
from corral.workflows.publishing import Publishing
from corral.workflows.refusals import StateMachineNotFound
from corral.workflows.starting import Starter
from corral.workflows.store import ExecutionExists, ExecutionQuery, TaskGone, TaskTokenInvalid
from corral.workflows.tasks.doing import Tasks
from corral.workflows.tasks.executions import Child, Executions
from corral.workflows.tasks.http import Http
from corral.workflows.tasks.jobs import TASK_CALLBACK, Jobs, end_of, new_secret
from corral.workflows.tasks.lambdas import Lambdas
from corral.workflows.tasks.links import Links
from corral.workflows.tasks.queue import FUNCTION, TASK, FunctionJob, TaskJob, TaskQueue
from corral.workflows.tasks.running import TaskRuns
from corral.workflows.tasks.task import Task
from corral.workflows.tasks.tools import Tools
from corral.workflows.topics import TopicCounting, Topics

if TYPE_CHECKING:
    from corral.workflows.builder import Workflow

DEFAULT_TENANT = Context("").tenant
"""Whose workflows those are that come with the app."""
_ANSWER_MORE = 1
_WAITING_MAX = 100_000
"""Where counting approvals stops."""


class Flows(Protocol):
    """What is known here of the user's app."""

    agents: Agents
    functions: Functions
    workflows: list[Workflow]


class Flowing:
    """The workflows of a service. Each step of its life may come twice."""

    def __init__(  # noqa: PLR0913 - the one place where all that tasks may need comes together
        self,
        settings: Settings,
        stores: Stores,
        metrics: Metrics,
        *,
        app: Flows,
        desk: JobDesk,
        tooling: Tooling,
        answers: Answers,
        plain_answers: Answers,
        during: During,
        audit: Audit | None = None,
        counted: Counted = NOT_COUNTED,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`answers` is the road of agents, `plain_answers` that of functions; `during` is around all that is done. Nothing is opened yet."""
        own = settings.workflows
        self._settings = settings
        self._app = app
        self._answers = answers
        self._waiting = metrics.gauge(
            "corral_approvals_waiting",
            "Approvals that wait for an answer, asked before a `tool` is called or by a `workflow`.",
            "kind",
            of_workers="highest",
        )
        self._clock = clock = StoreClock(stores.executions.now, clock)
        self._jobs = desk
        self._stores = stores
        self._during = during
        self._counted = counted
        self._started = False
        self._runs = self._task_runs(tooling, plain_answers)
        self._buckets = Buckets(
            stores.buckets, stores.blobs, object_max=own.bucket_object_max_bytes, clock=clock, new_name=new_id
        )
        self._storage = Storage(own, self._buckets)
        place = self._place()
        self.map_runs = MapRunner(place)
        enqueue = functools.partial(stores.jobs.enqueue, depth_max=settings.jobs.depth_max)
        self.topics = Topics(
            stores.topics,
            desk.check,
            enqueue,
            region=own.region,
            account=own.account,
            counting=TopicCounting(metrics),
            clock=clock,
        )
        self.escalations = self._escalations(enqueue)
        self.engine = self._new_engine(metrics)
        self._runs.engine = self.engine
        self.map_runs.attach(self.engine)
        arns = Arns(region=own.region, account=own.account)
        self.catalog = Catalog(
            stores.resources, stores.definitions, arns, busy=self._is_busy, chance=random.random, clock=clock
        )
        publishing = Publishing(self.catalog, clock=clock)
        desk.on_cancelled = self._job_cancelled
        self.desk = WorkflowDesk(self.catalog, publishing, self.engine, audit=audit, clock=clock)
        self.links = Links(stores.resources, secret=own.link_secret, clock=clock)
        self.step_functions = StepFunctionsRoutes(
            self.engine,
            self.catalog,
            publishing,
            Activities(stores.resources, arns, clock=clock),
            own,
            Once(stores.invocations),
            call_task=self._runs.call,
            others=[MapRuns(MapRunDesk(place), self.engine)],
            counted=counted,
        )
        self.handlers: dict[str, Handler] = {
            TASK: self._runs.run,
            FUNCTION: self._function,
            STARTER: Starter(self.desk.begin_once).run,
            NOTICE: self.escalations.run,
        }
        """The house's own jobs."""
        self.receivers = {TASK_CALLBACK: self._job_ended}
        """Who in the house is told of the end of jobs."""

    def _task_runs(self, tooling: Tooling, plain_answers: Answers) -> TaskRuns:
        own, stores = self._settings.workflows, self._stores
        self._outbound = Outbound(
            own.http_allow, timeout_s=own.http_timeout_s, answer_max=DATA_MAX_BYTES + _ANSWER_MORE
        )
        self._functions = FunctionCalls(
            plain_answers.of,
            timeout_s=own.functions_timeout_s,
            region=own.region,
            account=own.account,
            clock=self._clock,
        )
        self._queue = TaskQueue(stores.jobs, self._jobs.hub, self._app.functions, own)
        return TaskRuns(self._tasks(tooling), self._app.functions, own, self._during, clock=self._clock)

    def _place(self) -> Place:
        return Place(
            self._stores.map_runs,
            self._stores.blobs,
            shelves_of=self._storage.of,
            settings=self._settings.workflows,
            clock=self._clock,
            new_token=new_id,
        )

    def _escalations(self, enqueue: Callable[..., Awaitable[Any]]) -> Escalations:
        settings = self._settings
        return Escalations(
            self.topics,
            enqueue,
            settings.workflows,
            secret=settings.jobs.callback_secret,
            allow=settings.jobs.callback_allow,
            for_s=settings.jobs.callback_for_s,
            clock=self._clock,
        )

    def _new_engine(self, metrics: Metrics) -> Engine:
        clock = self._clock
        return Engine(
            self._stores.executions,
            self._stores.blobs,
            definitions=self._definition,
            map_runs=self.map_runs,
            doers=self._queue,
            call_task=self._runs.call,
            escalated=self.escalations.tell,
            settings=self._settings.workflows,
            counting=Counting(metrics),
            clock=clock,
            new_secret=lambda: new_secret(clock.now()),
        )

    def _tasks(self, tooling: Tooling) -> Tasks:
        own = self._settings.workflows
        lambdas = Lambdas(
            self._app.functions,
            self._functions.call,
            self._queue.call_later,
            region=own.region,
            account=own.account,
            clock=self._clock,
        )
        return Tasks(
            {
                "lambda": lambdas.do,
                "function": lambdas.own,
                "agent": self._agent,
                "tool": Tools(tooling.catalog, tooling.run).do,
                "http": Http(self._outbound).do,
                "job": Jobs(self._stores.jobs, self._draft).do,
                "states": Executions(self._begin_child, clock=self._clock).do,
            }
        )

    def routes(self, runs: RunDesk) -> list[Route]:
        """What answers for workflows over HTTP."""
        own = self._settings.workflows
        return [
            *self.step_functions.routes(),
            *WorkflowRoutes(self.desk, self._counted).routes(),
            *ExecutionRoutes(self.desk).routes(),
            *ApprovalRoutes(runs, self.desk).routes(),
            *ApprovalLinkRoutes(
                self.desk, self.links, public_url=own.public_url, link_s=own.link_s, clock=self._clock
            ).routes(),
            *EventRoutes(self.topics).routes(),
            *(BucketRoutes(self._buckets).routes() if self._settings.workflows.buckets else ()),
        ]

    # -- life

    async def start(self) -> None:
        """Have the workflows that come with the app be there, and carry executions on where these processes keep house.

        Raises `ConfigError` with all that is wrong with any of them.
        """
        if not self._started:
            self._started = True
            await self.read_clock()
            await self._declare()
        if self._settings.keeps_house:
            await self.engine.carrier.start()
            await self.map_runs.start()

    async def read_clock(self) -> int:
        """Set the clock by which executions are due by the store's, as is done now and then; 0: nothing went by it."""
        await self._clock.read()
        return 0

    async def keep_house(self) -> int:
        """What is done now and then: the clock is set, and what waits for people is counted; 0: nothing went by it."""
        gone = await self.read_clock()
        for kind, store in (("tool", self._stores.agent_runs), ("workflow", self._stores.executions)):
            self._waiting.value(kind).set(await store.waiting(limit=_WAITING_MAX))
        return gone

    async def _declare(self) -> None:
        """What lies in files, or was built, is there for the default tenant; what says the same as before stays as it is."""
        folder = Path(self._settings.workflows.folder)
        if not self._app.workflows and not await asyncio.to_thread(folder.is_dir):
            return
        from corral.workflows.declared import declared  # noqa: PLC0415 - checks definitions, with all that they may say

        for one in await asyncio.to_thread(declared, folder, self._app.workflows):
            known = await self.catalog.get(DEFAULT_TENANT, one.name)
            same = known is not None and not known.is_deleting and known.setup.digest == digest_of(one.definition)
            if not same:
                draft = WorkflowDraft(name=one.name, definition=one.definition, kind=one.kind)
                await self.desk.save(DEFAULT_TENANT, draft)

    async def drain(self) -> None:
        """Begin nothing new; what was told is written down."""
        self.step_functions.drain()
        self.desk.leaving.set()
        await self.map_runs.drain()
        await self.engine.carrier.drain()

    async def stop(self) -> None:
        """End; what is left others carry on."""
        await self.drain()
        await self.map_runs.stop()
        await self.engine.carrier.stop()
        await self.engine.express.stop()
        self.engine.following.close()
        self._storage.close()
        await self._outbound.stop()
        await self.escalations.stop()

    # -- what tasks and executions ask for

    async def _definition(self, tenant: str, digest: str) -> str:
        text = await self._stores.definitions.text(tenant, digest)
        if text is None:
            raise StateMachineNotFound(f"The definition {digest} is gone.")
        return text

    async def _is_busy(self, tenant: str, arn: str) -> bool:
        query = ExecutionQuery(machine_arn=arn, statuses=("RUNNING",), limit=1)
        return bool((await self.engine.find(tenant, query)).items)

    async def _agent(self, task: Task) -> Any:
        """`corral:agent:NAME`: the road of a job; its turn of a session is the one that the payload names."""
        try:
            agent = self._app.agents.find(task.resource.name)
        except NotFound as missing:
            raise AgentUnavailable(missing.message) from None
        payload, context = task.payload, task.context
        check_scope("agent", agent.name, context.agents_allowed)
        session = payload.get("session") if isinstance(payload, dict) else None
        if isinstance(session, str) and session:
            context.session_id = session
            payload = {name: value for name, value in payload.items() if name != "session"}
        context.agent = agent.name
        call = Invocation(agent, payload, context, self._clock.monotonic())
        return msgspec.json.decode(await self._answers.of(call, task.say))

    async def _function(self, job: RunningJob) -> Outcome:
        """A function that no task waits for: it fails, and is tried again, as jobs are."""
        claimed = job.claimed
        asked = msgspec.json.decode(claimed.input, type=FunctionJob)
        function = self._app.functions.find(asked.function)
        if function is None:
            raise AgentUnavailable(f"{self._app.functions.near(asked.function)}.")
        with self._during(context_of(job)) as context:
            return Outcome(msgspec.json.encode(await self._functions.call(function, asked.payload, context, job.say)))

    def _draft(self, tenant: str, agent: str, payload: Any) -> JobDraft:
        return self._jobs.check(tenant, {"agent": agent, "input": payload})

    async def _job_ended(self, job: JobInfo) -> None:
        """A job that a task waits for is over."""
        message = end_of(job)
        try:
            await self.engine.answer(job.tenant, message.token, message)
        except (TaskGone, TaskTokenInvalid):
            return  # nobody waits any more

    async def _job_cancelled(self, job: JobInfo) -> None:
        """Somebody cancelled the job of a task before a worker had it."""
        if job.agent != TASK:
            return
        token = msgspec.json.decode(job.input, type=TaskJob).token
        with suppress(TaskGone, TaskTokenInvalid):
            await self.engine.answer(
                job.tenant, token, TaskFailed(token, TASK_FAILED, "The job of this task was cancelled.")
            )

    async def _begin_child(self, child: Child) -> ExecutionInfo:
        """An execution that another one begins; begun before by the same task, it is the one."""
        tenant, facts = child.task.tenant, child.task.facts
        is_arn = child.machine.startswith("arn:")
        found = await self.catalog.resolve(tenant, child.machine if is_arn else self.desk.arn(child.machine))
        request = StartRequest(
            tenant=tenant,
            machine_arn=found.machine_arn,
            machine_name=found.name,
            digest=found.setup.digest,
            kind=found.setup.kind,
            name=child.name,
            input=child.input,
            version_arn=found.version_arn,
            alias_arn=found.alias_arn,
            role_arn=found.setup.role_arn,
            traceparent=facts.traceparent,
            behalf=facts.behalf,
            answers=child.answers,
            answer_form=child.form,
        )
        try:
            return await self.engine.start(request)
        except ExecutionExists:
            if child.task.context.attempt == 1:
                raise
        known = await self.engine.describe(tenant, self.catalog.arns.execution(found.name, child.name))
        if known.input != child.input:
            raise ExecutionExists(f"Execution Already Exists: '{known.arn}'")
        return known
