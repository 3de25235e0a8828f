"""The set of ports that one engine provides, and its life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from corral.agents.store import AgentRuns
    from corral.cache.semantic_store import SemanticStore
    from corral.cache.store import CacheStore
    from corral.jobs.store import BlobStore, JobRecords, JobStore, OutboxStore, ScheduleStore
    from corral.limits.budget_store import BudgetStore
    from corral.limits.store import LedgerStore, LimitStore
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


class Stores(Protocol):
    """All ports on one engine. Opened once per process; every method may be called twice."""

    url: str
    """Where this is, without any password."""

    @property
    def sessions(self) -> SessionStore:
        """Conversations."""
        ...

    @property
    def turns(self) -> TurnStore:
        """Whose turn it is."""
        ...

    @property
    def invocations(self) -> InvocationStore:
        """Answers by idempotency key."""
        ...

    @property
    def spans(self) -> SpanStore:
        """Traces."""
        ...

    @property
    def jobs(self) -> JobStore:
        """The queue."""
        ...

    @property
    def job_records(self) -> JobRecords:
        """What people ask of jobs."""
        ...

    @property
    def schedules(self) -> ScheduleStore:
        """Jobs that come again and again."""
        ...

    @property
    def outbox(self) -> OutboxStore:
        """Callbacks that are still to be sent."""
        ...

    @property
    def blobs(self) -> BlobStore:
        """Large values."""
        ...

    @property
    def limits(self) -> LimitStore:
        """What all workers know together of providers' limits."""
        ...

    @property
    def ledger(self) -> LedgerStore:
        """What every call of a model cost."""
        ...

    @property
    def budgets(self) -> BudgetStore:
        """What may be spent, and what was."""
        ...

    @property
    def boards(self) -> BoardStore:
        """What runs in each worker."""
        ...

    @property
    def cache(self) -> CacheStore:
        """Values that may be lost."""
        ...

    @property
    def semantic(self) -> SemanticStore:
        """Answers found by meaning, and evidence about them."""
        ...

    @property
    def audit(self) -> AuditLog:
        """Who did what."""
        ...

    @property
    def keys(self) -> KeyStore:
        """Who is let in."""
        ...

    @property
    def agent_runs(self) -> AgentRuns:
        """Agents' runs, and what they ask people."""
        ...

    @property
    def resources(self) -> ResourceStore:
        """What is declared: memories, runtimes, endpoints."""
        ...

    @property
    def executions(self) -> Executions:
        """Executions of workflows, their histories and their tasks."""
        ...

    @property
    def definitions(self) -> Definitions:
        """What workflows say."""
        ...

    @property
    def tool_effects(self) -> ToolEffects:
        """What came of calls of tools."""
        ...

    @property
    def tool_artefacts(self) -> ToolArtefacts:
        """Results of tools that are too long for a conversation."""
        ...

    @property
    def memory(self) -> MemoryStore:
        """Documents and records."""
        ...

    @property
    def tiers(self) -> TierStore:
        """What of the conversations lies in the archive."""
        ...

    @property
    def summaries(self) -> SummaryStore:
        """Summaries of conversations."""
        ...

    @property
    def topics(self) -> TopicStore:
        """Who waits for which events."""
        ...

    @property
    def map_runs(self) -> MapRunStore:
        """How far runs of distributed Maps are."""
        ...

    @property
    def buckets(self) -> BucketStore:
        """Objects that workflows read and write."""
        ...

    async def start(self) -> None:
        """Connect, and bring the schema up to date under a lock. Raises `StoreUnavailable` naming URL and setting."""
        ...

    async def check(self) -> None:
        """Answer within two seconds, or raise `StoreUnavailable`: what `/readyz` asks.

        `StoreOutgrown` when a newer program has changed the schema since `start`.
        """
        ...

    async def schema_version(self) -> tuple[int, int]:
        """The version the database has, and the newest this program knows. Creates nothing."""
        ...

    async def stop(self) -> None:
        """Finish what was accepted and close."""
        ...
