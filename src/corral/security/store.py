"""The port of this room: where the audit is kept, in one order for each tenant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from corral.messages import AuditEntry, Page


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it is kept."""

    number: int
    """Its place among the entries of its tenant: 1, 2, 3, … without a gap; a number that is missing was swept."""
    entry: AuditEntry
    hash: bytes = b""
    """Its place in the chain (`security.chain`); empty: written before there was one, and not yet taken into it."""


class AuditLink(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as who checks the chain reads it. What somebody changed may be anything."""

    number: int
    hash: bytes
    digest: bytes
    """Of what is kept, just now."""
    read: Callable[[], AuditEntry | None]
    """Who checks the chain has no use for the entry itself."""

    @property
    def entry(self) -> AuditEntry | None:
        """None: what is kept there cannot be read."""
        return self.read()


class AuditHead(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tenant's audit stands."""

    tenant: str
    number: int
    """The last that was given."""
    hash: bytes
    """Of the last entry in the chain."""
    chained: int
    """The last entry in the chain; lower than `number` while older entries are taken into it."""
    swept: int
    """Entries up to this one were swept, or were there before the chain began."""
    swept_hash: bytes
    """What the first entry that is left holds; empty: the chain begins with it."""
    signed: int = 0
    """The number of the last checkpoint."""
    signed_at: float = 0.0


class AuditStretch(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of a tenant that were chained one behind the other, as whoever chained them knows it: no reading can be as sure."""

    tenant: str
    after: int
    """The number of the entry that they stand behind, 0 at the beginning."""
    before: bytes
    """Its hash."""
    number: int
    """Of the last of them."""
    hash: bytes
    """Of that one."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a key says about a tenant's audit: entry `number` has this hash."""

    tenant: str
    number: int
    hash: bytes
    at: float
    kind: Literal["head", "swept"] = "head"
    """`swept`: entries up to this one were swept because they were old."""
    algorithm: str = ""
    key_id: str = ""
    signature: bytes = b""


class AuditPrefix(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest entries of a tenant, up to one, that may go."""

    tenant: str
    number: int
    hash: bytes
    """Of that one; empty: they stand before the chain."""


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
    """Entries, appended in groups off the road of the calls, never changed, and swept when they are old.

    Each holds the one before it (`security.chain`). Whoever writes, in whatever process, keeps one chain for each tenant.
    """

    async def append(self, entries: Sequence[AuditEntry]) -> Sequence[AuditStretch]:
        """Keep these entries, all or none, in this order, behind all that their tenants have.

        Each gets the next number of its tenant. An entry whose id its tenant has already is kept once, under its first
        number. Writers at the same time, in any process, leave no gap and no number twice. Returns what was chained in this
        process, at most one stretch for each tenant; nothing of those whose entries are chained elsewhere, or later.
        """
        ...

    async def entries(self, tenant: str, query: AuditQuery) -> Page[AuditRecord]:
        """A tenant's entries, the highest number first. Raises `CursorNotFound` for a cursor that was not given out."""
        ...

    async def head(self, tenant: str) -> AuditHead | None:
        """Where a tenant's audit stands; none: it has never had an entry."""
        ...

    async def heads(self, *, after: str = "", limit: int = 1000) -> list[AuditHead]:
        """Where all stand, in the order of their tenants, those behind `after`."""
        ...

    async def chain(self, tenant: str, *, after: int, limit: int = 1000) -> list[AuditLink]:
        """A tenant's entries with a number above `after`, the lowest first, as they are kept: nothing is taken for granted."""
        ...

    async def seal(self, limit: int = 1000) -> int:
        """Take entries into the chain that were written before there was one; returns how many, 0 when none is left."""
        ...

    async def expired(self, *, before: float, limit: int = 1000) -> list[AuditPrefix]:
        """What may be swept: of each tenant the oldest entries, as far as all of them are from before a time."""
        ...

    async def sweep(self, prefix: AuditPrefix, stub: Checkpoint | None) -> int:
        """Sweep the oldest entries of a tenant, and keep in their place what a key says of them; returns how many went.

        `stub` is of the prefix' last entry; none: only what stands before the chain goes. Nothing goes where somebody else
        swept meanwhile, or where that entry is not the one that the stub speaks of. Numbers are not given again.
        """
        ...

    async def keep(self, checkpoint: Checkpoint) -> bool:
        """Keep a checkpoint; false: there is one of this kind at this number, which stays."""
        ...

    async def checkpoints(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[Checkpoint]:
        """A tenant's checkpoints at numbers above `after`, the lowest first. Those of entries that were swept are gone."""
        ...
