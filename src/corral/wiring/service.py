"""The wiring: the only module that knows every room. What an invocation passes through is the list in `_pipeline`."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from corral.agents.desk import RunDesk
from corral.backends.open import open_stores
from corral.backends.stores import Stores
from corral.clock import SYSTEM_CLOCK
from corral.jobs.callbacks import Callbacks
from corral.jobs.desk import JobDesk
from corral.jobs.hub import JobHub
from corral.jobs.job import QueueStats
from corral.jobs.outage import Outage
from corral.jobs.reaper import Reaper
from corral.jobs.scheduler import Scheduler
from corral.jobs.schedules import STARTER
from corral.jobs.worker import Worker
from corral.runtime.board import Board
from corral.runtime.ending import Ended
from corral.runtime.idempotency import Idempotency
from corral.runtime.invocation import Invocations
from corral.runtime.pipeline import Door, Proceed, Stage, admitted, compose, in_turn, in_turns, validated, with_session
from corral.runtime.run import Runner
from corral.runtime.threads import AgentThreads
from corral.runtime.warmup import Warmups, run_hook
from corral.server.agents import AgentRunRoutes
from corral.server.answer import Answerer
from corral.server.asgi import HttpApp
from corral.server.aws import AwsRoutes
from corral.server.cache import CacheRoutes
from corral.server.cancelling import CancelNotes
from corral.server.costs import CostRoutes
from corral.server.gateway.answering import Questions
from corral.server.gateway.routes import GatewayRoutes
from corral.server.health import HealthRoutes
from corral.server.http import Receive, Scope, Send
from corral.server.invocations import InvocationRoutes
from corral.server.job_check import AgentCheck
from corral.server.jobs import JobRoutes
from corral.server.openapi import OpenApiRoute
from corral.server.routes import Route, Router
from corral.server.running import RunningRoutes
from corral.server.semantic import SemanticRoutes
from corral.server.sessions import SessionRoutes
from corral.server.tools import ToolRoutes
from corral.server.websocket import APP_PATH, WebSocketEndpoint, WebSocketHandler
from corral.sessions.expiry import Sweeper
from corral.sessions.turns import Turns
from corral.settings.sections import Settings
from corral.tools.permitted import Permitted
from corral.tools.policy import policy_of
from corral.version import VERSION
from corral.wiring.agentic import Agentic
from corral.wiring.flowing import Flowing
from corral.wiring.guarding import Guarding
from corral.wiring.hosted import Hosted
from corral.wiring.learning import LEARNER, Learning
from corral.wiring.modelling import Modelling
from corral.wiring.observing import Observing
from corral.wiring.remembering import KEEPER, Remembering
from corral.wiring.tidying import what_expires
from corral.wiring.tiering import tiered_stores
from corral.wiring.tooling import Tooling
from corral.wiring.working import Answers, JobRuns, Part, Working
from corral.workflows.starting import Starter

_log = logging.getLogger("corral")


class Service:
    """One app under one set of settings, in one process: an ASGI callable with a start and an end."""

    def __init__(
        self, app: Hosted, settings: Settings, *, run_folder: Path | None = None, development: bool = False
    ) -> None:
        """Wire everything; nothing is opened yet."""
        self.app = app
        self.settings = settings
        self.stores = tiered_stores(settings, self._open_stores(settings.store.hot), lambda: self.observing.metrics)
        self.invocations = Invocations()
        self.cancel_notes = CancelNotes(run_folder if settings.server.workers > 1 else None, self.invocations)
        self.door = Door()
        self.turns = Turns(self.stores.turns, self._open_stores, settings.sessions)
        self.idempotency = Idempotency(self.stores.invocations, settings.runtime)
        self.threads = AgentThreads(settings.runtime.threads_max)
        self._runner = Runner(
            self.threads,
            isolate=settings.runtime.isolate or app.compatible,
            stream_chunk_size=settings.runtime.stream_chunk_size,
            on_error=app.on_error_hook,
        )
        observability = settings.observability
        if settings.agentcore.disable_otel:
            observability = msgspec.structs.replace(observability, traces=False)
        self.observing = Observing(
            observability,
            self.stores.spans,
            in_flight=lambda: self.invocations,
            background_tasks=lambda: app.health.task_info()["active_count"],
            ask_store=self._queue_stats,
            run_folder=run_folder,
            development=development,
        )
        self._furnish()
        self.questions = Questions(self.modelling.spent)
        self.board = Board(self.stores.boards, self.invocations, self.questions)
        app.health.warn = _log.warning
        self._started_at = 0.0
        self._state = "new"
        self._drained: asyncio.Task[None] | None = None
        self.warmups = Warmups(app.agents, app.warmups, self.observing.unexpected)
        if settings.runtime.ping_busy_while_invoking:
            app.health.invocations = self.invocations
        self.hub = JobHub(self.stores.jobs, self.stores.job_records)
        self.desk = JobDesk(
            self.stores.jobs,
            self.stores.job_records,
            self.hub,
            settings.jobs,
            priority_of=self.guarding.priority_of,
            check_input=AgentCheck(app.agents, {KEEPER: self.remembering.check, STARTER: Starter.check}),
        )
        self.flowing = self._workflows()
        own = {"audit": self.guarding.expire, "clock": self.flowing.keep_house}
        self.sweeper = Sweeper({**what_expires(settings, self.stores), **own}, period_s=settings.sessions.sweep_s)
        self.guarding.spending.telling.publish = self.flowing.topics.publish
        self._scheduler: Scheduler | None = None
        self._job_routes = JobRoutes(
            self.desk,
            self.stores.schedules,
            self.stores.outbox,
            settings=settings.jobs,
            schedule_saved=self._wake_scheduler,
            counted=self.guarding.limiting.counted,
        )
        self.working = self._working()
        self._http = self._http_app()
        self._asgi = app.wrapped(self._http)
        self._lifespan = AsyncExitStack()

    def _furnish(self) -> None:
        """The rooms that agents work with, in the order in which they need each other."""
        app, settings = self.app, self.settings
        self.guarding = Guarding(settings, self.stores, self.observing.metrics)
        self.audit, budgets = self.guarding.audit, self.guarding.spending.budgets
        self.modelling = Modelling(
            settings,
            self.stores,
            self.observing.metrics,
            own=app.models,
            budgets=budgets,
            rates=self.guarding.limiting.rates,
        )
        self.remembering = Remembering(settings, self.stores, self.observing.metrics, self.modelling.embed)
        self.tooling = Tooling(
            settings,
            self.stores,
            self.observing.metrics,
            self.modelling.cached.shelf,
            own=app.tools,
            agents=app.agents,
            permitted=Permitted(policy_of(settings.tools.policy, app.rules), self.audit),
        )
        self.agentic = Agentic(settings, self.stores, self.turns, self.observing.metrics, self.modelling)
        self.learning = Learning(settings, self.stores, self.observing.metrics, embed=self.remembering.place)

    def _open_stores(self, hot: str = "") -> Stores:
        """Wake-ups by way of `hot` are for who waits for them: heartbeats do not."""
        store = self.settings.store
        return open_stores(store.url, sync=store.sync, pool_max=store.pool_max, hot=hot)

    # -- the two lists that say what happens

    def _pipeline(self, *, record: bool = True) -> Proceed:
        """`record`: what is said is appended to its session, where the agent does not see to that itself."""
        settings, runner = self.settings, self._runner
        return compose(
            [
                validated(settings.runtime),
                self.idempotency.stage,
                Ended(runner, [self.observing.invocation]).stage,
                *self.guarding.limiting.stages(),
                admitted(
                    self.invocations, self.door, settings.runtime, SYSTEM_CLOCK, waiting_max=self.guarding.waiting_max
                ),
                *in_turns(self._session_stage(record=record), self.guarding.overload),
            ],
            runner.run,
        )

    def _job_pipeline(self) -> Proceed:
        """A job was let in when it was enqueued, its id makes it one run, and its worker keeps its deadline."""
        runner = self._runner
        return compose(
            [
                validated(self.settings.runtime),
                Ended(runner, [self.observing.invocation]).stage,
                self._session_stage(),
            ],
            runner.run,
        )

    def _wake_scheduler(self) -> None:
        if self._scheduler is not None:
            self._scheduler.wake()

    def _session_stage(self, *, record: bool = True) -> Stage:
        if self.app.compatible:
            return with_session(self.stores.sessions)
        sessions = self.settings.sessions
        if not record:
            sessions = msgspec.structs.replace(sessions, record=False)
        return in_turn(self.turns, self.stores.sessions, sessions, self.observing.turn_waited)

    def _workflows(self) -> Flowing:
        settings, most = self.settings, self.settings.jobs.result_max_bytes
        self.function_threads = AgentThreads(settings.runtime.threads_max)  # one that hangs holds up no agent
        plainly = Runner(self.function_threads, isolate=settings.runtime.isolate, stream_chunk_size=0)
        functions = compose([Ended(plainly, [self.observing.invocation]).stage], plainly.run)
        return Flowing(
            settings,
            self.stores,
            self.observing.metrics,
            app=self.app,
            desk=self.desk,
            tooling=self.tooling,
            answers=Answers(self._job_pipeline(), result_max_bytes=most),
            plain_answers=Answers(functions, result_max_bytes=most),
            during=self.observing.during,
            audit=self.audit,
            counted=self.guarding.limiting.counted,
        )

    def _working(self) -> Working:
        """What this process does of its own."""
        settings, stores = self.settings, self.stores
        counting = self.observing.jobs
        worker, jobs = None, self.guarding.spending.jobs_of(settings)
        if jobs is not None:
            own = {LEARNER: self.learning.run, KEEPER: self.remembering.run, **self.guarding.spending.handlers}
            answers = Answers(self._job_pipeline(), result_max_bytes=jobs.result_max_bytes)
            runs = JobRuns(self.app.agents, answers, self.observing.during, own={**own, **self.flowing.handlers})
            worker = Worker(
                stores.jobs,
                stores.blobs,
                runs.run,
                jobs,
                open_stores=self._open_stores,
                records=stores.job_records,
                observer=counting,
                in_thread=self.threads.call,
                slots=self.guarding.jobs_at_once,
            )
            self.guarding.on_calm(worker.made_room)
            counting.slots(jobs.concurrency)
        parts: list[Part] = [self.flowing]
        if settings.keeps_house:
            self._scheduler = Scheduler(stores.schedules, self.desk.drafts, settings.jobs.schedules)
            parts += [
                self._scheduler,
                Callbacks(stores.outbox, stores.job_records, settings.jobs, own=self.flowing.receivers),
            ]
            if worker is None:
                parts.append(Reaper(stores.jobs, stores.job_records, settings.jobs, Outage()))
        return Working(worker, parts)

    def _routes(self) -> list[Route]:
        app, settings = self.app, self.settings
        answerer = Answerer(self._pipeline(), id_chars_max=settings.runtime.id_chars_max)
        debug = settings.runtime.debug or app.debug
        health = HealthRoutes(
            app.health,
            self.door,
            self.stores.check,
            self._metrics,
            info=self._info,
            warmups=self.warmups.state,
        )
        runs = InvocationRoutes(
            app.agents,
            answerer,
            self.invocations,
            app.health,
            self.cancel_notes,
            compatible=app.compatible,
            debug=debug,
        )
        if not settings.answers:
            return health.routes(with_metrics=settings.observability.metrics)
        about = OpenApiRoute(app.name or settings.name, VERSION, app.agents)
        routes = [
            *runs.routes(settings.server.aliases),
            *AwsRoutes(app.agents, answerer, self.invocations, self.stores.turns).routes(),
            *self.learning.routes(app.agents, self.remembering.shelves.searcher),
            *SessionRoutes(self.stores.sessions, self.stores.tiers, ttl_s=settings.sessions.ttl_s).routes(),
            *self._job_routes.routes(),
            *self._run_routes(),
            *self.remembering.routes(self.desk.submit),
            *ToolRoutes(self.tooling.catalog, self.tooling.run, self.tooling.artefacts.read).routes(),
            *self.guarding.routes(),
            *CacheRoutes(self.modelling.cached.shelf, by_meaning=self.stores.semantic).routes(),
            *SemanticRoutes(self.stores.semantic, settings.cache.semantic).routes(),
            *CostRoutes(self.modelling.spend).routes(),
            *self._model_routes(),
            *health.routes(with_metrics=settings.observability.metrics),
            about.route(),
        ]
        about.describes(routes)
        return routes

    def _run_routes(self) -> list[Route]:
        """Of agents' runs and of workflows: what both ask people is one list."""
        answerer = Answerer(self._pipeline(record=False), id_chars_max=self.settings.runtime.id_chars_max)
        desk = RunDesk(self.agentic.runs, self.stores.jobs.signal, audit=self.audit)
        engine, metrics = self.flowing.engine, self.observing.metrics
        running = RunningRoutes(self.board, self.desk, desk, engine, self.modelling.spend, metrics, audit=self.audit)
        agents = AgentRunRoutes(self.app.agents, answerer, desk)
        return [*agents.routes(), *running.routes(), *self.flowing.routes(desk)]

    def _model_routes(self) -> list[Route]:
        models, settings = self.modelling, self.settings.models
        if not settings.gateway:
            return []
        call, embed = self.guarding.in_line(models.call, models.embed)
        counted = self.guarding.limiting.counted_models
        return GatewayRoutes(
            call, embed, models.models, default_model=settings.default, counted=counted, questions=self.questions
        ).routes()

    def _http_app(self) -> HttpApp:
        settings = self.settings
        self.routes = self._routes()
        identity = self.guarding.identity
        return HttpApp(
            Router(self.routes),
            identity,
            WebSocketEndpoint(
                self._sockets(),
                identity,
                self.observing.unexpected,
                self.guarding.limiting.counted,
                self.guarding.refused,
            ),
            body_max_bytes=settings.server.body_max_bytes,
            json_depth_max=settings.server.json_depth_max,
            watcher=self.guarding.watching(self.observing, self.routes),
        )

    def _sockets(self) -> dict[str, WebSocketHandler | None]:
        if not self.settings.answers:
            return {}
        return {APP_PATH: self.app.websocket_handler, **self._job_routes.sockets()}

    # -- life

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request."""
        asked: Awaitable[None] = self._asgi(scope, receive, send)
        return asked

    @property
    def in_flight(self) -> int:
        """Invocations that run or wait, and jobs that run."""
        return len(self.invocations) + self.working.running

    def own_process(self) -> None:
        """This process serves nothing else: its logging is ours as well."""
        self.observing.logs.start()

    async def start(self) -> None:
        """Open the stores and begin to warm up. Raises what is wrong, at once, and leaves nothing open."""
        if self._state == "started":
            return
        self._state = "starting"
        self._started_at = SYSTEM_CLOCK.monotonic()
        try:
            await self.observing.start()
            await self.stores.start()
            await self.turns.start()
            await self.guarding.start()
            await self.modelling.start()
            await self.remembering.start()
            await self.tooling.start()
            await self.agentic.start()
            await self.sweeper.start()
            await self.cancel_notes.start()
            await self.board.start()
            if self.app.lifespan_context is not None:
                await self._lifespan.enter_async_context(self.app.lifespan_context(self.app))
            await self.hub.start()
            await self.working.start()
        except BaseException:
            await self._close()
            raise
        self._state = "started"
        self.warmups.start()

    async def _queue_stats(self) -> list[QueueStats]:
        await self.stores.check()
        return await self.desk.queues()

    async def _metrics(self) -> bytes:
        self.modelling.gauge()
        return await self.observing.render_metrics()

    def begin_drain(self) -> None:
        """From now on new invocations are refused, and health checks say so."""
        self.door.draining = True
        self.hub.drain()
        self.working.begin_drain()
        self._drained = asyncio.get_running_loop().create_task(self.modelling.drain())
        self.observing.draining()
        self._http.closing = True

    def retire(self) -> None:
        """Answer as before, but have every client close its connection: another worker took over."""
        self._http.closing = True
        self.hub.drain()  # who follows a job would stay for as long as it runs
        self.working.begin_drain()

    def cancel_running(self) -> None:
        """Cancel all invocations, whose clients are told that the worker is draining, and hand jobs back."""
        self.invocations.cancel_all("draining")
        self.working.hand_back()

    async def stop(self) -> None:
        """Wait for what still runs, and close everything. Stopping twice is stopping once."""
        if self._state != "started":
            return
        self._state = "stopped"
        await self.warmups.stop()
        await self.working.stop()
        await self.invocations.wait_idle()
        await self.idempotency.stop()
        last: list[Callable[[], Awaitable[None]]] = [functools.partial(run_hook, hook) for hook in self.app.shutdowns]
        for work in (*last, self._lifespan.aclose):
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the app's own code may raise anything; the rest must close
                self.observing.unexpected(error)
        await self._close()

    async def _close(self) -> None:
        self._state = "stopped"
        self.invocations.close()
        await self.working.stop()
        await self.hub.stop()
        await self.cancel_notes.stop()
        await self.board.stop()
        await self.sweeper.stop()
        await self.agentic.stop()
        await self.tooling.stop()
        await self.remembering.stop()
        if self._drained is not None:
            await self._drained
        await self.modelling.stop()
        await self.guarding.stop()
        await self.turns.stop()
        await self.threads.stop()
        await self.function_threads.stop()
        await self.observing.stop()
        await self.stores.stop()
        await asyncio.to_thread(self.observing.logs.stop)  # the last, so that nothing said before is lost

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """ASGI's lifespan messages, for servers that are not ours."""
        await receive()
        try:
            await self.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.begin_drain()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _info(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "uptime_s": round(SYSTEM_CLOCK.monotonic() - self._started_at, 1),
            "in_flight": self.in_flight,
            **self.guarding.shown(),
            "store": self.stores.url,
            "functions": [function.name for function in self.app.functions],
        }
