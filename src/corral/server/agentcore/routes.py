"""All of AgentCore's memory API and control plane, put together."""

from __future__ import annotations

from typing import Protocol

from corral.jobs.store import JobRecords
from corral.memory.resource_store import ResourceStore
from corral.memory.store import MemoryStore
from corral.runtime.registry import Agents
from corral.runtime.store import InvocationStore
from corral.server.agentcore.endpoints import Endpoints
from corral.server.agentcore.events import Events, Notice
from corral.server.agentcore.extraction import Extraction
from corral.server.agentcore.ids import Arns
from corral.server.agentcore.memories import Memories
from corral.server.agentcore.once import Once
from corral.server.agentcore.operations import Api, route_of
from corral.server.agentcore.records import Records
from corral.server.agentcore.runtimes import Runtimes
from corral.server.agentcore.search import Search
from corral.server.routes import Route
from corral.sessions.store import SessionStore
from corral.settings.sections import AgentCoreSettings


class Kept(Protocol):
    """The stores that these operations read and write."""

    @property
    def resources(self) -> ResourceStore:
        """What is declared."""
        ...

    @property
    def invocations(self) -> InvocationStore:
        """Answers by client token."""
        ...

    @property
    def sessions(self) -> SessionStore:
        """What was said."""
        ...

    @property
    def memory(self) -> MemoryStore:
        """What was learnt."""
        ...

    @property
    def job_records(self) -> JobRecords:
        """What is being learnt."""
        ...


class AgentCoreRoutes:
    """Memories with their events and records; runtimes with their versions and endpoints."""

    def __init__(
        self, stores: Kept, agents: Agents, settings: AgentCoreSettings, search: Search, notice: Notice, learner: str
    ) -> None:
        """`notice` is told of every new event; `learner` is the agent whose jobs learn from them."""
        once, arns, resources = Once(stores.invocations), Arns(settings), stores.resources
        self.memories = Memories(resources, once, arns, self._forget)
        self._events = Events(stores.sessions, self.memories, once, notice)
        self._records = Records(stores.memory, self.memories, once, search)
        runtimes = Runtimes(resources, once, arns, agents, settings.account)
        self._parts: list[Api] = [
            self.memories,
            self._events,
            self._records,
            runtimes,
            Endpoints(resources, once, runtimes),
            Extraction(stores.job_records, self.memories, learner),
        ]

    def routes(self) -> list[Route]:
        """One for each operation."""
        return [route_of(operation) for part in self._parts for operation in part.operations()]

    async def _forget(self, tenant: str, memory_id: str) -> None:
        await self._records.forget(tenant, memory_id)
        await self._events.forget(tenant, memory_id)
