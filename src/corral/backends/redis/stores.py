"""The stores of another engine, with Redis or Valkey beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.backends.redis.cache import RedisCache
from corral.backends.redis.jobs import HotJobs
from corral.backends.redis.limits import RedisLimits
from corral.backends.redis.shelf import RedisShelf

if TYPE_CHECKING:
    from corral.agents.store import AgentRuns
    from corral.backends.stores import Stores
    from corral.cache.semantic_store import SemanticStore
    from corral.jobs.store import BlobStore, JobRecords, OutboxStore, ScheduleStore
    from corral.limits.budget_store import BudgetStore
    from corral.limits.store import LedgerStore
    from corral.memory.resource_store import ResourceStore
    from corral.memory.store import MemoryStore
    from corral.memory.summary_store import SummaryStore
    from corral.observability.store import SpanStore
    from corral.runtime.board_store import BoardStore
    from corral.runtime.store import InvocationStore
    from corral.security.key_store import KeyStore
    from corral.security.store import AuditLog
    from corral.sessions.store import SessionStore, TierStore, TurnStore
    from corral.tools.store import ToolArtefacts, ToolEffects
    from corral.workflows.bucket_store import BucketStore
    from corral.workflows.catalog_store import Definitions
    from corral.workflows.map_run_store import MapRunStore
    from corral.workflows.store import Executions
    from corral.workflows.topic_store import TopicStore


class HotStores:
    """Everything is in `behind`, but for providers' limits and the cache; what is new in the queue is also told over Redis."""

    def __init__(self, behind: Stores, url: str) -> None:
        """`url` is `redis://…` or `rediss://…`; losing what it names loses no more than a little time."""
        self._behind = behind
        self.url = behind.url
        self.jobs = HotJobs(behind.jobs, url)
        self.limits = RedisLimits(url)
        self.cache = RedisCache(url)
        self.shelf = RedisShelf(url)
        """Copies of sessions' newest events, for all workers."""

    @property
    def sessions(self) -> SessionStore:
        """Conversations."""
        return self._behind.sessions

    @property
    def turns(self) -> TurnStore:
        """Whose turn it is."""
        return self._behind.turns

    @property
    def invocations(self) -> InvocationStore:
        """Answers by idempotency key."""
        return self._behind.invocations

    @property
    def spans(self) -> SpanStore:
        """Traces."""
        return self._behind.spans

    @property
    def job_records(self) -> JobRecords:
        """What people ask of jobs."""
        return self._behind.job_records

    @property
    def schedules(self) -> ScheduleStore:
        """Jobs that come again and again."""
        return self._behind.schedules

    @property
    def outbox(self) -> OutboxStore:
        """Callbacks that are still to be sent."""
        return self._behind.outbox

    @property
    def blobs(self) -> BlobStore:
        """Large values."""
        return self._behind.blobs

    @property
    def ledger(self) -> LedgerStore:
        """What every call of a model cost."""
        return self._behind.ledger

    @property
    def budgets(self) -> BudgetStore:
        """What may be spent, and what was."""
        return self._behind.budgets

    @property
    def boards(self) -> BoardStore:
        """What runs in each worker."""
        return self._behind.boards

    @property
    def map_runs(self) -> MapRunStore:
        """In the other engine."""
        return self._behind.map_runs

    @property
    def buckets(self) -> BucketStore:
        """In the other engine."""
        return self._behind.buckets

    @property
    def agent_runs(self) -> AgentRuns:
        """Agents' runs, and what they ask people."""
        return self._behind.agent_runs

    @property
    def keys(self) -> KeyStore:
        """In the store behind."""
        return self._behind.keys

    @property
    def audit(self) -> AuditLog:
        """In the store behind."""
        return self._behind.audit

    @property
    def semantic(self) -> SemanticStore:
        """In the store behind."""
        return self._behind.semantic

    @property
    def topics(self) -> TopicStore:
        """In the store behind."""
        return self._behind.topics

    @property
    def resources(self) -> ResourceStore:
        """In the store behind."""
        return self._behind.resources

    @property
    def executions(self) -> Executions:
        """Executions of workflows, their histories and their tasks."""
        return self._behind.executions

    @property
    def definitions(self) -> Definitions:
        """In the store behind."""
        return self._behind.definitions

    @property
    def tool_effects(self) -> ToolEffects:
        """In the store behind."""
        return self._behind.tool_effects

    @property
    def tool_artefacts(self) -> ToolArtefacts:
        """In the store behind."""
        return self._behind.tool_artefacts

    @property
    def memory(self) -> MemoryStore:
        """In the store behind."""
        return self._behind.memory

    @property
    def tiers(self) -> TierStore:
        """In the store behind."""
        return self._behind.tiers

    @property
    def summaries(self) -> SummaryStore:
        """In the store behind."""
        return self._behind.summaries

    async def start(self) -> None:
        """Open the stores behind; Redis is connected to on the way."""
        await self._behind.start()
        self.jobs.hints.start()
        self.limits.start()
        self.cache.start()
        self.shelf.start()

    async def check(self) -> None:
        """Whether the stores behind answer; that Redis does not is no reason to refuse anything."""
        await self._behind.check()

    async def schema_version(self) -> tuple[int, int]:
        """Of the stores behind."""
        return await self._behind.schema_version()

    async def stop(self) -> None:
        """Close all."""
        await self.jobs.hints.stop()
        await self.limits.stop()
        await self.cache.stop()
        await self.shelf.stop()
        await self._behind.stop()
