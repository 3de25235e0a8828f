"""Who is calling, within which request and until when: passed to the agent, and found again from anywhere inside it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from corral.errors import CorralError, Forbidden

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key may use: patterns of agents and of models; none: all. It goes along with what the key begins, to its end."""

    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


EVERYTHING = Scope()
"""Of keys that are not limited."""


def check_scope(what: str, name: str, allowed: Sequence[str]) -> None:
    """Raise `Forbidden` unless a key may use the agent or the model of this name."""
    if allowed and not any(fnmatchcase(name, pattern) for pattern in allowed):
        raise Forbidden(f"Your key may not use the {what} {name[:100]!r}: it is for {', '.join(allowed)[:200]}.")


class SessionHandle(Protocol):
    """What a context knows of its session; `corral.sessions.session.Session` is the real one."""

    @property
    def id(self) -> str:
        """The session's id."""
        ...


class HttpSource(Protocol):
    """The HTTP side of a context."""

    def visible_headers(self) -> Mapping[str, str] | None:
        """The headers that an agent may see; none when there are none."""
        ...

    def as_starlette(self) -> Any:
        """The request as Starlette's type."""
        ...


class JobHandle(Protocol):
    """What a context knows of its job; `corral.jobs.running.RunningJob` is the real one."""

    @property
    def id(self) -> str:
        """The job's id."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first run of the job."""
        ...

    @property
    def mark(self) -> str:
        """Of what the job was asked for: another one once it was redriven with a new input."""
        ...

    def step(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Call once per job, and remember the result."""
        ...

    def wait_for(self, name: str, timeout: float | None) -> Awaitable[Any]:
        """Return the signal's value, or let the job go until it is there."""
        ...

    def progress(self, fraction: float, message: str) -> None:
        """Say how far the job is."""
        ...

    def run_step(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `step`, for a thread."""
        ...

    def run_wait_for(self, name: str, timeout: float | None) -> Any:
        """As `wait_for`, for a thread."""
        ...


class Context:
    """One invocation as the agent sees it.

    Use it as the second argument of an entrypoint (`def invoke(payload, context)`), or call `current_context()`
    anywhere below, in a thread or a task alike.
    """

    __slots__ = (
        "_http",
        "_job",
        "_session",
        "agent",
        "agent_runs",
        "agent_span_id",
        "agents_allowed",
        "cancelled",
        "deadline",
        "idempotency_key",
        "key_id",
        "models_allowed",
        "oauth2_callback_url",
        "parent_span_id",
        "priority",
        "request_id",
        "roles",
        "sampled",
        "session_id",
        "span_id",
        "tenant",
        "tier",
        "trace_id",
        "traces",
        "user_id",
        "workload_access_token",
    )

    def __init__(self, request_id: str, agent: str = "main") -> None:
        """An anonymous context of the default tenant; the edge fills in what the request said."""
        self.request_id = request_id
        self.agent = agent
        self.tenant = "default"
        self.user_id: str | None = None
        self.tier = ""
        self.roles: tuple[str, ...] = ()
        """What the caller may do, as the credential says."""
        self.key_id = ""
        """Which key the caller showed; empty where none was asked for."""
        self.agents_allowed: tuple[str, ...] = ()
        """Patterns of the agents that the key may run; none: all."""
        self.models_allowed: tuple[str, ...] = ()
        """Patterns of the models that the key may ask for; none: all."""
        self.priority: int | None = None
        """How urgent this is, from 0 to 9 as calls to models have it; none: nobody said."""
        self.session_id: str | None = None
        self.trace_id = ""
        self.span_id = ""
        self.agent_span_id = ""
        """The span of the agent's own run, below which its spans stand."""
        self.parent_span_id: str | None = None
        self.sampled = True
        self.traces: Any = None
        """Where spans of this request are recorded; none when they are not."""
        self.deadline: float | None = None
        """When to be done, on the monotonic clock of this process."""
        self.idempotency_key: str | None = None
        self.workload_access_token: str | None = None
        self.oauth2_callback_url: str | None = None
        self.cancelled = False
        """True once this invocation should stop: for synchronous agents, which cannot be interrupted from outside."""
        self._session: Any = None
        self._http: HttpSource | None = None
        self._job: JobHandle | None = None
        self.agent_runs: dict[str, int] = {}
        """How often each agent began a run here: in a job, the same place is the same run in every attempt."""

    def attach_http(self, source: HttpSource) -> None:
        """Say where headers and request come from. They are built when somebody asks: most agents never do."""
        self._http = source

    @property
    def request_headers(self) -> Mapping[str, str] | None:
        """The request's headers that an agent may see (`Authorization`, custom ones; no cookies, no hop headers)."""
        return None if self._http is None else self._http.visible_headers()

    @property
    def request(self) -> Any:
        """The HTTP request or WebSocket (Starlette's types), where there is one."""
        return None if self._http is None else self._http.as_starlette()

    @property
    def scope(self) -> Scope:
        """What the caller's key may use, to hand on to what begins here."""
        if not self.agents_allowed and not self.models_allowed:
            return EVERYTHING
        return Scope(agents=self.agents_allowed, models=self.models_allowed)

    def limit_to(self, scope: Scope) -> None:
        """Say what the caller's key may use."""
        self.agents_allowed, self.models_allowed = scope.agents, scope.models

    @property
    def session(self) -> Any:
        """The session of this invocation: `messages`, `append`, `state` (see `corral.sessions.session.Session`)."""
        if self._session is None:
            raise CorralError(
                "This invocation has no session: send the header `X-Session-Id` (or "
                "`X-Amzn-Bedrock-AgentCore-Runtime-Session-Id`), or `corral invoke --session ID`."
            )
        return self._session

    @property
    def has_session(self) -> bool:
        """Whether the request named a session."""
        return self._session is not None

    def attach_session(self, session: SessionHandle) -> None:
        """Give the invocation its session; called once by the pipeline."""
        self._session = session

    # -- jobs ----------------------------------------------------------------------------------------------------------

    @property
    def job_id(self) -> str | None:
        """The id of the job that runs here; none in a plain request."""
        return None if self._job is None else self._job.id

    @property
    def attempt(self) -> int:
        """Which run of the job this is; 1 in a plain request."""
        return 1 if self._job is None else self._job.attempt

    @property
    def job_mark(self) -> str:
        """Of what the job was asked for; empty in a plain request."""
        return "" if self._job is None else self._job.mark

    def attach_job(self, job: JobHandle) -> None:
        """Say that this invocation is a job's."""
        self._job = job

    def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """`await context.step("charge", charge, order)`: call `fn` once per job, whatever dies in between.

        Its result is kept as JSON before it is returned; a later attempt gets it without calling `fn`. The same name
        again is the next occurrence. A plain function runs in a thread. Outside of a job, `fn` is simply called.
        """
        if self._job is None:
            return call_step(fn, args, kwargs)
        return self._job.step(name, fn, args, kwargs)

    def run_step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The same for a synchronous agent: `fn` is called right here."""
        if self._job is None:
            return fn(*args, **kwargs)
        return self._job.run_step(name, fn, args, kwargs)

    async def wait_for(self, name: str, *, timeout: float | None = None) -> Any:
        """Wait for a signal from outside, days if need be: the job gives its worker back and goes on when it comes.

        It goes on from the top, with all its steps replayed. Raises `WaitTimeout` after `timeout` seconds.
        """
        return await self._waiting_job(name).wait_for(name, timeout)

    def run_wait_for(self, name: str, *, timeout: float | None = None) -> Any:
        """The same for a synchronous agent."""
        return self._waiting_job(name).run_wait_for(name, timeout)

    def _waiting_job(self, name: str) -> JobHandle:
        if self._job is None:
            raise CorralError(
                f"Only a job can wait for {name!r}, and this is a plain request: submit it with `POST /v1/jobs` or "
                "`corral jobs submit`."
            )
        return self._job

    async def progress(self, fraction: float, message: str = "") -> None:
        """Show how far this is, from 0 to 1, to whoever looks at the job. Say it as often as you like."""
        if self._job is not None:
            self._job.progress(fraction, message)

    def __repr__(self) -> str:
        return f"Context(request_id={self.request_id!r}, agent={self.agent!r}, session_id={self.session_id!r})"


def is_asynchronous(fn: Callable[..., Any]) -> bool:
    """Whether calling `fn` makes a coroutine: a function, a method, or an object that is called like one."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(type(fn), "__call__", None))  # noqa: B004 - asks what kind it is


async def call_step(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a step's function: on this loop if it is asynchronous, else in a thread."""
    if is_asynchronous(fn):
        return await fn(*args, **kwargs)
    result = await asyncio.to_thread(fn, *args, **kwargs)
    return await result if inspect.isawaitable(result) else result


_current: contextvars.ContextVar[Context | None] = contextvars.ContextVar("corral_context", default=None)


def current_context() -> Context:
    """The context of the invocation that runs here. Raises `LookupError` outside of one."""
    context = _current.get()
    if context is None:
        raise LookupError("No invocation runs here: current_context() works inside an agent's call only.")
    return context


def find_context() -> Context | None:
    """The context of the invocation that runs here, or none."""
    return _current.get()


def enter_context(context: Context) -> contextvars.Token[Context | None]:
    """Make `context` the current one for this task and all it starts."""
    return _current.set(context)


def leave_context(token: contextvars.Token[Context | None]) -> None:
    """Undo `enter_context`."""
    _current.reset(token)
