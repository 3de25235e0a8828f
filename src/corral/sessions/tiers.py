"""Sessions in three tiers behind one port: newest events in memory, the rest in the store, old ones in the archive.

Who uses it does not notice which is which. The store decides what is true: a copy in memory is used only while the
session's numbers there are the copy's, and what lies in the archive is brought back when somebody reads so far.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import SessionCold
from corral.messages import Page
from corral.sessions.archiving import Archiving, Watch
from corral.sessions.event import (
    ActorInfo,
    Draft,
    EventQuery,
    SessionEvent,
    SessionInfo,
    SessionKey,
    SessionQuery,
    Stamp,
    State,
    TierCounts,
)
from corral.sessions.hot import Hot, Recent, Shelf
from corral.sessions.store import Archive, SessionStore, TierStore
from corral.settings.tier_sections import TierSettings

T = TypeVar("T")

_LOADED_MIN = 32
"""A copy begins with no fewer events: the next question is often for a few more."""
_THAWS_MAX = 64
"""How often one call is tried again: archivists cannot be so quick."""
_FORGET_PAGE = 1_000


class TieredSessions:
    """A `SessionStore` over another one, an archive and memory."""

    def __init__(
        self,
        store: SessionStore,
        tiers: TierStore,
        settings: TierSettings,
        *,
        archive: Archive | None = None,
        shelf: Shelf | None = None,
        watch: Watch | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Without an `archive` nothing moves there. All methods are called on one loop."""
        self._store = store
        self._tiers = tiers
        self._settings = settings
        self._archive = archive
        self.hot = Hot(ttl_s=settings.hot_s, max_bytes=settings.hot_max_bytes, clock=clock, shelf=shelf)
        self.archiving = None if archive is None else Archiving(tiers, archive, settings, watch=watch)

    # -- moving

    async def sweep(self) -> int:
        """Move some of what is due to the archive; what `Sweeper` calls."""
        return 0 if self.archiving is None else await self.archiving.sweep()

    async def counts(self, tenant: str | None = None) -> TierCounts:
        """How much is where."""
        return await self._tiers.counts(tenant)

    async def stop(self) -> None:
        """Let go of the archive. Stopping twice is stopping once."""
        if self._archive is not None:
            await self._archive.stop()

    # -- reading

    async def events(self, key: SessionKey, query: EventQuery) -> Page[SessionEvent]:
        """List events, newest first, out of the quickest place that has them."""
        if not self.hot.on or not _is_plain(query, self._settings.hot_events):
            return await self._warm_events(key, query)
        stamp = await self._tiers.stamp(key)
        if stamp is None:
            return await self._warm_events(key, query)
        recent = await self._recent(key, stamp, query.limit)
        page = self._page(recent, query, stamp.at)
        return await self._warm_events(key, query) if page is None else page

    async def _recent(self, key: SessionKey, stamp: Stamp, limit: int) -> Recent:
        """A copy of at least `limit` events (or all there are), as new as the stamp."""
        found = await self.hot.find(key, stamp)
        if found is not None and (found.complete or len(found.events) >= limit):
            if found.stamp.last_seq >= stamp.last_seq:
                self.hot.hits += 1
                return found
            missing = stamp.last_seq - found.stamp.last_seq
            if missing <= self._settings.hot_events:
                self.hot.hits += 1
                return await self._caught_up(key, found, stamp, missing)
        self.hot.misses += 1
        wanted = min(self._settings.hot_events, max(limit, _LOADED_MIN))
        # What is cold is brought back for who wants it, not for who might.
        enough = stamp.cold_seq > 0 and stamp.last_seq - stamp.cold_seq >= limit
        page = await self._warm_events(key, EventQuery(limit=wanted, warm_only=enough))
        newest = _newest(stamp, page.items)
        whole = not stamp.cold_seq or (not enough and self._settings.depth is None)
        recent = Recent(stamp=newest, events=page.items[::-1], complete=whole and page.next_cursor is None)
        await self.hot.keep(key, recent)
        return recent

    async def _caught_up(self, key: SessionKey, found: Recent, stamp: Stamp, missing: int) -> Recent:
        """The copy with what was appended since."""
        page = await self._warm_events(key, EventQuery(limit=missing, warm_only=True))
        new = [event for event in reversed(page.items) if event.seq > found.stamp.last_seq]
        recent = self._extended(found, new, _newest(stamp, page.items))
        await self.hot.keep(key, recent)
        return recent

    def _extended(self, found: Recent, new: Sequence[SessionEvent], stamp: Stamp) -> Recent:
        events = [*found.events, *new]
        most = self._settings.hot_events
        return Recent(stamp=stamp, events=events[-most:], complete=found.complete and len(events) <= most)

    def _page(self, recent: Recent, query: EventQuery, now: float) -> Page[SessionEvent] | None:
        """What the store would answer; none: the copy does not reach far enough to know."""
        fitting = [
            event
            for event in reversed(recent.events)
            if (query.branch is None or event.branch == query.branch)
            and (event.expires_at is None or event.expires_at > now)
        ]
        if len(fitting) > query.limit:
            items = fitting[: query.limit]
            return Page(items, self._tiers.cursor_at(items[-1].seq))
        if recent.complete:
            return Page(fitting)
        if len(fitting) == query.limit:
            return Page(fitting, self._tiers.cursor_at(fitting[-1].seq))
        return None

    async def _warm_events(self, key: SessionKey, query: EventQuery) -> Page[SessionEvent]:
        """Out of the store, with what it needs brought back first: segment by segment, no deeper than `depth`."""
        for _ in range(_THAWS_MAX):
            try:
                return await self._store.events(key, query)
            except SessionCold:
                if self.archiving is None:
                    raise
                if not await self._thawed_within_depth(key):
                    query = msgspec.structs.replace(query, warm_only=True)
        return await self._thawed(key, lambda: self._store.events(key, query))

    async def _thawed_within_depth(self, key: SessionKey) -> bool:
        """Bring one more segment back. False: what is left lies deeper than is read."""
        assert self.archiving is not None  # noqa: S101 - asked by the caller
        stamp = await self._tiers.stamp(key)
        if stamp is None:
            return False
        depth = self._settings.depth
        down_to = 0 if depth is None else max(0, stamp.last_seq - depth)
        if stamp.cold_seq <= down_to:
            return False
        await self.archiving.thaw(key, down_to=down_to, most=1)
        return True

    async def _thawed(self, key: SessionKey, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, and if that needs the archive, ask again once everything is back."""
        for _ in range(_THAWS_MAX):
            try:
                return await ask()
            except SessionCold:
                if self.archiving is None:
                    raise
                await self.archiving.thaw(key)
        return await ask()

    async def get(self, key: SessionKey) -> SessionInfo | None:
        """Describe a session."""
        return await self._store.get(key)

    async def sessions(self, tenant: str, query: SessionQuery) -> Page[SessionInfo]:
        """List sessions, whatever tier they are in."""
        return await self._store.sessions(tenant, query)

    async def actors(
        self, tenant: str, *, limit: int = 100, cursor: str | None = None, prefix: str = ""
    ) -> Page[ActorInfo]:
        """List who spoke."""
        return await self._store.actors(tenant, limit=limit, cursor=cursor, prefix=prefix)

    async def read_state(self, key: SessionKey) -> State:
        """Read the state document; it never goes to the archive."""
        return await self._store.read_state(key)

    # -- writing

    async def create(self, key: SessionKey, *, actor: str = "", metadata: dict[str, Any], ttl_s: float | None) -> bool:
        """Make a session."""
        return await self._store.create(key, actor=actor, metadata=metadata, ttl_s=ttl_s)

    async def append(
        self, key: SessionKey, drafts: Sequence[Draft], *, turn: str | None = None, ttl_s: float | None = None
    ) -> list[SessionEvent]:
        """Append events; what is old stays where it is, unless a new branch leaves there."""
        written = await self._thawed(key, lambda: self._store.append(key, drafts, turn=turn, ttl_s=ttl_s))
        held = self.hot.held(key)
        if held is not None and written:
            if written[0].seq == held.stamp.last_seq + 1 and written[0].created_at >= held.stamp.created_at:
                stamp = msgspec.structs.replace(held.stamp, last_seq=written[-1].seq)
                self.hot.extend(key, self._extended(held, written, stamp), written)
            else:
                self.hot.forget(key)
        return written

    async def write_state(
        self, key: SessionKey, value: Any, *, expected_version: int | None = None, turn: str | None = None
    ) -> int:
        """Replace the state."""
        return await self._store.write_state(key, value, expected_version=expected_version, turn=turn)

    async def fork(self, key: SessionKey, new_session_id: str, *, at_event: str | None = None) -> SessionInfo:
        """Copy a session, whole."""
        return await self._thawed(key, lambda: self._store.fork(key, new_session_id, at_event=at_event))

    # -- forgetting: the store's triggers make every object of the archive litter that nobody's session has any more

    async def delete(self, tenant: str, *, session_id: str | None = None, actor: str | None = None) -> int:
        """Forget, in every tier."""
        if session_id is not None:
            deleted = await self._store.delete(tenant, session_id=session_id)
            await self.hot.erase(tenant, [session_id])
        elif actor is not None:
            deleted = await self._forget_actor(tenant, actor)
        else:
            deleted = await self._store.delete(tenant)
            await self.hot.erase(tenant)
        return deleted

    async def _forget_actor(self, tenant: str, actor: str) -> int:
        touched: list[str] = []
        cursor: str | None = None
        while self.hot.on:
            page = await self._store.sessions(tenant, SessionQuery(actor=actor, limit=_FORGET_PAGE, cursor=cursor))
            touched += [one.session_id for one in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        for _ in range(_THAWS_MAX):
            try:
                deleted = await self._store.delete(tenant, actor=actor)
                break
            except SessionCold:
                if self.archiving is None:
                    raise
                await self.archiving.thaw_actor(tenant, actor)
        else:
            deleted = await self._store.delete(tenant, actor=actor)
        await self.hot.erase(tenant, touched)
        return deleted

    async def delete_event(self, key: SessionKey, event_id: str) -> bool:
        """Delete one event, wherever it lies."""
        deleted = await self._thawed(key, lambda: self._store.delete_event(key, event_id))
        await self.hot.erase(key.tenant, [key.session_id])
        return deleted

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep what has expired."""
        return await self._store.expire(limit=limit)


def _is_plain(query: EventQuery, most: int) -> bool:
    """Whether a copy of the newest events can answer."""
    return (
        query.limit <= most
        and query.branch in {None, "main"}
        and query.cursor is None
        and query.actor is None
        and query.since is None
        and query.event_id is None
        and not (query.roles or query.metadata or query.has or query.lacks or query.warm_only)
    )


def _newest(stamp: Stamp, newest_first: Sequence[SessionEvent]) -> Stamp:
    """The stamp with what came after it was taken and was read all the same."""
    last_seq = newest_first[0].seq if newest_first else 0
    return stamp if last_seq <= stamp.last_seq else msgspec.structs.replace(stamp, last_seq=last_seq)
