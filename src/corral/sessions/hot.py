"""The newest events of the sessions in use, in memory: good for as long as the session's numbers in the store say so."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import msgspec

from corral.clock import Clock
from corral.sessions.event import SessionEvent, SessionKey, Stamp

_SHELF_BYTES_MAX = 1_048_576
"""A larger copy is not put on the shelf that workers share."""


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """A session's newest events, oldest first, as they were when its numbers were those of `stamp`."""

    stamp: Stamp
    events: list[SessionEvent]
    complete: bool
    """There are none before."""

    def fits(self, now: Stamp) -> bool:
        """Whether all of this still holds, and at most something came after it."""
        then = self.stamp
        return (then.number, then.created_at, then.erased) == (now.number, now.created_at, now.erased)


class Shelf(Protocol):
    """Where all workers put copies for each other. What is lost is read again; it never raises."""

    async def get(self, key: SessionKey) -> bytes | None:
        """What lies there."""
        ...

    async def put(self, key: SessionKey, copy: bytes, *, ttl_s: float) -> None:
        """Leave it there for a while."""
        ...

    async def drop(self, tenant: str, session_id: str | None = None) -> None:
        """Take away one copy, or all of a tenant's."""
        ...


class Hot:
    """Copies by session, those used last, up to a number of bytes. Not for threads."""

    def __init__(self, *, ttl_s: float, max_bytes: int, clock: Clock, shelf: Shelf | None = None) -> None:
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._shelf = shelf
        self._copies: OrderedDict[SessionKey, tuple[Recent, int, float]] = OrderedDict()
        self.bytes = 0
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def on(self) -> bool:
        """Whether there is any room."""
        return self._max_bytes > 0

    async def find(self, key: SessionKey, now: Stamp) -> Recent | None:
        """A copy that holds, here or on the shelf."""
        found = self.held(key, now)
        if found is None and self._shelf is not None and (raw := await self._shelf.get(key)) is not None:
            found = _read(raw)
            if found is not None and found.fits(now):
                self._keep(key, found, len(raw))
            else:
                found = None
        return found

    def held(self, key: SessionKey, now: Stamp | None = None) -> Recent | None:
        """A copy that lies here and holds; without numbers to compare with, any."""
        held = self._copies.get(key)
        if held is None:
            return None
        recent, _, until = held
        if self._clock.monotonic() >= until or (now is not None and not recent.fits(now)):
            self.forget(key)
            return None
        self._copies.move_to_end(key)
        return recent

    async def keep(self, key: SessionKey, recent: Recent) -> None:
        """Keep a copy here, and put it on the shelf."""
        raw = _encode(recent)
        self._keep(key, recent, len(raw))
        if self._shelf is not None and len(raw) <= _SHELF_BYTES_MAX:
            await self._shelf.put(key, raw, ttl_s=self._ttl_s)

    def extend(self, key: SessionKey, recent: Recent, new: Sequence[SessionEvent]) -> None:
        """Replace the copy that lies here by one that ends with these new events."""
        before, size, _ = self._copies[key]
        every = len(before.events) + len(new)
        size += sum(len(_encode_event(event)) for event in new)
        self._keep(key, recent, size * len(recent.events) // max(1, every))

    def forget(self, key: SessionKey) -> None:
        """Throw the copy here away."""
        held = self._copies.pop(key, None)
        if held is not None:
            self.bytes -= held[1]

    async def erase(self, tenant: str, session_ids: Sequence[str] | None = None) -> None:
        """Throw away what lies here and on the shelf: of these sessions, or of the whole tenant."""
        keys = [key for key in self._copies if key.tenant == tenant] if session_ids is None else []
        for key in keys or [SessionKey(tenant, one) for one in session_ids or ()]:
            self.forget(key)
        if self._shelf is not None:
            for one in [None] if session_ids is None else session_ids:
                await self._shelf.drop(tenant, one)

    def _keep(self, key: SessionKey, recent: Recent, size: int) -> None:
        self.forget(key)
        if size > self._max_bytes // 4:
            return
        now = self._clock.monotonic()
        self._copies[key] = (recent, size, now + self._ttl_s)
        self.bytes += size
        while self.bytes > self._max_bytes or self._oldest_is_over(now):
            _, (_, gone, _) = self._copies.popitem(last=False)
            self.bytes -= gone

    def _oldest_is_over(self, now: float) -> bool:
        return bool(self._copies) and next(iter(self._copies.values()))[2] <= now


_encode = _encode_event = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Recent).decode


def _read(raw: bytes) -> Recent | None:
    try:
        return _decode(raw)
    except msgspec.MsgspecError:  # another version put it there
        return None
