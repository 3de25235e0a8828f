"""A session as an agent sees it: `context.session`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corral.errors import ValidationFailed
from corral.messages import Message, Page, Role
from corral.sessions.access import Access
from corral.sessions.drafts import Defaults, Sayable, check_id, drafts_of
from corral.sessions.event import EventQuery, SessionEvent, SessionInfo, SessionKey
from corral.sessions.state import SessionState, SyncState
from corral.sessions.store import SessionStore
from corral.sessions.turn import Turn

MAIN_BRANCH = "main"
_PAGE_MAX = 1000


class Session:
    """One conversation: what was said, a small state, and copies of it.

    Works from the worker's loop and from any other loop. Synchronous agents, which run in a thread, use `sync`, the same
    calls without `await`.
    """

    __slots__ = ("_access", "_actor", "_state", "_sync")

    def __init__(
        self,
        store: SessionStore,
        key: SessionKey,
        *,
        turn: Turn | None = None,
        actor: str = "",
        ttl_s: float | None = None,
    ) -> None:
        """Made on the loop the store lives on.

        With a `turn`, a write after the turn was lost raises `TurnLost`. `actor` is who speaks when nothing else is
        said; `ttl_s` is how long the session lives after its last event.
        """
        self._access = Access(store, key, turn, ttl_s)
        self._actor = actor
        self._state: SessionState | None = None
        self._sync: SyncSession | None = None

    @property
    def id(self) -> str:
        """The session's id."""
        return self._access.key.session_id

    @property
    def appended(self) -> bool:
        """Whether the agent appended anything in this turn; if so, the runtime does not record the turn by itself."""
        return self._access.appended

    @property
    def state(self) -> SessionState:
        """The session's small JSON document: `await session.state.get()`, `set(value)`, `update(change)`."""
        if self._state is None:
            self._state = SessionState(self._access)
        return self._state

    @property
    def sync(self) -> SyncSession:
        """The same calls, blocking, for synchronous agents."""
        if self._sync is None:
            self._sync = SyncSession(self, self._access)
        return self._sync

    async def messages(self, limit: int = 20, *, branch: str | None = None) -> list[Message]:
        """The newest `limit` messages, oldest first: what one gives to a model.

        Of the main branch, or of another one together with what came before it left its parent.
        """
        if limit < 1:
            raise ValidationFailed(f"Ask for at least 1 message, not {limit}.")
        newest: list[SessionEvent] = []
        cursor: str | None = None
        while len(newest) < limit:
            page = await self.events(
                min(limit - len(newest), _PAGE_MAX), cursor=cursor, branch=branch or MAIN_BRANCH, include_parents=True
            )
            newest += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        return [event.as_message() for event in reversed(newest)]

    async def events(
        self,
        limit: int = 100,
        *,
        cursor: str | None = None,
        branch: str | None = None,
        include_parents: bool = False,
        actor: str | None = None,
        roles: Sequence[Role] = (),
        since: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Page[SessionEvent]:
        """One page of events, newest first; `cursor` continues an earlier page. See `EventQuery` for the filters."""
        query = EventQuery(
            limit=limit,
            cursor=cursor,
            branch=branch,
            include_parents=include_parents,
            actor=actor,
            roles=tuple(roles),
            since=since,
            metadata=metadata or {},
        )
        return await self._access.events(query)

    async def append(
        self,
        said: Sayable | Sequence[Sayable] | str | None = None,
        content: object = None,
        *,
        role: Role | None = None,
        actor: str | None = None,
        metadata: dict[str, Any] | None = None,
        branch: str | None = None,
        ttl_s: float | None = None,
    ) -> list[SessionEvent]:
        """Append one event or several, in one transaction; durable when it returns.

        `append("user", "Hello")`, `append(role="user", content="Hello")`, `append(Message(…))`,
        `append({"role": "user", "content": "Hello"})`, or a list of messages and objects. What an event does not say
        itself (`actor`, `metadata`, `branch`, `ttl_s`) comes from the arguments. Raises `ValidationFailed` for what
        cannot be kept, and `TurnLost` when this request no longer has the session's turn.
        """
        defaults = Defaults(
            actor=self._actor if actor is None else actor, branch=branch or MAIN_BRANCH, metadata=metadata, ttl_s=ttl_s
        )
        return await self._access.append(drafts_of(_said(said, content, role), defaults))

    async def fork(self, new_id: str, at_event: str | None = None) -> SessionInfo:
        """Copy this session, up to and including `at_event` (default: all of it), as the new session `new_id`."""
        return await self._access.fork(check_id(new_id, "session id"), at_event)

    async def delete(self) -> bool:
        """Delete this session for good, and with it this turn: nothing more can be written in it. False: there was none."""
        return await self._access.delete()


class SyncSession:
    """`Session` for synchronous agents: each call blocks its thread until the store has answered."""

    __slots__ = ("_access", "_session", "_state")

    def __init__(self, session: Session, access: Access) -> None:
        """Another face of `session`."""
        self._session = session
        self._access = access
        self._state: SyncState | None = None

    @property
    def id(self) -> str:
        """The session's id."""
        return self._session.id

    @property
    def state(self) -> SyncState:
        """The session's small JSON document."""
        if self._state is None:
            self._state = SyncState(self._access)
        return self._state

    def messages(self, limit: int = 20, *, branch: str | None = None) -> list[Message]:
        """The newest `limit` messages, oldest first. See `Session.messages`."""
        return self._access.home.run_blocking(self._session.messages(limit, branch=branch))

    def events(self, limit: int = 100, **filters: Any) -> Page[SessionEvent]:
        """One page of events, newest first. See `Session.events`."""
        return self._access.home.run_blocking(self._session.events(limit, **filters))

    def append(
        self, said: Sayable | Sequence[Sayable] | str | None = None, content: object = None, **details: Any
    ) -> list[SessionEvent]:
        """Append one event or several. See `Session.append`."""
        return self._access.home.run_blocking(self._session.append(said, content, **details))

    def fork(self, new_id: str, at_event: str | None = None) -> SessionInfo:
        """Copy this session. See `Session.fork`."""
        return self._access.home.run_blocking(self._session.fork(new_id, at_event))

    def delete(self) -> bool:
        """Delete this session. See `Session.delete`."""
        return self._access.home.run_blocking(self._session.delete())


def _said(said: object, content: object, role: object) -> Any:
    """The one thing to append, out of the ways to say it."""
    if role is None and content is not None and isinstance(said, str):
        return {"role": said, "content": content}
    if role is not None:
        if said is not None and content is not None:
            raise ValidationFailed("The content was given twice: append(role=…, content=…) or append(role, content).")
        return {"role": role, "content": said if content is None else content}
    if content is not None or isinstance(said, str):
        raise ValidationFailed('Say who speaks: append("user", "text") or append(role="user", content="text").')
    return said
