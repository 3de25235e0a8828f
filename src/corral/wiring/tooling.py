"""The tools of a service: which layers are around a call, outermost first, in one list."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from corral.backends.stores import Stores
from corral.cache.shelf import Shelf
from corral.cache.store import EntryDraft
from corral.models.breaker import Breaker
from corral.observability.metrics import Metrics
from corral.settings.sections import Settings
from corral.tools import places
from corral.tools.artefacts import Artefacts, read_artefact
from corral.tools.artefacts import use as use_artefacts
from corral.tools.bounded import Bounded
from corral.tools.cached import Cached
from corral.tools.catalog import Catalog
from corral.tools.checked import checked
from corral.tools.connected import use
from corral.tools.counting import ToolCounting
from corral.tools.elsewhere import Elsewhere
from corral.tools.idempotent import Idempotent
from corral.tools.stack import RunTool, ToolLayer, wrap
from corral.tools.threads import ToolThreads
from corral.tools.tool import Tool
from corral.tools.toolbox import Toolbox
from corral.tools.traced import Traced


class Registered(Protocol):
    """What is known here of an agent of the app."""

    name: str
    target: Any


class Tooling:
    """Calls tools, for agents of this process and for who asks over HTTP. Each step of its life may come twice."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        metrics: Metrics,
        shelf: Shelf,
        *,
        own: Toolbox,
        agents: Iterable[Registered],
        permitted: ToolLayer | None = None,
    ) -> None:
        """`own` are the app's tools, `agents` those that have some. Nothing is opened yet."""
        self._settings = settings.tools
        self._stores = stores
        self._counting = ToolCounting(metrics)
        self._capture = settings.models.capture
        self._permitted = permitted
        self._threads = ToolThreads(self._settings.threads_max, changed=self._counting.hung)
        self._results = KeptResults(shelf)
        self.artefacts = Artefacts(stores.tool_artefacts, ttl_s=self._settings.artefact_ttl_s)
        self._idempotent = Idempotent(stores.tool_effects, self._settings)
        self._bounded = self._innermost()
        self.catalog = Catalog(lambda: ((tool, "") for tool in own), lambda: _of_agents(agents))
        self.catalog.add(lambda: [(read_artefact, "")])
        self.elsewhere = Elsewhere(self._settings)
        self.catalog.add(lambda: [(tool, "") for tool in self.elsewhere])
        self.run = self._stack()
        self._started = False

    def _stack(self) -> RunTool:
        traced = Traced(self._counting.over, capture=self._capture)
        cached = Cached(self._results)
        layers: list[ToolLayer] = [traced, checked, self._idempotent, cached]
        if self._permitted is not None:
            layers.insert(2, self._permitted)
        return wrap(self._bounded, layers)

    def _innermost(self) -> Bounded:
        settings = self._settings
        return Bounded(
            settings,
            threads=self._threads,
            new_breaker=functools.partial(
                Breaker, failures=settings.breaker.failures, pause_s=settings.breaker.pause_s
            ),
            artefacts=self.artefacts,
            watching=self._counting,
        )

    # -- life

    async def start(self) -> None:
        """Agents of this process call their tools through these layers from now on."""
        if not self._started:
            self._started = True
            self._results.at_home()
            use(self.run)
            use_artefacts(self.artefacts)
            places.use(self.elsewhere)
            await self.elsewhere.start()
            self.catalog.tools()  # an agent that wants tools from a place that nobody named hears so now

    async def stop(self) -> None:
        """They do not any more. A tool in the middle of a call is left to its own end."""
        if not self._started:
            return
        self._started = False
        before = use(None)
        if before is not self.run:  # another service of this process has taken over
            use(before)
        reading = use_artefacts(None)
        if reading is not self.artefacts:
            use_artefacts(reading)
        there = places.use(None)
        if there is not self.elsewhere:
            places.use(there)
        await self._idempotent.drain()
        await self.elsewhere.stop()
        self._threads.close()


def _of_agents(agents: Iterable[Registered]) -> Iterator[tuple[Tool, str]]:
    """The tools of agents that have a toolbox; of a team, those of its members."""
    for agent in agents:
        waiting, seen = [agent.target], set()
        while waiting:
            target = waiting.pop()
            if id(target) in seen:
                continue
            seen.add(id(target))
            box = getattr(target, "tools", None)
            if isinstance(box, Toolbox):
                name = str(getattr(target, "name", agent.name))
                yield from ((tool, name) for tool in box)
            members = getattr(target, "members", None)
            if isinstance(members, dict):
                members = list(members.values())
            waiting += members if isinstance(members, list | tuple) else ()


class KeptResults:
    """Results of tools on the shelf of answers, which lives on one loop; who asks may be on another."""

    def __init__(self, shelf: Shelf) -> None:
        """Not at home yet."""
        self._shelf = shelf
        self._home: asyncio.AbstractEventLoop | None = None

    def at_home(self) -> None:
        """The running loop is the shelf's."""
        self._home = asyncio.get_running_loop()

    async def find(self, tenant: str, key: bytes) -> bytes | None:
        """What is kept and still fresh."""
        if asyncio.get_running_loop() is self._home:
            return await self._find(tenant, key)
        if self._home is None or self._home.is_closed():
            return None
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._find(tenant, key), self._home))

    async def _find(self, tenant: str, key: bytes) -> bytes | None:
        kept = await self._shelf.find(tenant, key)
        fresh = kept is not None and kept.fresh_s > 0
        self._shelf.count(tenant, "value", hits=int(fresh), misses=int(not fresh), used=key if fresh else None)
        return kept.value if kept is not None and fresh else None

    async def keep(self, tenant: str, key: bytes, value: bytes, *, ttl_s: float) -> None:
        """Keep it for so long."""
        draft = EntryDraft(key=key, value=value, kind="value", ttl_s=ttl_s, tags=("tool",))
        if asyncio.get_running_loop() is self._home:
            self._shelf.keep(tenant, draft)
        elif self._home is not None and not self._home.is_closed():
            self._home.call_soon_threadsafe(self._shelf.keep, tenant, draft)
