"""The ports of this room: what all workers know together of limits, and what every call cost.

Implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.limits`. Every method is
asynchronous, may be called from many tasks at once, is bounded in time by the store's own timeout, and raises
`StoreUnavailable` when the engine does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from corral.messages import Usage


class Shared(msgspec.Struct, frozen=True):
    """What all workers know of one thing, as it was at one moment."""

    body: bytes
    """Empty: nothing yet."""
    version: int
    """Grows with every change; 0: nothing yet."""
    now: float
    """The store's clock at that moment, in seconds since 1970: the only clock that limits are counted by."""


FORGOTTEN_S = 86_400.0
"""A value that nobody changed for so long is as good as new: no limit looks back further."""


class LimitStore(Protocol):
    """Small values that many workers change: each change is made to what is there, or not at all."""

    async def read(self, key: str) -> Shared:
        """What is there now."""
        ...

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        """Put `body` where `version` is still what is there; whether that was so, and what is there now.

        Of many who swap the same version, one succeeds, and the others learn what it put there. Whoever hears nothing
        (the connection broke) may find its own change, later or now. Nothing that was put is lost when a process dies. A
        key that was forgotten and came back never has a version that it had before.
        """
        ...

    async def forget(self, *, idle_s: float = FORGOTTEN_S, limit: int = 1000) -> int:
        """Remove at most so many of the values that nobody changed for so long; how many went. 0: none, or the engine does it."""
        ...


# -- what calls cost --------------------------------------------------------------------------------------------------


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a provider, or one answer that was kept: for whom it was, and what it took."""

    id: str
    """Written twice, it counts once."""
    at: float
    """When it began, in seconds since 1970."""
    tenant: str
    agent: str = ""
    session_id: str = ""
    run_id: str = ""
    tags: dict[str, str] = {}
    provider: str
    model: str
    """`provider/model`."""
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: no price is known."""
    cached: str = ""
    """As in `ModelReply`; empty: the provider was asked."""
    duration_s: float = 0.0
    first_s: float | None = None
    """Until the first piece of a stream."""
    outcome: str = "ok"
    """`ok`, the code of an error, or `cancelled`."""
    prices: str = ""
    """Which version of the price table said so."""


SpendBy = Literal["model", "provider", "agent", "session", "run", "tag", "day", "outcome"]


class SpendQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to add up."""

    since: float = 0.0
    until: float | None = None
    """Up to, and without; none: up to now."""
    by: SpendBy = "model"
    tag: str = ""
    """With `by="tag"`: which one (`team`)."""
    limit: int = 100
    """The dearest so many; days: the latest."""


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """What all calls with one thing in common took together."""

    key: str
    """The model, agent, …; days as `2026-11-21` (UTC); empty: those without."""
    calls: int
    cost_usd: float
    """Of all calls whose price is known."""
    unpriced: int
    """Calls that took tokens, and whose price is not known."""
    cached: int
    """Answers that had been kept."""
    usage: Usage


class LedgerStore(Protocol):
    """What every call cost."""

    async def write(self, entries: Sequence[LedgerEntry]) -> None:
        """Keep all entries or none; durable when it returns. An id that is there already (at that time) stays as it is.

        Words that an engine cannot keep are changed a little rather than that an entry is lost.
        """
        ...

    async def entries(self, tenant: str, *, since: float = 0.0, limit: int = 100) -> list[LedgerEntry]:
        """A tenant's entries since then, newest first."""
        ...

    async def spend(self, tenant: str, query: SpendQuery) -> list[Spend]:
        """Added up by one thing: the dearest first, then those with more calls; days newest first."""
        ...

    async def forget(self, *, before: float, limit: int = 1000) -> int:
        """Remove what is older, at most about `limit` entries at a time; how many went, or days of them. 0: none is left."""
        ...
