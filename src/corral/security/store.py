"""The port of this room: where the audit is kept, in one order for each tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from corral.messages import AuditEntry, Page


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it is kept."""

    number: int
    """Its place among the entries of its tenant: 1, 2, 3, … without a gap; a number that is missing was swept."""
    entry: AuditEntry


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which entries to list; what is none is not asked for."""

    action: str | None = None
    subject: str | None = None
    decision: str | None = None
    rule: str | None = None
    actor: str | None = None
    agent: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    since: float | None = None
    """Not before this time."""
    until: float | None = None
    """Before this time."""
    limit: int = 100
    cursor: str | None = None


class AuditLog(Protocol):
    """Entries, appended in groups off the road of the calls, never changed, and swept when they are old."""

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Keep these entries, all or none, in this order, behind all that their tenants have.

        Each gets the next number of its tenant. An entry whose id its tenant has already is kept once, under its first
        number. Writers at the same time, in any process, leave no gap and no number twice.
        """
        ...

    async def entries(self, tenant: str, query: AuditQuery) -> Page[AuditRecord]:
        """A tenant's entries, the highest number first. Raises `CursorNotFound` for a cursor that was not given out."""
        ...

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Sweep at most `limit` entries from before a time; returns how many went. Their numbers are not given again."""
        ...
