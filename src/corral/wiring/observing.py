"""What a service tells its logs, metrics and traces: once per request, once per invocation, off the way of both."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock, new_span_id
from corral.context import Context
from corral.errors import AgentFailed, CorralError
from corral.jobs.counting import JobCounting
from corral.jobs.job import QueueStats
from corral.observability import semconv
from corral.observability.blocking import LoopWatch
from corral.observability.logs import Logs
from corral.observability.metrics import Distribution, Metrics, Value
from corral.observability.sharing import SharedMetrics
from corral.observability.store import SpanStore
from corral.observability.traces import Traces, finished_span
from corral.runtime.invocation import Invocation
from corral.server.http import ClientGone, Request
from corral.settings.sections import ObservabilitySettings
from corral.version import VERSION

_log = logging.getLogger("corral")

_SERVER_ERROR = 500
_LEFT = 499
"""What proxies write down of a client that left before it was answered."""
_STORE_ANSWERS_S = 2.0


class Observing:
    """The three observers of one service, and their life."""

    def __init__(
        self,
        settings: ObservabilitySettings,
        spans: SpanStore,
        *,
        in_flight: Callable[[], Iterable[Invocation]],
        background_tasks: Callable[[], int],
        ask_store: Callable[[], Awaitable[list[QueueStats]]],
        run_folder: Path | None,
        development: bool,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`ask_store` says how full the queues are, or raises; `run_folder` is where the workers of one server share metrics."""
        self._settings = settings
        self._clock = clock
        self._in_flight = in_flight
        self._background_tasks = background_tasks
        self._ask_store = ask_store
        self.logs = Logs(settings)
        self.traces = (
            Traces(spans, sample=settings.trace_sample, per_second_max=settings.traces_per_s_max)
            if settings.traces
            else None
        )
        self.begin: Callable[[Context], object] = (lambda _: None) if self.traces is None else self.traces.decide
        """Told of a request that has come."""
        self.loop = LoopWatch(report=development)
        self.metrics = Metrics()
        self._declare()
        self.jobs = JobCounting(self.metrics)
        self._shared = SharedMetrics(self.metrics, run_folder, self._refresh)
        # Numbers by label values, so that counting costs one look-up.
        self._answers: dict[tuple[str, str, int], Value] = {}
        self._runs: dict[tuple[str, str, str], Value] = {}
        self._times: dict[str, tuple[Distribution, Distribution]] = {}
        self._agents: set[str] = set()

    def _declare(self) -> None:
        m = self.metrics
        self._responses = m.counter("corral_http_responses_total", "HTTP responses.", "route", "method", "status")
        self._left = m.counter(
            "corral_http_clients_left_total", "Clients that left before their answer was whole.", "route"
        )
        self._requests = m.counter("corral_requests_total", "Invocations that ended.", "agent", "outcome", "tier")
        self._duration = m.histogram("corral_request_duration_seconds", "How long invocations ran.", "agent")
        self._first = m.histogram("corral_time_to_first_piece_seconds", "Until a stream's first piece.", "agent")
        self._running = m.gauge("corral_inflight_requests", "Invocations that run or wait.", "agent")
        self._tasks = m.gauge("corral_async_tasks", "Background tasks that agents have announced.")
        self._lag = m.gauge("corral_loop_lag_seconds", "How late the slowest event loop was.", of_workers="highest")
        self._wait = m.histogram("corral_sessions_turn_wait_seconds", "How long requests waited for a session's turn.")
        self.turn_waited = self._wait.distribution().observe
        self._store = m.gauge("corral_store_up", "Whether the store answers.", of_workers="mine")
        self._workers = m.gauge("corral_workers", "Worker processes.", "state")
        self._dropped = m.counter("corral_spans_dropped_total", "Spans that were not kept.")
        self._lines = m.counter("corral_log_lines_total", "Log lines written.", "level")
        self._lines_dropped = m.counter("corral_log_lines_dropped_total", "Log lines that nobody read in time.")
        m.gauge("corral_build_info", "The version, as a label.", "version", of_workers="highest").value(VERSION).set(1)

    # -- life

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        self.loop.start()
        self._workers.value("running").set(1)
        self._workers.value("draining").set(0)
        await asyncio.to_thread(self._shared.start)
        if self.traces is not None:
            await self.traces.start()

    async def stop(self) -> None:
        """Write what is held, and end. Calling it again does nothing."""
        if self.traces is not None:
            await self.traces.stop()
        self.loop.stop()
        await asyncio.to_thread(self._shared.stop)

    def draining(self) -> None:
        """This worker takes no more work."""
        self._workers.value("running").set(0)
        self._workers.value("draining").set(1)

    # -- what happens

    @contextmanager
    def during(self, context: Context) -> Iterator[Context]:
        """Work of which no request tells the end: a job's, a task's."""
        self.begin(context)
        try:
            yield context
        finally:
            if self.traces is not None:
                self.traces.let_go(context)

    def request(self, request: Request) -> None:
        """A request was answered."""
        failure = request.failure
        left = type(failure) is ClientGone
        status = request.status or (_LEFT if left else 0)
        key = (request.route, request.method, status)
        counter = self._answers.get(key)
        if counter is None:
            counter = self._answers[key] = self._responses.value(key[0] or "(none)", key[1], str(status))
        counter.value += 1
        if left:
            self._left.value(key[0] or "(none)").value += 1
        context: Context | None = getattr(request, "context", None)
        if request.quiet or context is None:
            return
        traces = self.traces
        broke = failure is not None and not left and 0 < status < 400  # noqa: PLR2004 - a stream, after its 200
        failed = status >= _SERVER_ERROR or broke
        if self._settings.access_log:
            self._access(request, context, status)
        if traces is None:
            return
        if failed:
            traces.keep(context)
        if context.sampled:
            self._server_span(request, context, status, failed=failed)
        else:
            traces.let_go(context)

    def _access(self, request: Request, context: Context, status: int) -> None:
        fields: dict[str, Any] = {
            "method": request.method,
            "path": request.route or request.scope["path"][:200],
            "status": status,
            "ms": round((self._clock.monotonic() - request.started_at) * 1000, 2),
            **({"agent": context.agent} if context.agent else {}),
            "tenant": context.tenant,
            "request_id": context.request_id,
            "trace_id": context.trace_id,
        }
        if context.session_id is not None:
            fields["session_id"] = context.session_id
        call = request.call
        if call is not None and call.outcome != "ok":
            fields["outcome"] = call.outcome
        if isinstance(request.failure, ClientGone):
            fields["event"] = "client left"
        elif request.failure is not None:
            fields["error"] = getattr(request.failure, "code", type(request.failure).__name__)
        self.logs.access(self._clock.now(), fields)

    def _server_span(self, request: Request, context: Context, status: int, *, failed: bool) -> None:
        assert self.traces is not None  # noqa: S101 - the caller has looked
        seconds = self._clock.monotonic() - request.started_at
        self.traces.record(
            finished_span(
                context,
                f"{request.method} {request.route}",
                "server",
                span_id=context.span_id,
                parent_id=context.parent_span_id,
                started_at=self._clock.now() - seconds,
                duration_s=seconds,
                failed=failed,
                attributes={
                    semconv.HTTP_METHOD: request.method,
                    semconv.HTTP_ROUTE: request.route,
                    semconv.HTTP_STATUS: status,
                    semconv.REQUEST_ID: context.request_id,
                    semconv.CONVERSATION: context.session_id,
                    semconv.ERROR_TYPE: getattr(request.failure, "code", None),
                },
            )
        )

    def invocation(self, call: Invocation) -> None:
        """An invocation ended."""
        agent, context = call.agent.name, call.context
        key = (agent, call.outcome, context.tier)
        counter = self._runs.get(key)
        if counter is None:
            counter = self._runs[key] = self._requests.value(*key)
        counter.value += 1
        times = self._times.get(agent)
        if times is None:
            times = self._times[agent] = (self._duration.distribution(agent), self._first.distribution(agent))
        seconds = self._clock.monotonic() - call.started_at
        times[0].observe(seconds)
        if call.first_at is not None:
            times[1].observe(call.first_at - call.started_at)
        failed = call.outcome in {"error", "timeout"}
        if isinstance(call.error, AgentFailed):
            _log.error("The agent %r failed: %s", agent, call.error.message, exc_info=call.error.original)
        if self.traces is not None and failed:
            self.traces.keep(context)
        if self.traces is not None and context.sampled:
            self._agent_span(call, seconds, failed=failed)

    def _agent_span(self, call: Invocation, seconds: float, *, failed: bool) -> None:
        assert self.traces is not None  # noqa: S101 - the caller has looked
        context = call.context
        first_s = None if call.first_at is None else call.first_at - call.started_at
        self.traces.record(
            finished_span(
                context,
                f"{semconv.INVOKE_AGENT} {call.agent.name}",
                "internal",
                span_id=context.agent_span_id or new_span_id(),
                parent_id=context.span_id,
                started_at=self._clock.now() - seconds,
                duration_s=seconds,
                failed=failed,
                attributes={
                    semconv.OPERATION: semconv.INVOKE_AGENT,
                    semconv.AGENT_NAME: call.agent.name,
                    semconv.CONVERSATION: context.session_id,
                    semconv.TENANT: context.tenant,
                    semconv.OUTCOME: call.outcome,
                    semconv.TIME_TO_FIRST_PIECE: first_s,
                    semconv.ERROR_TYPE: None if call.error is None else getattr(call.error, "code", "internal_error"),
                },
            )
        )

    def unexpected(self, error: BaseException) -> None:
        """Something failed that should not have."""
        _log.error("Something failed: %s", error, exc_info=error)

    # -- metrics

    def _refresh(self) -> None:
        running = Counter(call.agent.name for call in self._in_flight())
        self._agents.update(running)
        for agent in self._agents:
            self._running.value(agent).set(running[agent])
        for level, count in self.logs.counts.items():
            self._lines.value(level).set(count)
        self._lines_dropped.value().set(self.logs.writer.dropped)
        self._tasks.value().set(self._background_tasks())
        self._lag.value().set(self.loop.lag_s)
        if self.traces is not None:
            self._dropped.value().set(self.traces.dropped)

    async def render_metrics(self) -> bytes:
        """All workers' metrics in Prometheus' text format."""
        try:
            async with asyncio.timeout(_STORE_ANSWERS_S):
                self.jobs.queues(await self._ask_store())
        except (CorralError, TimeoutError):
            self._store.value().set(0)
        else:
            self._store.value().set(1)
        return await asyncio.to_thread(self._shared.render)
