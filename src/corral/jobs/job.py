"""What a job is: what was asked for, what a worker gets, and what people see of it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from corral.context import EVERYTHING, Scope
from corral.jobs.states import JobState

PRIORITY_MAX = 10
PRIORITY_DEFAULT = 5
QUEUE_DEFAULT = "default"


class Backoff(msgspec.Struct, frozen=True, omit_defaults=True):
    """How long to wait before the next attempt: `initial_s * factor ** failures`, at most `max_s`, then jittered."""

    initial_s: float = 1.0
    factor: float = 2.0
    max_s: float = 300.0
    jitter: float = 0.5
    """Share of the pause that chance takes away: 0 is none, 1 is anything from nothing to the whole pause."""


class Callback(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom to tell when the job has ended."""

    url: str
    headers: dict[str, str] = {}


class JobDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be enqueued. `input` is JSON text; times are durations or, where named `…_at`, seconds since 1970."""

    id: str
    tenant: str
    agent: str
    input: bytes
    version: str = ""
    session_id: str | None = None
    user_id: str | None = None
    tier: str = ""
    roles: tuple[str, ...] = ()
    """What who asked may do, as the credential said."""
    scope: Scope = EVERYTHING
    """What its key may use."""
    queue: str = QUEUE_DEFAULT
    priority: int = PRIORITY_DEFAULT
    """0 to 10, higher goes first."""
    fairness_key: str = ""
    """Who shares with whom: jobs of different keys take turns. Empty: the tenant."""
    weight: float = 1.0
    """A key of weight 2 gets twice the turns of one of weight 1."""
    concurrency_key: str | None = None
    """At most `concurrency_limit` jobs of a tenant's key run at once. None: the session's, one at a time, when there is a session."""
    concurrency_limit: int = 1
    run_at: float | None = None
    """Not before this time; `delay_s` where both are given does not count."""
    delay_s: float = 0.0
    deadline_s: float | None = None
    """Given up, run or not, this long after it was enqueued."""
    timeout_s: float | None = None
    """Longest run of one attempt; none: the worker's default."""
    max_attempts: int = 3
    backoff: Backoff = Backoff()
    idempotency_key: str | None = None
    fingerprint: str = ""
    """What the idempotency key stands for: a second use with another fingerprint is refused."""
    dedupe_s: float = 86_400.0
    """How long the idempotency key is remembered, from now."""
    tags: tuple[str, ...] = ()
    batch_id: str | None = None
    callback: Callback | None = None
    traceparent: str = ""


class Enqueued(msgspec.Struct, frozen=True):
    """What became of a draft."""

    id: str
    """The id of the job; an earlier one's when the idempotency key was known."""
    is_new: bool
    state: JobState


class JobError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt or a job failed, as people read it. Redacted before it gets here."""

    code: str
    """Stable: `agent_error`, `deadline_exceeded`, `worker_lost`, …"""
    message: str
    type: str = ""
    """The class of the agent's own error."""
    traceback: str = ""
    retryable: bool = True


class Claim(msgspec.Struct, frozen=True):
    """One acquisition of one job. The token is fresh each time: a write that carries an old one is refused."""

    job_id: str
    token: str


class ClaimedJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker gets: all it needs to run the job."""

    id: str
    token: str
    tenant: str
    agent: str
    input: bytes
    version: str
    session_id: str | None
    user_id: str | None
    tier: str
    queue: str
    priority: int
    attempt: int
    """1 for the first claim; grows with each, whatever the reason."""
    failures: int
    """Attempts that failed or were lost so far: what `max_attempts` counts."""
    max_attempts: int
    backoff: Backoff
    timeout_s: float | None
    deadline_at: float | None
    created_at: float
    claimed_at: float
    """The store's time of this claim."""
    has_journal: bool
    """Whether steps or signals were written earlier, so that the journal must be read."""
    tags: tuple[str, ...]
    traceparent: str
    roles: tuple[str, ...] = ()
    scope: Scope = EVERYTHING

    @property
    def claim(self) -> Claim:
        """What every write of this run carries."""
        return Claim(self.id, self.token)


class Claimed(msgspec.Struct, frozen=True):
    """The answer to a claim."""

    jobs: list[ClaimedJob]
    next_due_s: float | None
    """In how many seconds the next scheduled or waiting job is due; none: there is none."""


EndingKind = Literal["succeeded", "failed", "cancelled", "retry", "released", "waiting"]


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker lets a claimed job go.

    - `succeeded` with `result`; `failed` with `error` (to the dead letters);
    - `cancelled`: its claim counts as no attempt unless it had `begun`;
    - `retry`: with `error` and `delay_s`; counts as a failure;
    - `released`: handed back unharmed (drain), to be claimed again at once; counts as nothing, and its claim as no attempt
      unless it had `begun`;
    - `waiting`: for the journal key `awaits`, at most until `wait_until` (the store's time); counts as nothing.
    """

    claim: Claim
    kind: EndingKind
    result: bytes | None = None
    error: JobError | None = None
    delay_s: float = 0.0
    awaits: str = ""
    wait_until: float | None = None
    begun: bool = True


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a job's journal."""

    key: str
    """Name and occurrence, such as `charge#1`; unique within the job. Written twice, the first one stays."""
    ordinal: int = 0
    """Its place among the steps that the agent asked for: what determinism is checked by. Signals have 0."""
    kind: Literal["step", "wait", "signal"] = "step"
    value: bytes = b"null"
    """JSON, or the name of a blob where `is_reference`."""
    is_reference: bool = False
    failed: bool = False
    """The step raised an error for good, and `value` describes it."""


class StepWrite(msgspec.Struct, frozen=True):
    """A step to be written under a claim."""

    claim: Claim
    step: Step


EventKind = Literal["piece", "progress", "log", "attempt"]


class JobEventDraft(msgspec.Struct, frozen=True):
    """An event to be appended to a job's log: `data` is JSON text."""

    claim: Claim
    kind: EventKind
    data: bytes


class JobEvent(msgspec.Struct, frozen=True):
    """Something that a running job said. `seq` counts from 1 within the job and never comes twice."""

    seq: int
    attempt: int
    kind: EventKind
    at: float
    data: msgspec.Raw


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that did not end well."""

    attempt: int
    worker: str
    started_at: float
    ended_at: float
    error: JobError


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A job as people see it."""

    id: str
    tenant: str
    agent: str
    version: str
    status: JobState
    queue: str
    priority: int
    session_id: str | None
    user_id: str | None
    tags: tuple[str, ...]
    batch_id: str | None
    attempt: int
    failures: int
    max_attempts: int
    created_at: float
    run_at: float | None
    """When it is due, where it is scheduled; when a wait ends, where it waits."""
    started_at: float | None
    """When the latest attempt began."""
    finished_at: float | None
    deadline_at: float | None
    worker: str | None
    cancel_requested: bool
    awaits: str
    """The signal it waits for, where it waits."""
    progress: msgspec.Raw | None
    """What `context.progress` said last."""
    error: JobError | None
    input: msgspec.Raw
    """Left out (`null`) in lists."""
    result: msgspec.Raw | None
    """Left out (none) in lists."""
    callback: Callback | None
    last_seq: int
    """The number of the newest event in its log; 0: none."""


def signal_of(awaits: str) -> str:
    """What a signal must be called to end a wait: `approval` for `signal:approval#1`; nothing where none is waited for."""
    return awaits.removeprefix("signal:").rpartition("#")[0] or awaits


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs. What is left empty does not matter; everything given must hold. Newest first."""

    status: tuple[JobState, ...] = ()
    agent: str | None = None
    queue: str | None = None
    tag: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    batch_id: str | None = None
    since: float | None = None
    """Created at this time or later."""
    until: float | None = None
    """Created before this time."""
    limit: int = 50
    cursor: str | None = None


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """One queue now: the signal to scale on."""

    queue: str
    queued: int = 0
    scheduled: int = 0
    running: int = 0
    waiting: int = 0
    oldest_queued_s: float = 0.0
    """Age of the job that is ready the longest; 0: none is."""


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that was alive lately."""

    worker: str
    queues: tuple[str, ...]
    """Empty: all."""
    slots: int
    running: int
    finished: int
    """Jobs it ended well since it started."""
    failed: int
    per_s: float
    """Jobs it ended per second lately."""
    started_at: float
    seen_at: float


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A job that comes again and again."""

    tenant: str
    name: str
    cron: str
    """Five fields, or `@every 90s`, `@hourly`, …"""
    timezone: str = "UTC"
    catch_up: Literal["skip", "one", "all"] = "one"
    """What to do about times that passed while nobody was there."""
    paused: bool = False
    job: dict[str, Any]
    """The request that is submitted each time, as in `POST /v1/jobs`."""
    next_at: float | None
    """When it is due next; none: never again."""
    last_at: float | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that is to be sent, or was: one row of the outbox."""

    id: str
    """Also the `webhook-id`: it is the same for every attempt."""
    token: str
    tenant: str
    job_id: str
    callback: Callback
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: float
    next_at: float
    answer: str
    """What came of the latest attempt: a status, or why there was none."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt to deliver."""

    id: str
    token: str
    ok: bool
    answer: str
    retry_in_s: float | None = None
    """None and not ok: given up."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Many jobs under one handle, and how far they are."""

    id: str
    total: int
    created_at: float
    counts: dict[JobState, int]
