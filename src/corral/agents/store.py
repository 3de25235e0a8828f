"""The port of this room: where agents' runs and the approvals they wait for are kept.

Implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.agent_runs`. A run is a row and
its entries, which are only ever appended; whoever works on it holds it under a token that fences every write. All
coordination is a conditional update in one database, whose clock is the only clock. Every method is asynchronous, may be
called from many tasks at once, and raises `StoreUnavailable` when the engine does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from corral.errors import CorralError, NotFound
from corral.messages import Page, Usage

RunState = Literal["running", "interrupted", "paused", "done", "failed", "cancelled"]
"""`paused`: it waits for a person. `interrupted`: nobody works on it although it is not over, because its worker died or its
client left. Both can be resumed."""

RUN_STATES: tuple[RunState, ...] = ("running", "interrupted", "paused", "done", "failed", "cancelled")
OPEN: frozenset[RunState] = frozenset({"running", "interrupted", "paused"})

ApprovalState = Literal["waiting", "approved", "refused", "expired", "withdrawn"]
"""`withdrawn`: its run was cancelled before anybody answered."""

APPROVAL_STATES: tuple[ApprovalState, ...] = ("waiting", "approved", "refused", "expired", "withdrawn")


class RunNotFound(NotFound):
    """There is no such run."""

    code = "run_not_found"


class RunBusy(CorralError):
    """Somebody works on this run now; wait until it pauses or ends."""

    status = 409
    code = "run_busy"
    retryable = True


class RunOver(CorralError):
    """This run is over; fork it to go on from one of its entries."""

    status = 409
    code = "run_over"


class RunLost(CorralError):
    """Somebody else took this run over: what is done here is not written down any more."""

    status = 409
    code = "run_lost"


class ApprovalNotFound(NotFound):
    """Nobody was asked for such an approval."""

    code = "approval_not_found"


class ApprovalClosed(CorralError):
    """This approval cannot be answered any more."""

    status = 409
    code = "approval_closed"


class EntryDraft(msgspec.Struct, frozen=True):
    """What is to be appended to a run's journal."""

    kind: str
    body: bytes
    """JSON; no engine looks into it."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a run's journal."""

    seq: int
    """1, 2, 3, … without a gap."""
    at: float
    kind: str
    body: bytes


class RunDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is to begin."""

    tenant: str
    id: str
    agent: str
    session_id: str = ""
    user_id: str = ""
    job_id: str = ""
    """The job in which it runs: its next attempt goes on with this run."""
    parent_id: str = ""
    """The run whose first entries it begins with."""
    idempotency_key: str | None = None
    fingerprint: str = ""
    """Of what was asked for: the same key with another one is a mistake."""
    attempt: int = 0
    """Which attempt of the job it is."""


class RunClaim(msgspec.Struct, frozen=True):
    """Who works on a run."""

    tenant: str
    id: str
    token: str


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What a run took until now."""

    steps: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    """None: a model was asked whose price is not known."""


class RunEnding(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is let go."""

    state: Literal["interrupted", "paused", "done", "failed", "cancelled"]
    outcome: bytes = b"null"
    """What came of it, as JSON."""
    error_code: str = ""
    resumable: bool = False
    """It failed for a reason that may pass: it can be claimed all the same."""


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is now."""

    tenant: str
    id: str
    agent: str
    state: RunState
    session_id: str
    user_id: str
    job_id: str
    parent_id: str
    attempt: int
    cancel_requested: bool
    entries: int
    """How many its journal has."""
    tally: Tally
    error_code: str
    created_at: float
    updated_at: float
    ended_at: float | None
    resumable: bool
    """Whether it can be claimed, once nobody holds it."""
    outcome: bytes | None = None
    """What came of it, where one run was asked for and it was let go."""


class Begun(msgspec.Struct, frozen=True):
    """What became of a draft."""

    run: RunInfo
    is_new: bool
    """False: this id, or this idempotency key, began before. Nothing was changed, and the caller holds nothing."""


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list."""

    states: tuple[RunState, ...] = ()
    agent: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    job_id: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 100
    cursor: str | None = None


class ApprovalDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is to be asked."""

    id: str
    call_id: str
    """The call of the tool that waits for the answer."""
    tool: str
    input: dict[str, Any] = {}
    message: str = ""
    rule: str = ""
    """The rule that wants it."""
    ttl_s: float | None = None
    """How long an answer counts; none: forever."""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is asked, and what was answered."""

    id: str
    run_id: str
    agent: str
    session_id: str
    user_id: str
    """For whom the run works."""
    job_id: str
    call_id: str
    tool: str
    input: dict[str, Any]
    message: str
    rule: str
    state: ApprovalState
    asked_at: float
    expires_at: float | None
    decided_at: float | None = None
    by: str = ""
    note: str = ""
    changed_input: dict[str, Any] | None = None
    """What the tool is to be called with instead."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A person's answer."""

    approve: bool
    by: str
    note: str = ""
    input: dict[str, Any] | None = None


class ApprovalQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which approvals to list."""

    id: str | None = None
    run_id: str | None = None
    agent: str | None = None
    states: tuple[ApprovalState, ...] = ()
    limit: int = 100
    cursor: str | None = None


class RunsRenewed(msgspec.Struct, frozen=True):
    """What a heartbeat learns."""

    lost: list[str]
    """Tokens that hold their run no longer."""
    cancelled: list[str]
    """Tokens whose run somebody wants cancelled; they still hold it."""


class AgentRuns(Protocol):
    """Agents' runs, their journals, and what they ask people."""

    async def begin(self, draft: RunDraft, *, token: str, lease_s: float, entries: Sequence[EntryDraft] = ()) -> Begun:
        """Begin a run with its first entries, held under `token` for `lease_s`; durable when it returns.

        An id, or an idempotency key of the tenant, that is there already: that run as it is, and nothing is held. Beginning
        twice with the same token is beginning once. Raises `IdempotencyKeyReused` where the fingerprint is another one.
        """
        ...

    async def claim(self, tenant: str, run_id: str, *, token: str, lease_s: float, attempt: int = 0) -> RunInfo:
        """Take a run to go on with it: one that is resumable, or whose worker was not heard of for as long as its lease.

        A later `attempt` of its job takes it from an earlier one at once. From then on the earlier token writes nothing.
        Raises `RunNotFound`, `RunBusy` (somebody holds it), `RunOver`. Claiming twice with one token is claiming once.
        """
        ...

    async def append(
        self,
        claim: RunClaim,
        entries: Sequence[EntryDraft],
        *,
        first: int,
        tally: Tally | None = None,
        approvals: Sequence[ApprovalDraft] = (),
        ending: RunEnding | None = None,
    ) -> bool:
        """Append entries, of which the first has the number `first`; all of it or nothing, durable when it returns.

        `approvals` are asked for with it; one that was asked before stays as it is. With `ending` the run is let go; one that
        somebody wants cancelled is not let go to be resumed, but cancelled. True: somebody wants that. Raises `RunLost` where the token holds the run no longer, or where it has another
        number of entries. Asked again with what was the last to be written, it answers as before.
        """
        ...

    async def renew(self, claims: Sequence[RunClaim], *, lease_s: float) -> RunsRenewed:
        """Extend leases; a lapsed one is extended too while nobody else took the run."""
        ...

    async def get(self, tenant: str, run_id: str) -> RunInfo | None:
        """One run, with its outcome."""
        ...

    async def find(self, tenant: str, query: RunQuery) -> Page[RunInfo]:
        """List, newest first, without outcomes."""
        ...

    async def entries(self, tenant: str, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries with a number above `after`, in order. None for an unknown run."""
        ...

    async def approvals(self, tenant: str, query: ApprovalQuery) -> Page[Approval]:
        """List what people were asked, newest first. One that waits longer than it may is `expired`."""
        ...

    async def waiting(self, *, limit: int) -> int:
        """How many approvals wait for an answer, of all tenants; counting stops at `limit`."""
        ...

    async def decide(self, tenant: str, approval_id: str, decision: Decision) -> Approval:
        """Answer, once and for all. The same answer again is answering once.

        Raises `ApprovalNotFound`, and `ApprovalClosed` where it was answered otherwise, has expired or was withdrawn.
        """
        ...

    async def cancel(self, tenant: str, run_id: str) -> RunInfo:
        """Cancel: a run nobody works on is over at once and its approvals are withdrawn; another one is asked to stop.

        One that is over stays as it is. Raises `RunNotFound`.
        """
        ...

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Remove runs nobody works on and that have not changed since `before`, with all they left behind; how many."""
        ...
