"""A port of this room: where keys are kept. Never a key itself: only what tells it from every other text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from corral.errors import CorralError, NotFound
from corral.messages import Page

KEYS_MAX = 10_000
"""Keys of one tenant that are not over."""


class KeyNotFound(NotFound):
    """There is no such key."""

    code = "key_not_found"


class KeyOver(CorralError):
    """This key was revoked, or its time is over: create another one."""

    status = 409
    code = "key_over"


class KeyExists(CorralError):
    """A key with this id exists already."""

    status = 409
    code = "key_exists"
    retryable = True


class TooManyKeys(CorralError):
    """This tenant has as many keys as it may: revoke those that nobody uses."""

    status = 409
    code = "too_many_keys"


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom a key lets in, and what it lets him do."""

    name: str = ""
    """What people call it."""
    tier: str = ""
    roles: tuple[str, ...] = ()
    """One of ours at least, such as `invoker`; other words are for tools and their rules."""
    agents: tuple[str, ...] = ()
    """Patterns (`support*`) of the agents that it may run; none: all."""
    models: tuple[str, ...] = ()
    """Patterns of the models that it may ask at the gateway; none: all."""
    aws: bool = False
    """A pair of AWS's kind goes with it, with which requests are signed."""
    created_by: str = ""


class KeyDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be kept."""

    id: str
    digest: bytes
    """SHA-256 of the key, which has 256 bits of chance: nothing slower would be safer."""
    grant: Grant
    ttl_s: float | None = None
    """How long it is good; none: until it is revoked."""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept."""

    id: str
    tenant: str
    digest: bytes
    grant: Grant
    turn: int = 1
    """How many keys there were under this id: one more with each rotation."""
    old_digest: bytes = b""
    """Of the key before, which is good until `old_until`."""
    old_until: float = 0.0
    created_at: float
    rotated_at: float | None = None
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None

    def is_over(self, now: float) -> bool:
        """Whether it lets nobody in any more."""
        return self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now)


class KeyHead(msgspec.Struct, frozen=True):
    """What every worker knows of all keys together."""

    version: int = 0
    """One more after each change of a key; 0: there never was one."""
    seal: bytes = b""
    """Marks ids as made here: who makes ids up does not get as far as a question to the store."""


class KeyStore(Protocol):
    """Keys by id, which is unique across tenants: who shows a key does not say whose it is."""

    async def head(self) -> KeyHead:
        """What changed, in one small question."""
        ...

    async def seal(self, chosen: bytes) -> KeyHead:
        """The head with its seal: the one there is, else `chosen`, from now on and for everybody."""
        ...

    async def create(self, tenant: str, draft: KeyDraft) -> KeyRecord:
        """Keep a key. Raises `KeyExists`, `TooManyKeys`."""
        ...

    async def find(self, key_id: str) -> KeyRecord | None:
        """A key of whatever tenant, over or not."""
        ...

    async def listed(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[KeyRecord]:
        """A tenant's keys, the latest first, those that are over among them. Raises `CursorNotFound`."""
        ...

    async def rotate(
        self, tenant: str, key_id: str, digest: bytes, *, grace_s: float, ttl_s: float | None = None
    ) -> KeyRecord:
        """Put another key in its place; the one before is good for `grace_s` more, and any before that no longer.

        `ttl_s`: how long the new one is good; none: until the old one's time. Raises `KeyNotFound`, `KeyOver`.
        """
        ...

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        """Let nobody in with it any more, now and for good. Revoking twice is revoking once. Raises `KeyNotFound`."""
        ...

    async def touch(self, used: Sequence[tuple[str, float]]) -> None:
        """Say when keys were used last; an earlier time than what is known changes nothing. Does not count as a change."""
        ...

    async def spend(self, token: bytes, *, until: float) -> bool:
        """Whether this is the first time that this token is shown to anybody; remembered until then."""
        ...

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep at most `limit` keys that are over since before a time, and tokens past theirs; returns how many went."""
        ...
