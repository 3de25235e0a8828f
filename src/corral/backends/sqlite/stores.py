"""All ports on one SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.backends.sqlite.agent_runs import SqliteAgentRuns
from corral.backends.sqlite.audit import SqliteAudit
from corral.backends.sqlite.blobs import SqliteBlobs
from corral.backends.sqlite.boards import SqliteBoards
from corral.backends.sqlite.buckets import SqliteBuckets
from corral.backends.sqlite.budgets import SqliteBudgets
from corral.backends.sqlite.cache import SqliteCache
from corral.backends.sqlite.definitions import SqliteDefinitions
from corral.backends.sqlite.engine import Engine
from corral.backends.sqlite.executions import SqliteExecutions
from corral.backends.sqlite.invocations import SqliteInvocations
from corral.backends.sqlite.job_records import SqliteJobRecords
from corral.backends.sqlite.jobs import SqliteJobs
from corral.backends.sqlite.keys import SqliteKeys
from corral.backends.sqlite.ledger import SqliteLedger
from corral.backends.sqlite.limits import SqliteLimits
from corral.backends.sqlite.map_runs import SqliteMapRuns
from corral.backends.sqlite.memory import SqliteMemory
from corral.backends.sqlite.outbox import SqliteOutbox
from corral.backends.sqlite.resources import SqliteResources
from corral.backends.sqlite.schedules import SqliteSchedules
from corral.backends.sqlite.semantic import SqliteSemantic
from corral.backends.sqlite.sessions import SqliteSessions
from corral.backends.sqlite.spans import SqliteSpans
from corral.backends.sqlite.summaries import SqliteSummaries
from corral.backends.sqlite.tiers import SqliteTiers
from corral.backends.sqlite.tools import SqliteToolArtefacts, SqliteToolEffects
from corral.backends.sqlite.topics import SqliteTopics
from corral.backends.sqlite.turns import SqliteTurns
from corral.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from corral.clock import Clock


class SqliteStores:
    """The stores in the file that `sqlite:///path` names. Open it after forking, once per process or more often.

    `sync="normal"` survives the death of any process; `"full"` waits for the disk at each commit and survives power
    failure as well. The host's clock is the store's clock.
    """

    def __init__(self, url: str, *, sync: str = "normal", clock: Clock = SYSTEM_CLOCK) -> None:
        self.url = url
        self._engine = engine = Engine(url, sync=sync, clock=clock)
        self.sessions = SqliteSessions(engine)
        self.tiers = SqliteTiers(engine)
        self.summaries = SqliteSummaries(engine)
        self.turns = SqliteTurns(engine)
        self.invocations = SqliteInvocations(engine)
        self.spans = SqliteSpans(engine)
        self.jobs = SqliteJobs(engine)
        self.job_records = SqliteJobRecords(engine)
        self.schedules = SqliteSchedules(engine)
        self.outbox = SqliteOutbox(engine)
        self.tool_effects = SqliteToolEffects(engine)
        self.tool_artefacts = SqliteToolArtefacts(engine)
        self.blobs = SqliteBlobs(engine)
        self.cache = SqliteCache(engine)
        self.semantic = SqliteSemantic(engine)
        self.limits = SqliteLimits(engine)
        self.ledger = SqliteLedger(engine)
        self.budgets = SqliteBudgets(engine)
        self.boards = SqliteBoards(engine)
        self.memory = SqliteMemory(engine)
        self.resources = SqliteResources(engine)
        self.definitions = SqliteDefinitions(engine)
        self.executions = SqliteExecutions(engine)
        self.audit = SqliteAudit(engine)
        self.keys = SqliteKeys(engine)
        self.agent_runs = SqliteAgentRuns(engine)
        self.map_runs = SqliteMapRuns(engine)
        self.buckets = SqliteBuckets(engine)
        self.topics = SqliteTopics(engine)

    async def start(self) -> None:
        """Open the file, making it and its folder when they are not there, and bring the schema up to date."""
        await self._engine.start()

    async def check(self) -> None:
        """Begin a transaction, within two seconds."""
        await self._engine.check()

    async def schema_version(self) -> tuple[int, int]:
        """What the file has, and what this program knows."""
        return await self._engine.schema_version()

    async def stop(self) -> None:
        """Finish what was accepted, and close."""
        await self._engine.stop()
