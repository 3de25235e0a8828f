"""Moves events between the store and the archive.

Whatever dies at whatever moment, each event is readable exactly once: see `TierStore`. Any number of workers may do this at
the same time: of two that take up the same events, one succeeds and the other's object is swept.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import uuid
from collections.abc import Callable
from typing import Protocol

import msgspec

from corral.errors import StoreUnavailable
from corral.sessions.event import Batch, Idle, KeptEvent, Segment, SessionKey
from corral.sessions.store import Archive, TierStore
from corral.settings.tier_sections import TierSettings

_log = logging.getLogger("corral.sessions")

SEGMENT_EVENTS_MAX = 1_000
SEGMENT_BYTES_MAX = 4_194_304
_STRETCHES = 20
"""Stretches of sessions that one sweep looks through at most."""
_SESSIONS_PER_SWEEP = 100
_WRITING_S = 300.0
"""Longest time that one segment may take to be written."""
_SPARE_S = 3600.0
"""An object that is nobody's after this long is swept: much later than anybody could still be writing it."""
_THAWS_MAX = 10_000


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What an object holds, as JSON, compressed."""

    tenant: str
    session_id: str
    events: list[KeptEvent]
    format: int = 1


class Watch(Protocol):
    """Is told what was moved."""

    def moved(self, to: str, events: int, size: int) -> None:
        """So many events went to `cold`, or back to `warm`, in an object of `size` bytes."""
        ...


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Content).decode


class Archiving:
    """The way to the archive and back."""

    def __init__(
        self,
        tiers: TierStore,
        archive: Archive,
        settings: TierSettings,
        *,
        watch: Watch | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._tiers = tiers
        self._archive = archive
        self._settings = settings
        self.watch = watch
        self._new_id = new_id
        self._after = 0
        self._thaws: dict[SessionKey, asyncio.Lock] = {}

    # -- there

    async def sweep(self) -> int:
        """Move some of what is due, sweep some of what is nobody's; returns how many were moved or swept."""
        swept = await self._sweep_litter()
        for segment in await self._tiers.expiring():
            try:
                swept += await self._restored(segment)  # what has expired does not come along
            except StoreUnavailable as error:
                _log.warning("Expired events in the archive cannot be removed now: %s", error)
        settings = self._settings
        for _ in range(_STRETCHES):
            found, following = await self._tiers.idle(
                self._after, idle_s=settings.warm_s, events_max=settings.warm_events_max, limit=_SESSIONS_PER_SWEEP
            )
            for idle in found:
                self._after = idle.number  # one that fails is not tried again before all others were
                swept += await self.cool(idle)
            self._after = following or 0
            if following is None or swept >= _SESSIONS_PER_SWEEP:
                break
        return swept

    async def cool(self, idle: Idle) -> bool:
        """Move the oldest events of one session. False: they stay for now."""
        name = self._name(idle.key)
        batch = await self._tiers.begin(
            idle, name, events_max=SEGMENT_EVENTS_MAX, bytes_max=SEGMENT_BYTES_MAX, spare_s=_SPARE_S
        )
        if batch is None:
            return False
        try:
            async with asyncio.timeout(_WRITING_S):
                body = await asyncio.to_thread(_packed, batch)
                await self._archive.put(name, body)
                if await self._archive.get(name) != body:
                    raise StoreUnavailable(
                        f"The archive {self._archive.url} does not give back what was written to it."
                    )
                moved = await self._tiers.end(_segment(batch, body), cold_seq=idle.cold_seq)
        except TimeoutError:
            raise StoreUnavailable(
                f"The archive {self._archive.url} took more than {_WRITING_S:g} s for {len(batch.events)} events."
            ) from None
        if moved and self.watch is not None:
            self.watch.moved("cold", len(batch.events), len(body))
        return moved

    def _name(self, key: SessionKey) -> str:
        tenant = hashlib.sha256(key.tenant.encode()).hexdigest()[:16]
        unique = self._new_id()
        return f"{tenant}/{unique[:2]}/{unique}.json.gz"

    async def _sweep_litter(self) -> int:
        names = await self._tiers.litter()
        for name in names:
            await self._archive.delete(name)
        if names:
            await self._tiers.swept(names)
        return len(names)

    # -- and back

    async def thaw(self, key: SessionKey, *, down_to: int = 0, most: int | None = None) -> int:
        """Bring a session's segments back, newest first, until no event after the place `down_to` is in the archive.

        `most` segments at most. Returns how many came. Others that want the same meanwhile wait for it.
        """
        lock = self._thaws.get(key)
        if lock is None:
            if len(self._thaws) >= _THAWS_MAX:
                self._thaws = {held: one for held, one in self._thaws.items() if one.locked()}
            lock = self._thaws[key] = asyncio.Lock()
        came = 0
        async with lock:
            while most is None or came < most:
                segments = await self._tiers.segments(key)
                if not segments or segments[0].last_seq <= down_to:
                    break
                came += await self._restored(segments[0])
        return came

    async def thaw_actor(self, tenant: str, actor: str) -> None:
        """Bring back every session in which an actor appears."""
        while keys := await self._tiers.cold_of_actor(tenant, actor):
            for key in keys:
                await self.thaw(key)

    async def _restored(self, segment: Segment) -> bool:
        """Bring one segment back. False: somebody else did."""
        body = await self._archive.get(segment.object)
        if body is None or hashlib.sha256(body).hexdigest() != segment.digest:
            if segment not in await self._tiers.segments(segment.key):
                return False
            what = "is gone" if body is None else "was changed"
            raise StoreUnavailable(
                f"{segment.events} events of the session {segment.key.session_id!r} cannot be read: {segment.object} in the "
                f"archive {self._archive.url} {what}. Put it back from a backup, or delete the session."
            )
        content = await asyncio.to_thread(_unpacked, body)
        if (content.tenant, content.session_id) != (segment.key.tenant, segment.key.session_id):
            raise StoreUnavailable(f"{segment.object} in the archive {self._archive.url} belongs to another session.")
        done = await self._tiers.restore(segment, content.events)
        if done and self.watch is not None:
            self.watch.moved("warm", len(content.events), segment.bytes)
        return done


def _packed(batch: Batch) -> bytes:
    key = batch.idle.key
    return gzip.compress(_encode(Content(tenant=key.tenant, session_id=key.session_id, events=batch.events)), mtime=0)


def _unpacked(body: bytes) -> Content:
    return _decode(gzip.decompress(body))


def _segment(batch: Batch, body: bytes) -> Segment:
    events = batch.events
    return Segment(
        key=batch.idle.key,
        number=batch.idle.number,
        first_seq=events[0].seq,
        last_seq=events[-1].seq,
        events=len(events),
        bytes=len(body),
        object=batch.object,
        digest=hashlib.sha256(body).hexdigest(),
        cold_at=events[-1].created_at,
        next_expiry=min((one.expires_at for one in events if one.expires_at is not None), default=None),
    )
