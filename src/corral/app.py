"""`App`: what a user's file defines. It collects agents and hooks, and serves them when asked to."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import msgspec

from corral.errors import ConfigError
from corral.models.own import OwnFunctions
from corral.runtime.health import Health, PingStatus
from corral.runtime.registry import DEFAULT_AGENT, Agents, Lazy
from corral.runtime.works import own_name
from corral.tools.policy import Rule
from corral.tools.tool import Tool, made_tool
from corral.tools.toolbox import Toolbox
from corral.workflows.functions import Function, Functions

if TYPE_CHECKING:
    from corral.messages import ModelCall
    from corral.server.http import Receive, Scope, Send
    from corral.settings.model_sections import RouterSettings
    from corral.settings.sections import Settings
    from corral.wiring.service import Service
    from corral.workflows.builder import Workflow

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Hook = Callable[[], Any]


class App:
    """An app with one agent or several.

        app = App()

        @app.entrypoint
        async def invoke(payload, context):
            yield "Hello"

    Serve it with `corral dev agents.py`, `corral serve agents.py`, `app.run()`, or any ASGI server.
    """

    __corral_app__ = True
    compatible = False
    """Whether AgentCore's own behaviour goes before ours where the two differ."""
    needs_agents = True
    """Whether an app without any is a mistake."""

    def __init__(
        self,
        name: str = "",
        *,
        settings: Settings | None = None,
        debug: bool = False,
        model_router: Mapping[str, str] | RouterSettings | None = None,
        complexity_classifier: str | Callable[..., Any] | None = None,
        cache_key_generator: Callable[[ModelCall], str] | None = None,
    ) -> None:
        """`settings` replaces `corral.yaml` and the environment when the app is run by itself.

        `model_router` (class to model), `complexity_classifier` (a function of the question) and `cache_key_generator` (of the
        call) go before `models.router` and `cache.key_generator`.
        """
        self.models = OwnFunctions(
            model_router=model_router,
            complexity_classifier=complexity_classifier,
            cache_key_generator=cache_key_generator,
        )
        self.name = name
        self.debug = debug
        self.settings = settings
        self.agents = Agents()
        self.tools = Toolbox()
        """Those that are not only an agent's own."""
        self.functions = Functions()
        """What tasks of workflows call."""
        self.workflows: list[Workflow] = []
        """Those that are created or updated when the app starts."""
        self.rules: list[Rule] = []
        """What tools may do, beside what the settings say."""
        self.health = Health()
        self.on_error_hook: Callable[..., Any] | None = None
        self.websocket_handler: Callable[..., Any] | None = None
        self.warmups: list[Hook] = []
        self.shutdowns: list[Hook] = []
        self._service: Service | None = None
        self._starting: asyncio.Future[None] | None = None

    # -- agents

    @overload
    def entrypoint(self, fn: F) -> F: ...
    @overload
    def entrypoint(self, *, name: str) -> Callable[[F], F]: ...
    def entrypoint(self, fn: Any = None, *, name: str = "") -> Any:
        """Register an agent: `@app.entrypoint`, or `@app.entrypoint(name="billing")` for one of several.

        It is called as `fn(payload)` or `fn(payload, context)`, may be async or not, and streams when it yields.
        """
        if fn is None:
            return functools.partial(self.entrypoint, name=name)
        self.agents.add(name or DEFAULT_AGENT, fn)
        if inspect.isfunction(fn):
            fn.run = self.run  # type: ignore[attr-defined]  # AgentCore's shape: `invoke.run(port=…)`
        return fn

    def add(self, target: T, name: str = "") -> T:
        """Register an agent: an `Agent` or a `Team` by its own name, a callable, a LangGraph graph, a Strands or pydantic-ai agent, a `Lazy`. Or a tool, or a `Workflow`."""
        if isinstance(target, Tool):
            if name and name != target.name:
                raise ConfigError(
                    f"A tool has a name of its own, {target.name!r}: name it with `@tool(name={name!r})`."
                )
            self.tools.add(target)
            return target
        if getattr(target, "__corral_workflow__", False):
            self._add_workflow(cast("Workflow", target), name)
            return target
        self.agents.add(name or own_name(target) or DEFAULT_AGENT, target)
        return target

    def _add_workflow(self, workflow: Workflow, name: str) -> None:
        if name and name != workflow.name:
            raise ConfigError(
                f"A workflow has a name of its own, {workflow.name!r}: name it with `Workflow({name!r})`."
            )
        if any(known.name == workflow.name for known in self.workflows):
            raise ConfigError(f"There are two workflows with the name {workflow.name!r}: rename one of them.")
        self.workflows.append(workflow)

    def lazy(self, factory: Callable[[], T], name: str = "") -> Lazy[T]:
        """Have something heavy built once while the app starts: in a thread, or on the loop by a coroutine function.

        With a `name` it is served as an agent. Without one, ask for it inside of an agent: `graph = await lazy()`.
        """
        lazy = Lazy(factory, name)
        self.agents.lazies.append(lazy)
        if name:
            self.agents.add(name, lazy)
        return lazy

    # -- tools

    def rule(self, rule: Rule) -> Rule:
        """What tools may do, said in code: it comes after the rules of the settings (`tools.policy.rules`)."""
        self.rules.append(rule)
        return rule

    @overload
    def tool(self, fn: Callable[..., Any], /) -> Tool: ...
    @overload
    def tool(self, /, **marks: Any) -> Callable[[Callable[..., Any]], Tool]: ...
    def tool(self, fn: Any = None, /, **marks: Any) -> Any:
        """As `corral.tool`, and have the app list it: it can be called over HTTP and by `corral tools call`, agent or none."""
        around = sys._getframe(1).f_locals  # noqa: SLF001 - types that are local to where the tool is made

        def made(fn: Callable[..., Any]) -> Tool:
            return self.tools.add(made_tool(fn, around=around, **marks))

        return made if fn is None else made(fn)

    # -- functions

    @overload
    def function(self, fn: F, /) -> F: ...
    @overload
    def function(self, /, **bounds: Any) -> Callable[[F], F]: ...
    def function(self, fn: Any = None, /, *, name: str = "", **bounds: Any) -> Any:
        """Have tasks of workflows call it, as `corral:function:NAME` or as the Lambda function of that name.

        It is called as `fn(payload)` or `fn(payload, context)`, and may be async or not; what it returns is JSON. Its own
        bounds are `concurrency`, `timeout_s`, `queue` and `retries`.
        """

        def made(fn: F) -> F:
            self.functions.add(Function(name=name or getattr(fn, "__name__", ""), fn=fn, **bounds))
            return fn

        return made if fn is None else made(fn)

    # -- hooks

    def warmup(self, fn: F) -> F:
        """Run `fn()` while the app starts; `/readyz` says no until it is done."""
        self.warmups.append(fn)
        return fn

    def on_shutdown(self, fn: F) -> F:
        """Run `fn()` when the app stops, after the last invocation ended."""
        self.shutdowns.append(fn)
        return fn

    def on_error(self, fn: F) -> F:
        """Answer in place of an agent that failed: `fn(error, payload, context)` returns the reply to give instead."""
        self.on_error_hook = fn
        return fn

    def ping(self, fn: F) -> F:
        """Decide what `/ping` says: `fn()` returns `"Healthy"` or `"HealthyBusy"`. It is called on the loop, so it is quick."""
        if inspect.iscoroutinefunction(fn):
            raise ConfigError("The ping handler is a plain function: `/ping` is answered at once, without waiting.")
        self.health.handler = fn
        return fn

    def websocket(self, fn: F) -> F:
        """Serve `/ws` with `fn(websocket, context)`; it calls `await websocket.accept()` itself."""
        self.websocket_handler = fn
        return fn

    # -- background tasks: `/ping` says `HealthyBusy` while one runs

    def async_task(self, fn: F) -> F:
        """Count each call of a coroutine function as a background task."""
        if not inspect.iscoroutinefunction(fn):
            raise ValueError("@async_task can only be applied to async functions")

        @functools.wraps(fn)
        async def counted(*args: Any, **kwargs: Any) -> Any:
            task_id = self.add_async_task(fn.__name__)
            try:
                return await fn(*args, **kwargs)
            finally:
                self.complete_async_task(task_id)

        return counted  # type: ignore[return-value]  # same signature as fn

    def add_async_task(self, name: str, metadata: dict[str, Any] | None = None) -> int:
        """Count a background task in; hand the id to `complete_async_task`."""
        return self.health.add_task(name, metadata)

    def complete_async_task(self, task_id: int) -> bool:
        """Count a background task out. False: it was not known."""
        return self.health.complete_task(task_id)

    def get_async_task_info(self) -> dict[str, Any]:
        """How many background tasks run, and for how long each."""
        return self.health.task_info()

    def get_current_ping_status(self) -> PingStatus:
        """What `/ping` says now."""
        return self.health.status()

    def force_ping_status(self, status: PingStatus) -> None:
        """Have `/ping` say this, whatever happens."""
        self.health.force(status)

    def clear_forced_ping_status(self) -> None:
        """Let `/ping` say what is the case again."""
        self.health.force(None)

    # -- serving

    lifespan_context: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None
    """Entered when the service starts, left when it stops."""

    def wrapped(self, asgi: Any) -> Any:
        """The service inside of ASGI middleware; a subclass may have some."""
        return asgi

    def build(self, settings: Settings, *, run_folder: Path | None = None, development: bool = False) -> Service:
        """The ASGI service of this app under these settings, not started yet.

        `run_folder` is where the workers of one server share their metrics; `development` points out blocking code.
        """
        from corral.wiring.service import Service  # noqa: PLC0415 - defining agents must not load a server

        served = len(self.agents) + len(self.agents.lazies) + len(self.functions) + len(self.workflows)
        empty = not served and self.websocket_handler is None
        if empty and self.needs_agents and not self.compatible:
            raise ConfigError("This app has no agent: decorate a function with `@app.entrypoint`.")
        return Service(self, settings, run_folder=run_folder, development=development)

    def load_settings(self, flags: Mapping[str, object] | None = None) -> Settings:
        """The app's own settings, else `corral.yaml` and the environment."""
        if self.settings is not None:
            return self.settings
        from corral.settings.load import load_settings  # noqa: PLC0415 - as above

        return load_settings(flags=flags or {}).settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app as ASGI, for servers of your choice (`uvicorn agents:app`)."""
        if scope["type"] == "lifespan":
            self._service = self.build(self.load_settings())
            await self._service.lifespan(receive, send)
            return
        if self._service is None:  # a server without lifespan events, or a test client
            self._service = self.build(self.load_settings())
            self._starting = asyncio.ensure_future(self._service.start())
        if self._starting is not None and not self._starting.done():
            try:
                await asyncio.shield(self._starting)
            except BaseException:
                self._service = None  # the next request tries again
                raise
        await self._service(scope, receive, send)

    def run(self, port: int = 8080, host: str | None = None, **options: Any) -> None:
        """Serve from this process until SIGTERM or Ctrl-C: what `python agents.py` does."""
        from corral.server.inprocess import run_in_process  # noqa: PLC0415 - as above

        host = host or ("0.0.0.0" if _in_container() else "127.0.0.1")  # noqa: S104 - a container's port must be reachable
        settings = self.load_settings({"server.port": port, "server.host": host})
        server = msgspec.structs.replace(settings.server, host=host, port=port)
        run_in_process(self.build(msgspec.structs.replace(settings, server=server)), server, **options)


def _in_container() -> bool:
    return Path("/.dockerenv").exists() or bool(os.environ.get("DOCKER_CONTAINER"))
