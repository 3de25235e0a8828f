"""The ports of this room: where events are kept, who has a session's turn, and what lies in the archive.

All are implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.sessions` and its
neighbours.
Every method is asynchronous, may be called from many tasks at once, is bounded in time by the store's own timeout, and
raises `StoreUnavailable` when the engine does not answer. The store's clock is the only clock for leases and expiry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from corral.messages import Page
from corral.sessions.event import (
    ActorInfo,
    Batch,
    Draft,
    EventQuery,
    Idle,
    KeptEvent,
    Segment,
    SessionEvent,
    SessionInfo,
    SessionKey,
    SessionQuery,
    Stamp,
    State,
    TierCounts,
)

TurnPolicy = Literal["enqueue", "reject", "interrupt", "rollback"]


class SessionStore(Protocol):
    """Append-only events and one small state document per session.

    The oldest events of a session may lie in the archive (see `TierStore`). What needs them (a page that goes back so far, a
    copy, deleting one of them, forgetting their actor, a branch that leaves there) raises `SessionCold` and changes nothing:
    bring them back, and ask again.
    """

    async def create(self, key: SessionKey, *, actor: str = "", metadata: dict[str, Any], ttl_s: float | None) -> bool:
        """Make sure the session exists. True: it is new; False: it was there, and nothing changed."""
        ...

    async def append(
        self, key: SessionKey, drafts: Sequence[Draft], *, turn: str | None = None, ttl_s: float | None = None
    ) -> list[SessionEvent]:
        """Append all drafts in order, or none; durable when it returns. Creates the session when it is new.

        Times and ids never run backwards within a session. If the caller is cancelled, the drafts are appended or not,
        but never in part. Raises `ValidationFailed` for what no engine could keep or read again (an id with NUL, content
        that is not JSON), and `EventNotFound` when a new branch is to leave at an event that is not there.

        With `turn`, raises `TurnLost` unless that turn still holds the session at the moment of writing: a request
        that lost its turn can change nothing. `ttl_s` moves the session's own expiry to that long from now.
        """
        ...

    async def events(self, key: SessionKey, query: EventQuery) -> Page[SessionEvent]:
        """List events, newest first. Expired ones are never listed, swept or not. An unknown session is empty."""
        ...

    async def get(self, key: SessionKey) -> SessionInfo | None:
        """Describe one session, or say that there is none."""
        ...

    async def sessions(self, tenant: str, query: SessionQuery) -> Page[SessionInfo]:
        """List a tenant's sessions, the most recently active first."""
        ...

    async def actors(
        self, tenant: str, *, limit: int = 100, cursor: str | None = None, prefix: str = ""
    ) -> Page[ActorInfo]:
        """List who spoke, by name; with `prefix` only in sessions whose id begins so."""
        ...

    async def read_state(self, key: SessionKey) -> State:
        """Read the state document; `State(None, 0)` when it was never written."""
        ...

    async def write_state(
        self, key: SessionKey, value: Any, *, expected_version: int | None = None, turn: str | None = None
    ) -> int:
        """Replace the state and return its new version.

        With `expected_version`, raises `StateConflict` unless the stored version is exactly that (0: not written yet).
        With `turn`, fenced as in `append`. Creates the session when it is new.
        """
        ...

    async def fork(self, key: SessionKey, new_session_id: str, *, at_event: str | None = None) -> SessionInfo:
        """Copy a session's events up to and including `at_event` (default: all), and its state, under a new id.

        Raises `SessionNotFound`, `EventNotFound`, or `SessionExists`. The copy keeps ids, sequence and times.
        """
        ...

    async def delete(self, tenant: str, *, session_id: str | None = None, actor: str | None = None) -> int:
        """Forget one session, every session and event of one actor, or (neither named) all of a tenant's; irreversible.

        An actor's events go from shared sessions too; a session is deleted whole when no event of another actor
        remains (one without an actor, such as a reply, is nobody's). Returns how many sessions were deleted. A turn that
        runs or waits meanwhile in a session that is touched loses it.
        """
        ...

    async def delete_event(self, key: SessionKey, event_id: str) -> bool:
        """Delete one event. False: it was not there."""
        ...

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep at most `limit` expired events and sessions; returns how many went. Any worker may call it any time."""
        ...


class TurnStore(Protocol):
    """Whose turn it is in a session: a line of tickets, first come first served, each with a lease.

    A call whose caller is cancelled may happen all the same. What is asked about one ticket after that happens after
    that: a `leave` that follows a cancelled `join` leaves no ticket behind.
    """

    async def join(self, key: SessionKey, turn: str, *, policy: TurnPolicy, lease_s: float, waiting_max: int) -> bool:
        """Take a ticket named `turn`, at the end of the line. True: the turn is granted now; False: wait for it.

        Joining twice under one name is joining once. A join that is refused changes nothing.

        `reject` raises `SessionBusy` when somebody live holds or waits. `interrupt` and `rollback` void every earlier
        ticket and are granted at once (True); `rollback` also deletes, in the same transaction, the events that the
        voided turns wrote. Raises `SessionQueueFull` when `waiting_max` tickets wait already. Tickets whose lease ran
        out count for nothing, and are removed here.
        """
        ...

    async def claim(self, key: SessionKey, turn: str) -> bool:
        """True when `turn` is now the oldest live ticket and so holds the session. Raises `TurnLost` if it is void.

        Tickets before it whose lease ran out are removed. Until somebody else joins or claims, a ticket that ran out may
        still be renewed, and its words are still taken.
        """
        ...

    async def renew(self, turns: Sequence[tuple[SessionKey, str]], *, lease_s: float) -> list[str]:
        """Extend the leases of held and waiting tickets; returns the turns that are void (lapsed and passed over)."""
        ...

    async def leave(
        self, key: SessionKey, turn: str, *, drafts: Sequence[Draft] = (), ttl_s: float | None = None
    ) -> None:
        """Give the ticket back, after appending `drafts` in the same transaction (fenced: `TurnLost`).

        Without drafts it never raises `TurnLost`: leaving twice is leaving once. The next waiter is woken.
        """
        ...

    def watch(self, woken: Callable[[SessionKey], None]) -> Callable[[], None]:
        """Call `woken` (on the loop that called `watch`) when a line may have moved, in any process.

        Told about are the sessions in whose lines a ticket taken through this store stands: waiting, or holding (it may
        have been taken over). A hint that may be lost or come twice; whoever waits also asks `claim` about once a second.
        Wake only the first of your own that waits, or a long line asks the store the square of its length. Returns the
        call that ends the watch.
        """
        ...


class TierStore(Protocol):
    """What of the sessions lies in the archive, and moving it there and back. Objects themselves are `Archive`'s.

    The order in which it survives any death: `begin` notes the object's name as litter, the object is written and read
    back, `end` makes it a segment and removes the events, in one transaction. Back: `restore` inserts the events and makes
    the object litter, in one transaction; then it is deleted. At every moment each event is readable exactly once.
    """

    async def stamp(self, key: SessionKey) -> Stamp | None:
        """The numbers of a live session; none: there is no such session."""
        ...

    def cursor_at(self, seq: int) -> str:
        """The cursor of a page of events that ended with the one at this place."""
        ...

    async def idle(
        self, after: int, *, idle_s: float, events_max: int, limit: int = 100
    ) -> tuple[list[Idle], int | None]:
        """Sessions, of all tenants, nobody wrote to or brought back for `idle_s`, or with more than `events_max` events here.

        Looks at a bounded number of sessions from the place `after` on; returns where to go on, none: that was the last.
        Of a session that is only long, half of `events_max` stay.
        """
        ...

    async def begin(self, idle: Idle, name: str, *, events_max: int, bytes_max: int, spare_s: float) -> Batch | None:
        """Read the oldest events that may go, and note `name` as litter that is due in `spare_s`.

        At most `events_max` and about `bytes_max`, at least one. None: nothing may go (any more), or somebody has its turn.
        """
        ...

    async def end(self, segment: Segment, *, cold_seq: int) -> bool:
        """Make it a segment and remove its events. False, with nothing changed, unless all is as it was when it began.

        That is: `cold_seq` and the events up to its last place are the same, nobody has a turn, and the object's name still
        stands among the litter, untouched.
        """
        ...

    async def segments(self, key: SessionKey) -> list[Segment]:
        """A live session's segments, the newest first."""
        ...

    async def restore(self, segment: Segment, events: Sequence[KeptEvent]) -> bool:
        """Bring its events back, but for those that expired. False: it is not the session's newest segment (any more)."""
        ...

    async def expiring(self, *, limit: int = 10) -> list[Segment]:
        """Segments that hold an event past its time, of all tenants."""
        ...

    async def cold_of_actor(self, tenant: str, actor: str, *, limit: int = 10) -> list[SessionKey]:
        """Sessions in which an actor appears and that have segments."""
        ...

    async def litter(self, *, limit: int = 100) -> list[str]:
        """Objects to be deleted now. From here on they can become nobody's segment; they are named until `swept`."""
        ...

    async def swept(self, names: Sequence[str]) -> None:
        """These objects are gone."""
        ...

    async def counts(self, tenant: str | None = None) -> TierCounts:
        """How much is where: of one tenant, or of all."""
        ...


class Archive(Protocol):
    """Where objects lie. Names are letters, digits, `-`, `.` and `/`. Raises `StoreUnavailable`."""

    url: str
    """Where that is, without any secret."""

    async def put(self, name: str, body: bytes) -> None:
        """Write an object, whole or not at all; durable when it returns."""
        ...

    async def get(self, name: str) -> bytes | None:
        """Read one; none: there is none."""
        ...

    async def delete(self, name: str) -> None:
        """Delete one; again is as good as once."""
        ...

    async def stop(self) -> None:
        """Let go of what it holds. Stopping twice is stopping once."""
        ...
