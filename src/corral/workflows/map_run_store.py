"""The port of map runs: how far each run of a distributed Map is, and which of its children stands how.

Implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.map_runs`. Nobody holds a map run while
its children run: whoever hears of a child's end counts it and begins the next, each in one conditional transaction. Reading
the items and writing the results are held by one worker at a time, for a while. Times are the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from corral.errors import CorralError, NotFound

MapRunStatus = Literal["RUNNING", "SUCCEEDED", "FAILED", "ABORTED"]
Phase = Literal["reading", "running", "ending", "over"]
"""`ending`: how it ends is settled; children are stopped, results are written, the parent is told. `over`: all that is done."""

ChildState = Literal["running", "again", "succeeded", "failed", "timed_out", "aborted"]
"""`again`: it failed, and is to run once more."""

OPEN: tuple[ChildState, ...] = ("running", "again")
FAILED: tuple[ChildState, ...] = ("failed", "timed_out", "aborted")


class MapRunNotFound(NotFound):
    """There is no such map run."""

    code = "map_run_not_found"


class MapRunOver(CorralError):
    """This map run is over."""

    status = 409
    code = "map_run_over"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many of something stand how."""

    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    aborted: int = 0

    @property
    def unsuccessful(self) -> int:
        """All that a tolerance is about."""
        return self.failed + self.timed_out

    @property
    def ended(self) -> int:
        """All of them."""
        return self.succeeded + self.failed + self.timed_out + self.aborted


class MapRun(msgspec.Struct, frozen=True, kw_only=True):
    """A map run as it is kept."""

    tenant: str
    id: str
    arn: str
    execution_id: str
    """The parent's."""
    phase: Phase = "reading"
    status: MapRunStatus = "RUNNING"
    work: bytes = b"{}"
    """The order and the parent's facts, as JSON. Empty in lists."""
    max_concurrency: int = 1
    tolerated_count: int | None = None
    tolerated_percentage: float | None = None
    total: int = 0
    """Children, once the items are read."""
    items_total: int = 0
    next_index: int = 0
    """The first child that never began."""
    running: int = 0
    again: int = 0
    children: Counts = Counts()
    items: Counts = Counts()
    error: str = ""
    cause: str = ""
    started_at: float = 0.0
    stopped_at: float | None = None
    redrives: int = 0
    redriven_at: float | None = None
    look_at: float = 0.0
    """When somebody has to look at it, whatever else happens."""

    @property
    def pending(self) -> int:
        """Children that wait for their turn."""
        return self.total - self.next_index + self.again

    @property
    def startable(self) -> int:
        """Children that may begin now."""
        return max(0, min(self.pending, self.max_concurrency - self.running)) if self.phase == "running" else 0

    @property
    def is_exceeded(self) -> bool:
        """Whether more has failed than is tolerated. A tolerance that is not given tolerates nothing, if the other is not either."""
        failed = self.items.unsuccessful
        if self.tolerated_count is None and self.tolerated_percentage is None:
            return failed > 0
        if self.tolerated_count is not None and failed > self.tolerated_count:
            return True
        share = self.tolerated_percentage
        return share is not None and failed * 100 > share * self.items_total


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A child of a map run that has begun once."""

    index: int
    state: ChildState
    attempt: int = 0
    """How often it began before."""
    items: int = 1
    changed_at: float = 0.0
    record: bytes | None = None
    """What came of it, as JSON, once it ended."""


class ChildOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a child."""

    index: int
    state: ChildState
    items: int = 1
    record: bytes


class Taken(msgspec.Struct, frozen=True):
    """Children that are to begin, and the map run as it is then."""

    run: MapRun
    children: list[Child]


class MapRunStore(Protocol):
    """Map runs and their children. Every method may be called from many tasks at once; a run that is not there is none."""

    async def begin(self, run: MapRun) -> MapRun:
        """Keep a new map run; durable when it returns. One of that id is there already: that one, and nothing is written."""
        ...

    async def get(self, tenant: str, run_id: str) -> MapRun | None:
        """One map run."""
        ...

    async def of_execution(self, tenant: str, execution_id: str) -> list[MapRun]:
        """The map runs of an execution, oldest first, without `work`."""
        ...

    async def hold(
        self, tenant: str, run_id: str, *, phase: Phase, token: str, now: float, until: float
    ) -> MapRun | None:
        """Take a map run that is in this phase, or keep it longer. None: it is not, or somebody else has it."""
        ...

    async def filled(
        self, tenant: str, run_id: str, *, token: str, total: int, items: int, look_at: float
    ) -> MapRun | None:
        """Its items are read: from now on children run. None: somebody else has taken it, or it ends."""
        ...

    async def take(self, tenant: str, run_id: str, *, limit: int, now: float, look_at: float) -> Taken | None:
        """Have the next children begin: those that are to run again first, then new ones, never more than may run at once."""
        ...

    async def settle(self, tenant: str, run_id: str, outcomes: Sequence[ChildOutcome], *, now: float) -> MapRun | None:
        """Count children that ended. One that does not run is not counted again. The map run as it is then."""
        ...

    async def children(
        self, tenant: str, run_id: str, *, states: Sequence[ChildState] = (), after: int = -1, limit: int = 500
    ) -> list[Child]:
        """Children that began, by index; with their records."""
        ...

    async def end(
        self, tenant: str, run_id: str, *, status: MapRunStatus, error: str = "", cause: str = "", now: float
    ) -> MapRun | None:
        """Settle how it ends, if that is not settled yet. No child begins from now on. The map run, whoever ended it."""
        ...

    async def over(
        self, tenant: str, run_id: str, *, error: str = "", cause: str = "", status: MapRunStatus, now: float
    ) -> None:
        """Its end is done with, whatever there was to do. `status` may differ from what was settled: results could not be written."""
        ...

    async def update(
        self,
        tenant: str,
        run_id: str,
        *,
        max_concurrency: int | None = None,
        tolerated_count: int | None = None,
        tolerated_percentage: float | None = None,
    ) -> MapRun | None:
        """Change what is given of a map run that runs. None: it does not."""
        ...

    async def redrive(self, tenant: str, run_id: str, *, now: float) -> MapRun | None:
        """Have the children of a map run that failed or was stopped run again which did not succeed. None: it did not fail.

        One whose items were never read reads them again.
        """
        ...

    async def due(self, *, now: float, limit: int, hold_s: float) -> tuple[list[tuple[str, str]], float | None]:
        """Tenants and ids of map runs somebody has to look at; nobody else gets them for `hold_s`. And when the next is due."""
        ...

    async def stale(self, *, before: float, limit: int) -> list[tuple[str, str]]:
        """Tenants and ids of map runs that were over before that time, oldest first."""
        ...

    async def remove(self, tenant: str, run_id: str) -> None:
        """Remove a map run and what is known of its children."""
        ...
