"""The port of this room: which requests were seen before, so that a retried request is one run."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Begun(msgspec.Struct, frozen=True):
    """The key is ours: run, then `finish` with this token."""

    token: str


class InProgress(msgspec.Struct, frozen=True):
    """Another worker is running this request now."""


class Finished(msgspec.Struct, frozen=True):
    """The request has been answered before; this is what was said."""

    reply: bytes


class InvocationStore(Protocol):
    """Answers by idempotency key. The store's clock decides about leases and age; raises `StoreUnavailable`."""

    async def begin(
        self, tenant: str, key: str, fingerprint: str, *, lease_s: float, ttl_s: float
    ) -> Begun | InProgress | Finished:
        """Claim `key`, atomically. A lapsed claim (its worker died) is taken over; an answer older than its TTL is gone.

        Raises `IdempotencyKeyReused` when the key is known with another fingerprint.
        """
        ...

    async def renew(self, tenant: str, key: str, token: str, *, lease_s: float) -> bool:
        """Keep the claim alive while the run goes on. False: it was lost."""
        ...

    async def finish(self, tenant: str, key: str, token: str, reply: bytes) -> bool:
        """Keep the answer for those who ask again. False: the claim was lost, and the other run's answer stands."""
        ...

    async def abandon(self, tenant: str, key: str, token: str) -> None:
        """Give the key up without an answer, so that a retry runs again (the run was cancelled, or never started)."""
        ...

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep at most `limit` answers past their TTL; returns how many went."""
        ...
