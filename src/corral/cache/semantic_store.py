"""The other port of this room: answers found by meaning, and the evidence of how often that went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

STEPS = 200
"""Evidence is counted by steps of likeness of 1/200."""


class AnswerDraft(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to be kept."""

    id: bytes
    """16 bytes; the same for the same question in the same scope: a new answer takes the place of the old one."""
    scope: bytes
    """16 bytes: what two questions must have in common besides their meaning."""
    question: str
    vector: bytes
    """Float32, of length one."""
    value: bytes
    ttl_s: float
    tags: tuple[str, ...] = ()
    generation: int | None = None
    """Keep it only if the tenant's generation is still this one."""


class Listed(msgspec.Struct, frozen=True):
    """An answer as it is looked for."""

    id: bytes
    question: str
    vector: bytes
    wrong: float
    """How alike a question was to which this was a wrong answer; 0: none is known."""
    left_s: float


class News(msgspec.Struct, frozen=True):
    """What is new in a scope."""

    answers: list[Listed]
    change: int
    """Ask for what came after this one the next time. Smaller than what was asked for: begin at 0 again."""
    more: bool
    """There is more; ask at once."""
    generation: int


class KeptAnswer(msgspec.Struct, frozen=True):
    """An answer as it is given."""

    value: bytes
    question: str
    wrong: float
    age_s: float


class Route(msgspec.Struct, frozen=True):
    """For what evidence is gathered: questions to a model under the same instructions, by the same embedder and guard."""

    key: bytes
    model: str
    embedder: str


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A kept answer was compared with a new one."""

    answer: bytes
    """Its id."""
    score: float
    same: bool
    audited: bool
    """It had been served; otherwise it might have been."""
    question: str = ""
    kept: str = ""
    """The question it had been an answer to."""


class Bin(msgspec.Struct, frozen=True):
    """Labels of one step of likeness."""

    step: int
    labels: int
    wrong: int


class Evidence(msgspec.Struct, frozen=True):
    """What is known of a route since it last began anew."""

    bins: list[Bin] = []
    audits: int = 0
    """Of the latest ones that had been served."""
    audits_wrong: int = 0
    since: float = 0.0
    """When it last began anew, in seconds since 1970; 0: never."""
    reason: str = ""
    """Why."""


class SemanticTally(msgspec.Struct, frozen=True, kw_only=True):
    """What happened on a route since the last tally."""

    tenant: str
    route: Route
    hits: int = 0
    misses: int = 0
    saved_usd: float = 0.0
    used: tuple[bytes, ...] = ()
    """Ids of the answers that were given."""


class RouteStats(msgspec.Struct, frozen=True, kw_only=True):
    """A route, and what it was good for."""

    route: Route
    hits: int
    misses: int
    saved_usd: float
    evidence: Evidence


class WrongHit(msgspec.Struct, frozen=True, kw_only=True):
    """A kept answer that was not one to the question."""

    at: float
    route: bytes
    score: float
    audited: bool
    question: str
    kept: str


class SemanticStore(Protocol):
    """Answers by tenant and scope, evidence by tenant and route. The store's clock decides; raises `StoreUnavailable`.

    Losing answers is no fault. Giving out one that was cleared, or another tenant's, is; so is losing what was wrong.
    """

    async def news(self, tenant: str, scope: bytes, after: int, *, limit: int = 1000) -> News:
        """Answers of a scope that came or changed after `after`, in order: none is left out for ever. Writes nothing."""
        ...

    async def take(self, tenant: str, answer_id: bytes) -> KeptAnswer | None:
        """An answer, if it is still there."""
        ...

    async def put(self, tenant: str, drafts: Sequence[AnswerDraft], *, entries_max: int) -> int:
        """Keep answers; what was not used for the longest time goes when a scope has more than `entries_max`.

        A new answer in the place of an old one is not known to be wrong. Returns how many were kept.
        """
        ...

    async def label(self, tenant: str, route: Route, labels: Sequence[Label]) -> None:
        """Add evidence. An answer that was wrong remembers at which likeness, and is news again."""
        ...

    async def evidence(self, tenant: str, route: bytes, *, latest: int = 300) -> Evidence:
        """What is known of a route; of audits, the `latest`."""
        ...

    async def restart(self, tenant: str, route: Route, reason: str) -> None:
        """Evidence of a route until now counts no longer."""
        ...

    async def tally(self, tallies: Sequence[SemanticTally]) -> None:
        """Count, and remember of the answers that they were used now."""
        ...

    async def routes(self, tenant: str) -> list[RouteStats]:
        """The routes of a tenant, those with the most hits first."""
        ...

    async def wrongs(self, tenant: str, *, limit: int = 20) -> list[WrongHit]:
        """The latest wrong ones, latest first."""
        ...

    async def count(self, tenant: str) -> int:
        """How many answers a tenant has."""
        ...

    async def drop(self, tenant: str, *, tags: Sequence[str] = ()) -> int:
        """Throw away answers under any of these tags; without tags all. The tenant's generation grows. Evidence stays."""
        ...

    async def sweep(self, *, labels_max: int, limit: int = 1000) -> int:
        """Throw away answers past their time, and of each route the oldest labels beyond `labels_max`. At most about `limit`."""
        ...
