"""What is built before the first request, and what still is not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from corral.runtime.registry import Agents

Hook = Callable[[], Any]

_PAUSE_S = 1.0
_PAUSE_S_MAX = 30.0


class Warmups:
    """Runs the app's warm-ups, each until it succeeds: a worker that is not ready gets no request that would try again."""

    def __init__(self, agents: Agents, hooks: Iterable[Hook], failed: Callable[[BaseException], None]) -> None:
        """Agents that are built later, other heavy objects of theirs, and `hooks`; `failed` is told of each failure."""
        self._agents = agents
        self._hooks = hooks
        self._failed = failed
        self._tasks: list[asyncio.Task[None]] = []
        self._state: dict[str, str | None] = {}

    def start(self) -> None:
        """Begin with all of them at once. Calling it again does nothing."""
        if self._tasks:
            return
        waiting = {agent.lazy: agent for agent in self._agents if agent.lazy is not None}
        for agent in waiting.values():
            self._begin(f"agent:{agent.name}", agent.ready)
        for lazy in self._agents.lazies:
            if lazy not in waiting:
                self._begin(f"warmup:{lazy.name}", lazy.__call__)
        for hook in self._hooks:
            self._begin(f"warmup:{getattr(hook, '__name__', 'hook')}", hook)

    def state(self) -> dict[str, str | None]:
        """Every agent and warm-up by name: none when it is there, else why it failed last (empty: it did not yet)."""
        ready = {f"agent:{agent.name}": None for agent in self._agents if agent.entrypoint is not None}
        return self._state | ready

    def _begin(self, name: str, hook: Hook) -> None:
        if name in self._state:
            name = f"{name}#{len(self._state)}"
        self._state[name] = ""
        self._tasks.append(asyncio.create_task(self._warm(name, hook)))

    async def _warm(self, name: str, hook: Hook) -> None:
        pause_s = _PAUSE_S
        while True:
            try:
                await run_hook(hook)
            except Exception as error:  # noqa: BLE001 - a user's own code may raise anything; shown by /readyz
                self._state[name] = f"{type(error).__name__}: {error}"
                self._failed(error)
            else:
                self._state[name] = None
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    async def stop(self) -> None:
        """Try no more. Calling it again does nothing."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def run_hook(hook: Hook) -> None:
    """Run a hook: a coroutine function on the loop, anything else in a thread."""
    if inspect.iscoroutinefunction(hook):
        await hook()
    else:
        await asyncio.to_thread(hook)
