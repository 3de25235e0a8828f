"""The agents of one app by name, some of them built only when the app starts."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from corral.errors import ConfigError, NoEntrypoint, NotFound
from corral.runtime.adapters import adapt
from corral.runtime.entrypoint import Entrypoint

T = TypeVar("T")

DEFAULT_AGENT = "main"


class Lazy(Generic[T]):
    """Something heavy that is built once, when the app starts or when it is first asked for.

    Inside an agent: `graph = await build_graph()` (or `build_graph.get()` in a synchronous one), where
    `build_graph = app.lazy(create_graph)`. A factory that failed is tried again by the next one who asks.
    """

    def __init__(self, factory: Callable[[], T] | Callable[[], Coroutine[Any, Any, T]], name: str = "") -> None:
        """`factory` takes no arguments. A coroutine function runs on the loop that asks first, others in a thread."""
        self.factory: Callable[[], Any] = factory
        self.name = name or getattr(factory, "__name__", "lazy")
        self.error: BaseException | None = None
        self._value: list[T] = []
        self._building = threading.Lock()
        self._task: asyncio.Task[T] | None = None

    @property
    def built(self) -> bool:
        """Whether it is there."""
        return bool(self._value)

    def get(self) -> T:
        """The built object; builds it here and now when it is not there yet. Safe from any thread."""
        with self._building:
            if not self._value:
                try:
                    value = self.factory()
                    self._keep(asyncio.run(value) if inspect.iscoroutine(value) else value)
                except BaseException as error:
                    self.error = error
                    raise
            return self._value[0]

    async def __call__(self) -> T:
        """The built object; builds it when it is not there yet, while the loop goes on."""
        if self._value:
            return self._value[0]
        task = self._task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._task = asyncio.create_task(self._build())
            task.add_done_callback(_seen)
        return await asyncio.shield(task)  # it goes on when who asked gives up

    async def _build(self) -> T:
        if not inspect.iscoroutinefunction(self.factory):
            return await asyncio.to_thread(self.get)
        try:
            # What it makes may belong to the loop it was made on, so it runs here and not in a thread.
            return self._keep(await self.factory())
        except BaseException as error:
            self.error = error
            raise

    def _keep(self, value: T) -> T:
        self.error = None
        if not self._value:
            self._value.append(value)
        return self._value[0]


def _seen(task: asyncio.Task[Any]) -> None:
    """Look at a task's error, so that nobody is warned of one that nobody waited for any more."""
    if not task.cancelled():
        task.exception()


class Agent:
    """A name that can be invoked: ready at once, or after its factory ran."""

    __slots__ = ("_entrypoint", "lazy", "name", "target")

    def __init__(self, name: str, target: Any) -> None:
        """`target` is a callable, a graph or agent of a known framework, or a `Lazy` of one of those."""
        self.name = name
        self.target = target
        """What was registered; once a `Lazy` is built, what it built."""
        self.lazy: Lazy[Any] | None = target if isinstance(target, Lazy) else None
        self._entrypoint = None if self.lazy is not None else Entrypoint(name, adapt(target))

    @property
    def entrypoint(self) -> Entrypoint | None:
        """How to call it; none while it is still to be built."""
        return self._entrypoint

    async def ready(self) -> Entrypoint:
        """How to call it, after building it if need be."""
        if self._entrypoint is None:
            assert self.lazy is not None  # noqa: S101 - one of the two is always set
            self.target = await self.lazy()
            self._entrypoint = Entrypoint(self.name, adapt(self.target))
        return self._entrypoint


class Agents:
    """The agents of one app. `main`, else the only one there is, answers where nobody names an agent."""

    def __init__(self) -> None:
        """Start with none."""
        self._agents: dict[str, Agent] = {}
        self.lazies: list[Lazy[Any]] = []

    def add(self, name: str, target: Any) -> Agent:
        """Register an agent. A name is taken once."""
        if not name or len(name) > 64 or not name.replace("-", "_").replace(".", "_").isidentifier():  # noqa: PLR2004 - longer names do not fit in a table
            raise ConfigError(f"An agent's name is made of letters, digits, `_`, `-` and `.`, not {name!r}.")
        if name in self._agents:
            raise ConfigError(
                f"There are two agents named {name!r}: give one of them a name, `@app.entrypoint(name=…)`."
            )
        agent = self._agents[name] = Agent(name, target)
        return agent

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)

    def find(self, name: str) -> Agent:
        """The agent of that name, or `NotFound` that says which there are."""
        agent = self._agents.get(name)
        if agent is None:
            near = difflib.get_close_matches(name, self._agents, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            there = ", ".join(sorted(self._agents)) or "none"
            raise NotFound(f"There is no agent named {name!r}{meant}; there is: {there}.")
        return agent

    def default(self) -> Agent:
        """The agent that answers `POST /invocations`."""
        agents = self._agents
        if DEFAULT_AGENT in agents:
            return agents[DEFAULT_AGENT]
        if len(agents) == 1:
            return next(iter(agents.values()))
        if not agents and len(self.lazies) == 1:  # a single factory and nothing else: that is the agent
            return self.add(DEFAULT_AGENT, self.lazies[0])
        if agents:
            raise NotFound(f"No agent is named {DEFAULT_AGENT!r}; name one of: {', '.join(sorted(agents))}.")
        raise NoEntrypoint
