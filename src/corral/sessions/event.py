"""What a session is made of."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Message, Role


class SessionKey(msgspec.Struct, frozen=True):
    """A session belongs to a tenant; ids of two tenants never meet."""

    tenant: str
    session_id: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event about to be appended: all that the store does not decide itself."""

    role: Role
    content: list[dict[str, Any]]
    actor: str = ""
    branch: str = "main"
    branch_root: str | None = None
    """Where a new branch leaves its parent: the id of the last event they share; none: the session's latest event."""
    metadata: dict[str, Any] = {}
    ttl_s: float | None = None
    """Seconds until the event expires by itself; none: it lives as long as its session."""


class SessionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in a session. Events are only ever appended or deleted, never changed."""

    id: str
    """Unique in the session and sortable by time: 16 digits of milliseconds, `#`, 8 hex digits of the sequence."""
    session_id: str
    seq: int
    """Position in the session, starting at 1, rising without reuse."""
    role: Role
    content: list[dict[str, Any]]
    actor: str = ""
    branch: str = "main"
    turn: str | None = None
    """The turn that wrote it: what `rollback` takes back together."""
    metadata: dict[str, Any] = {}
    created_at: float
    expires_at: float | None = None

    @property
    def text(self) -> str:
        """All text parts, one after the other."""
        return "".join(part.get("text", "") for part in self.content if part.get("type") == "text")

    def as_message(self) -> Message:
        """The event as a message of the conversation."""
        return Message(role=self.role, content=self.content, metadata=self.metadata)


def event_id(created_at: float, seq: int) -> str:
    """The id of the event at `seq`, written at `created_at`."""
    return f"{int(created_at * 1000):016d}#{seq:08x}"


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A session as a list shows it."""

    session_id: str
    actor: str
    """The actor of the first event; empty when nobody said who spoke."""
    created_at: float
    updated_at: float
    events: int
    """Events appended so far (the highest `seq`); deleted ones stay counted."""
    expires_at: float | None = None
    metadata: dict[str, Any] = {}


class ActorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who spoke in at least one session."""

    actor: str
    sessions: int
    last_seen_at: float


class State(msgspec.Struct, frozen=True):
    """The session's small JSON document, and the version that a compare-and-set must name (0: never written)."""

    value: Any
    version: int


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events of a session to list. Newest first; `cursor` continues an earlier page."""

    limit: int = 100
    cursor: str | None = None
    branch: str | None = None
    """Only this branch (with `include_parents`: and what came before the branch left its parent)."""
    include_parents: bool = False
    actor: str | None = None
    roles: tuple[Role, ...] = ()
    since: float | None = None
    metadata: dict[str, str] = {}
    """Events whose metadata has each of these keys with exactly this value."""
    has: tuple[str, ...] = ()
    """Events whose metadata has each of these keys, with whatever text or number."""
    lacks: tuple[str, ...] = ()
    """Events whose metadata has none of these keys."""
    event_id: str | None = None
    """Only the event of this id, if the other conditions hold for it too."""
    warm_only: bool = False
    """Leave out what lies in the archive, without a word."""


class SessionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions of a tenant to list, the most recently active first."""

    limit: int = 100
    cursor: str | None = None
    actor: str | None = None
    """Only sessions in which this actor appears."""
    prefix: str = ""
    """Only sessions whose id begins so."""


# -- tiers ------------------------------------------------------------------------------------------------------------


class Stamp(msgspec.Struct, frozen=True):
    """What a session is at this moment, in a few numbers: a copy of its newest events is good while they are the same."""

    number: int
    created_at: float
    erased: int
    """How often something was taken out of it."""
    last_seq: int
    cold_seq: int
    """Events up to this place lie in the archive."""
    at: float
    """When this was so, by the store's clock."""


class Idle(msgspec.Struct, frozen=True):
    """A session of which something may go to the archive."""

    key: SessionKey
    number: int
    cold_seq: int
    keep: int
    """So many of its newest events stay."""


class KeptEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event as it lies in the archive: all that a store has of it."""

    seq: int
    created_at: float
    expires_at: float | None
    role: str
    actor: str
    branch: str
    turn: str | None
    labels: str | None
    metadata: msgspec.Raw
    """JSON; `null` for none."""
    content: msgspec.Raw


class Batch(msgspec.Struct, frozen=True):
    """The oldest events of a session, as they are to be written to the archive."""

    idle: Idle
    object: str
    """The name under which they are to be written: nobody else uses it, and if nobody does in the end it is swept."""
    events: list[KeptEvent]


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a session that lie in one object of the archive."""

    key: SessionKey
    number: int
    first_seq: int
    last_seq: int
    events: int
    bytes: int
    """Of the object."""
    object: str
    digest: str
    """SHA-256 of the object."""
    cold_at: float
    """When its newest event was written."""
    next_expiry: float | None = None
    """When the first of its events expires."""


class TierCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the sessions is where."""

    sessions: int = 0
    warm_sessions: int = 0
    """Sessions with events in the store."""
    warm_events: int = 0
    warm_bytes: int = 0
    """Estimated, from the newest events."""
    cold_sessions: int = 0
    """Sessions with events in the archive; one may be both."""
    cold_events: int = 0
    cold_bytes: int = 0
    """Of the objects, compressed."""
