"""All ports on one PostgreSQL database."""

from __future__ import annotations

from corral.errors import ConfigError

try:
    from corral.backends.postgres.engine import Engine
except ModuleNotFoundError as error:
    if error.name != "asyncpg":
        raise
    raise ConfigError("A postgresql:// store needs one more package: pip install 'corral[postgres]'") from error

from corral.backends.postgres.agent_runs import PostgresAgentRuns
from corral.backends.postgres.audit import PostgresAudit
from corral.backends.postgres.blobs import PostgresBlobs
from corral.backends.postgres.boards import PostgresBoards
from corral.backends.postgres.buckets import PostgresBuckets
from corral.backends.postgres.budgets import PostgresBudgets
from corral.backends.postgres.cache import PostgresCache
from corral.backends.postgres.definitions import PostgresDefinitions
from corral.backends.postgres.executions import PostgresExecutions
from corral.backends.postgres.invocations import PostgresInvocations
from corral.backends.postgres.job_days import make_days
from corral.backends.postgres.job_depth import Depths
from corral.backends.postgres.job_records import PostgresJobRecords
from corral.backends.postgres.jobs import PostgresJobs
from corral.backends.postgres.keys import PostgresKeys
from corral.backends.postgres.ledger import PostgresLedger
from corral.backends.postgres.limits import PostgresLimits
from corral.backends.postgres.map_runs import PostgresMapRuns
from corral.backends.postgres.memory import PostgresMemory
from corral.backends.postgres.outbox import PostgresOutbox
from corral.backends.postgres.resources import PostgresResources
from corral.backends.postgres.schedules import PostgresSchedules
from corral.backends.postgres.semantic import PostgresSemantic
from corral.backends.postgres.sessions import PostgresSessions
from corral.backends.postgres.spans import PostgresSpans
from corral.backends.postgres.summaries import PostgresSummaries
from corral.backends.postgres.tiers import PostgresTiers
from corral.backends.postgres.tools import PostgresToolArtefacts, PostgresToolEffects
from corral.backends.postgres.topics import PostgresTopics
from corral.backends.postgres.turns import PostgresTurns


class PostgresStores:
    """The stores in the database that `postgresql://…` names, in its schema `corral`.

    The loop that calls `start` is home to all connections; other loops may call every method of the ports. Connections
    are opened as they are needed, at most `pool_max`, and one more once somebody watches for turns or jobs.
    """

    def __init__(self, url: str, *, pool_max: int = 10) -> None:
        self._engine = engine = Engine(url, pool_max=pool_max)
        self.url = engine.url
        self.sessions = PostgresSessions(engine)
        self.tiers = PostgresTiers(engine)
        self.summaries = PostgresSummaries(engine)
        self.turns = PostgresTurns(engine)
        self.invocations = PostgresInvocations(engine)
        self.spans = PostgresSpans(engine)
        depths = Depths(engine)
        self.jobs = PostgresJobs(engine, depths)
        self.job_records = PostgresJobRecords(engine, depths)
        self.schedules = PostgresSchedules(engine)
        self.outbox = PostgresOutbox(engine)
        self.tool_effects = PostgresToolEffects(engine)
        self.tool_artefacts = PostgresToolArtefacts(engine)
        self.blobs = PostgresBlobs(engine)
        self.cache = PostgresCache(engine)
        self.semantic = PostgresSemantic(engine)
        self.limits = PostgresLimits(engine)
        self.ledger = PostgresLedger(engine)
        self.budgets = PostgresBudgets(engine)
        self.boards = PostgresBoards(engine)
        self.memory = PostgresMemory(engine)
        self.resources = PostgresResources(engine)
        self.definitions = PostgresDefinitions(engine)
        self.executions = PostgresExecutions(engine)
        self.audit = PostgresAudit(engine)
        self.keys = PostgresKeys(engine)
        self.agent_runs = PostgresAgentRuns(engine)
        self.map_runs = PostgresMapRuns(engine)
        self.buckets = PostgresBuckets(engine)
        self.topics = PostgresTopics(engine)

    async def start(self) -> None:
        """Connect, and bring the schema up to date."""
        await self._engine.start()
        await make_days(self._engine)
        await self.ledger.make_days()

    async def check(self) -> None:
        """Ask the database something, within two seconds."""
        await self._engine.check()

    async def schema_version(self) -> tuple[int, int]:
        """What the database has, and what this program knows."""
        return await self._engine.schema_version()

    async def stop(self) -> None:
        """Finish what was accepted, and close."""
        await self._engine.stop()
