"""The ports of this room: what came of calls that must not be made twice, and results too long for a conversation."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Begun(msgspec.Struct, frozen=True):
    """The key is ours: call the tool, then `finish` with this token."""

    token: str
    again: bool = False
    """A worker before us died in the middle of it."""


class Running(msgspec.Struct, frozen=True):
    """Another worker is calling the tool now."""

    left_s: float
    """If it died, that will be known after this long."""


class Ended(msgspec.Struct, frozen=True):
    """The tool was called before; this is what came of it."""

    reply: bytes


class Unknown(msgspec.Struct, frozen=True):
    """A worker died in the middle of the call, or lost sight of it: nobody knows whether it had its effect."""

    tool: str
    begun_at: float


Claim = Begun | Running | Ended | Unknown


class ToolEffects(Protocol):
    """What came of calls, by tenant and idempotency key. The store's clock decides about leases and age; raises `StoreUnavailable`."""

    async def begin(
        self, tenant: str, key: str, fingerprint: str, *, tool: str, lease_s: float, ttl_s: float, take_over: bool
    ) -> Claim:
        """Claim `key`, atomically: of many who begin at once, one gets it.

        A lapsed claim (its worker died) is given to who may `take_over`; to others it is `Unknown`. What is older than its time to
        live is gone, and the key is free. Raises `IdempotencyKeyReused` when the key is known with another fingerprint.
        """
        ...

    async def renew(self, tenant: str, key: str, token: str, *, lease_s: float) -> bool:
        """Keep the claim alive while the tool works. False: it was lost."""
        ...

    async def finish(self, tenant: str, key: str, token: str, reply: bytes) -> bool:
        """Remember what came of it, also after the lease lapsed. False: another worker took over, and its reply stands."""
        ...

    async def lose(self, tenant: str, key: str, token: str) -> None:
        """Nobody will know what came of it: from now on it is `Unknown`, unless it is finished after all."""
        ...

    async def give_up(self, tenant: str, key: str, token: str) -> None:
        """Nothing has happened: the key is free again. What is finished stays."""
        ...

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep at most `limit` keys past their time; returns how many went. One that is under way stays."""
        ...


class ToolArtefacts(Protocol):
    """Long results, by tenant, owner (a user's id, or empty: all of the tenant) and name. Raises `StoreUnavailable`."""

    async def put(self, tenant: str, owner: str, name: str, body: bytes, *, ttl_s: float) -> None:
        """Keep for so long; writing the same name again replaces it."""
        ...

    async def get(self, tenant: str, owner: str, name: str) -> bytes | None:
        """Read; none: it is not there, not this owner's, or past its time."""
        ...

    async def expire(self, *, limit: int = 100) -> int:
        """Sweep at most `limit` of them past their time; returns how many went."""
        ...
