"""A job while it runs: what its handler gets, and how it is stopped."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from corral.jobs.pieces import Pieces
from corral.jobs.steps import Journal

if TYPE_CHECKING:
    from corral.clock import Clock
    from corral.context import Context
    from corral.jobs.job import Claim, ClaimedJob, EndingKind, EventKind
    from corral.jobs.scribe import Scribe

StopReason = Literal["cancelled", "timeout", "deadline", "lost", "draining"]


class Outcome(msgspec.Struct, frozen=True):
    """What a handler returns for a job that succeeded: JSON text. Whatever else happened it raises."""

    result: bytes = b"null"


Handler = Callable[["RunningJob"], Awaitable[Outcome]]


class JobObserver(Protocol):
    """Who counts. Called on the worker's loop; must be quick and must not raise."""

    def claimed(self, job: ClaimedJob, waited_s: float | None) -> None:
        """A job begins; it was enqueued so long ago. None: it does not begin, and is handed back."""
        ...

    def ended(self, job: ClaimedJob, ending: EndingKind | Literal["lost"], run_s: float) -> None:
        """A run is over, and how it ended is written (`lost`: somebody else has the job)."""
        ...


class RunningJob:
    """One run of one job. It is the `JobHandle` of its context."""

    __slots__ = (
        "_clock",
        "_journal",
        "_pieces",
        "_scribe",
        "_timeout_s",
        "cancelled",
        "claim",
        "claimed",
        "context",
        "deadline",
        "ended",
        "home",
        "is_sure",
        "renewed_at",
        "started_at",
        "stop_reason",
        "stopped_at",
        "taken_at",
        "task",
    )

    def __init__(
        self,
        claimed: ClaimedJob,
        scribe: Scribe,
        home: asyncio.AbstractEventLoop,
        clock: Clock,
        *,
        taken_at: float,
        timeout_s: float,
    ) -> None:
        """Times are on the monotonic clock. `timeout_s` is for jobs that bring none of their own."""
        self.claimed = claimed
        self.claim: Claim = claimed.claim
        self.home = home
        self.taken_at = taken_at
        """When it was claimed; what was claimed together begins one after the other."""
        self._timeout_s = claimed.timeout_s or timeout_s
        self.begin(taken_at)
        self.renewed_at = taken_at
        """When the lease was last known to be good."""
        self.is_sure = False
        """Whether a crash of the store leaves it as it is."""
        self.context: Context | None = None
        """The context of the run, whose `cancelled` is to follow ours. The handler sets it."""
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False
        self.stop_reason: StopReason | None = None
        self.stopped_at = 0.0
        self.ended = False
        self._clock = clock
        self._scribe = scribe
        self._journal: Journal | None = None
        self._pieces: Pieces | None = None

    def __repr__(self) -> str:
        return f"RunningJob({self.claimed.id!r}, agent={self.claimed.agent!r}, attempt={self.claimed.attempt})"

    # -- for the handler ---------------------------------------------------------------------------------------------

    def attach_to(self, context: Context) -> None:
        """Make this the job of a context: its steps, its waits, its progress, its cancellation and its deadline."""
        self.context = context
        context.attach_job(self)
        context.deadline = self.deadline
        context.cancelled = context.cancelled or self.cancelled

    async def say(self, data: bytes) -> None:
        """Append a piece of the answer (JSON text) to the job's log. Returns at once unless the store is far behind."""
        if not self.ended:
            await self.pieces.say(data)

    def emit(self, kind: EventKind, data: bytes) -> None:
        """Append another event (JSON text) to the job's log."""
        if not self.ended:
            self.pieces.emit(kind, data)

    @property
    def journal(self) -> Journal:
        """The steps of this run."""
        if self._journal is None:
            self._journal = Journal(self, self._scribe)
        return self._journal

    @property
    def pieces(self) -> Pieces:
        """What this run says."""
        if self._pieces is None:
            self._pieces = Pieces(self, self._scribe.events)
        return self._pieces

    # -- for the agent, through its context --------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The job's id."""
        return self.claimed.id

    @property
    def attempt(self) -> int:
        """Which run this is."""
        return self.claimed.attempt

    @property
    def mark(self) -> str:
        """See `Context.job_mark`."""
        return hashlib.blake2b(self.claimed.input, digest_size=6).hexdigest()

    def step(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """See `Context.step`."""
        return self.journal.step(name, fn, args, kwargs)

    def run_step(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Context.run_step`."""
        return self.journal.run_step(name, fn, args, kwargs)

    def wait_for(self, name: str, timeout: float | None) -> Awaitable[Any]:
        """See `Context.wait_for`."""
        return self.journal.wait_for(name, timeout)

    def run_wait_for(self, name: str, timeout: float | None) -> Any:
        """See `Context.run_wait_for`."""
        return self.journal.run_wait_for(name, timeout)

    def progress(self, fraction: float, message: str) -> None:
        """See `Context.progress`. From whichever thread."""
        if asyncio._get_running_loop() is self.home:  # noqa: SLF001 - none in a thread, where the public one raises
            self._progress(fraction, message)
        else:
            self.home.call_soon_threadsafe(self._progress, fraction, message)

    def _progress(self, fraction: float, message: str) -> None:
        if not self.ended:
            self.pieces.progress(fraction, message)

    # -- for the worker ----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The monotonic clock."""
        return self._clock.monotonic()

    def store_now(self) -> float:
        """The store's time, as far as we can tell: its time of the claim, and what has passed since."""
        return self.claimed.claimed_at + self._clock.monotonic() - self.taken_at

    def is_past_its_deadline(self) -> bool:
        """Whether the whole job is late, and not this attempt alone."""
        deadline_at = self.claimed.deadline_at
        return deadline_at is not None and self.store_now() >= deadline_at

    @property
    def has_journal(self) -> bool:
        """Whether this run asked for a step."""
        return self._journal is not None

    @property
    def has_said(self) -> bool:
        """Whether this run said anything."""
        return self._pieces is not None

    def begin(self, at: float) -> None:
        """It runs from now on: the time that one attempt may take is counted from here."""
        self.started_at = at
        self.deadline = at + self._timeout_s
        """When this run is stopped: for `context.deadline`."""
        if self.claimed.deadline_at is not None:
            self.deadline = min(self.deadline, self.taken_at + self.claimed.deadline_at - self.claimed.claimed_at)

    def stop(self, reason: StopReason) -> None:
        """Ask the run to end. A lost claim goes before every other reason: nothing may be written any more."""
        if self.ended:
            return
        if self.stop_reason is None:
            self.stopped_at = self._clock.monotonic()
        elif reason != "lost" or self.stop_reason == "lost":
            return
        self.stop_reason = reason
        self.cancelled = True
        if self.context is not None:
            self.context.cancelled = True
        if self.task is not None:
            self.task.cancel()

    def part(self) -> None:
        """All is written. What it ran in leads back to it, in a circle: let go of, it need not be looked for."""
        self.context = None
        self.task = None

    def lose(self) -> None:
        """Another worker has the job."""
        self.stop("lost")
