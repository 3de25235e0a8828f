"""The port of this room: values that may be lost at any time, found by tenant and key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Kind = Literal["answer", "vector", "value"]
"""What an entry is: a model's answer, a text's vector, or whatever somebody keeps by himself."""

KINDS: tuple[Kind, ...] = ("answer", "vector", "value")


class EntryDraft(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be kept."""

    key: bytes
    """16 bytes that say nothing of what was asked."""
    value: bytes
    kind: Kind = "answer"
    ttl_s: float
    """How long it is fresh."""
    stale_s: float = 0.0
    """How much longer it is given out as stale."""
    tags: tuple[str, ...] = ()
    generation: int | None = None
    """Keep it only if the tenant's generation is still this one: what was asked before a clearing is not kept after it."""


class Kept(msgspec.Struct, frozen=True):
    """A value that was kept, in times that need no clock in common."""

    value: bytes
    age_s: float
    fresh_s: float
    """How long it is still fresh; not above zero: it is stale."""
    left_s: float
    """How long it is still there."""


class Looked(msgspec.Struct, frozen=True):
    """What a look found."""

    found: dict[bytes, Kept]
    generation: int
    """Grows with every clearing of this tenant: copies made under another generation are worth nothing."""


class Claimed(msgspec.Struct, frozen=True):
    """Who asks."""

    ours: bool
    """We do. Otherwise somebody else does, or the value is there."""
    kept: Kept | None = None
    """The value, if it came meanwhile and is fresh."""


class Tally(msgspec.Struct, frozen=True):
    """What happened to a tenant's entries of one kind since the last tally."""

    tenant: str
    kind: Kind
    hits: int = 0
    misses: int = 0
    saved_usd: float = 0.0
    used: tuple[bytes, ...] = ()
    """The keys that were used."""


class KindStats(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's entries of one kind."""

    kind: Kind
    entries: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0
    saved_usd: float = 0.0


class CacheStore(Protocol):
    """Entries by tenant and key. The store's clock decides about age and leases; raises `StoreUnavailable`.

    Losing entries is no fault: whoever finds nothing asks anew. Giving out one that was cleared, or another tenant's, is.
    """

    def lacks(self, tenant: str, key: bytes, generation: int) -> bool:
        """Whether this key is surely not there, and the tenant's generation still this one: told without asking. False says nothing.

        What another process has done within the last second may be overlooked; what this one was asked to do never is.
        """
        ...

    async def get(self, tenant: str, keys: Sequence[bytes]) -> Looked:
        """Those of these keys that are there, fresh or stale, and the tenant's generation, as of one moment. Writes nothing."""
        ...

    async def put(self, tenant: str, drafts: Sequence[EntryDraft]) -> int:
        """Keep values, over what was there before; leases of these keys end. Returns how many were kept."""
        ...

    async def claim(self, tenant: str, key: bytes, holder: str, *, lease_s: float) -> Claimed:
        """Take the right to ask, or keep it for longer: of many who claim at once, one gets it. A lapsed one is free.

        A fresh value that came meanwhile is given instead.
        """
        ...

    async def release(self, tenant: str, key: bytes, holder: str) -> None:
        """Give the right up, if it is still the holder's."""
        ...

    async def drop(self, tenant: str, *, tags: Sequence[str] = (), kind: Kind | None = None) -> int:
        """Throw away the tenant's entries under any of these tags; without tags all of them; of one kind, or of every kind.

        The tenant's generation grows, whether anything was there or not. Returns how many entries went.
        """
        ...

    async def tally(self, tallies: Sequence[Tally]) -> None:
        """Count, and remember of the keys that they were used now."""
        ...

    async def stats(self, tenant: str) -> list[KindStats]:
        """How much there is, and what it was good for, of the kinds that were ever used."""
        ...

    async def sweep(self, *, entries_max: int, bytes_max: int, limit: int = 1000) -> int:
        """Throw away what is past its time, then what was not used for the longest time until the rest fits.

        At most about `limit` entries, of all tenants; returns how many went.
        """
        ...
