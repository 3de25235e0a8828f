"""How far each route is: what is known of it, from which likeness on it serves, and what is still missing."""

from __future__ import annotations

import math

import msgspec

from corral.cache.semantic import calibration
from corral.cache.semantic_store import Evidence, RouteStats, SemanticStore, WrongHit
from corral.settings.model_sections import SemanticCacheSettings


class RouteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One route."""

    route: str
    model: str
    embedder: str
    hits: int
    misses: int
    saved_usd: float
    serving: bool
    threshold: float | None
    labels: int
    """Kept answers that were compared with new ones, and were alike enough to be served."""
    wrong: int
    wrong_between: tuple[float, float]
    """Where the true share of wrong ones lies: below the first in 5 of 100 cases, above the second in 5."""
    labels_needed: int
    """Labels, all of them right, that it would take to serve; 0: it serves."""
    audits: int
    audits_wrong: int
    audits_wrong_between: tuple[float, float]
    since: float
    """When evidence began anew, in seconds since 1970; 0: never."""
    reason: str
    """Why it did."""


class SemanticStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant's answers by meaning are worth."""

    mode: str
    error_rate: float
    audit_share: float
    answers: int
    routes: list[RouteStatus]
    last_wrong: list[WrongHit]


async def status_of(store: SemanticStore, settings: SemanticCacheSettings, tenant: str) -> SemanticStatus:
    """As it is now."""
    return SemanticStatus(
        mode=settings.mode,
        error_rate=settings.error_rate,
        audit_share=settings.audit_share,
        answers=await store.count(tenant),
        routes=[_route(one, settings) for one in await store.routes(tenant)],
        last_wrong=await store.wrongs(tenant),
    )


def _route(stats: RouteStats, settings: SemanticCacheSettings) -> RouteStatus:
    evidence = stats.evidence
    known = calibration.loosest(evidence.bins, settings.error_rate)
    threshold = known.score if known is not None else None
    serving = settings.mode == "fixed" or (settings.mode == "serve" and known is not None)
    labels = known.labels if known is not None else sum(one.labels for one in evidence.bins)
    wrong = known.wrong if known is not None else sum(one.wrong for one in evidence.bins)
    return RouteStatus(
        route=stats.route.key.hex(),
        model=stats.route.model,
        embedder=stats.route.embedder,
        hits=stats.hits,
        misses=stats.misses,
        saved_usd=stats.saved_usd,
        serving=serving,
        threshold=settings.similarity_threshold if settings.mode == "fixed" else threshold,
        labels=labels,
        wrong=wrong,
        wrong_between=_between(wrong, labels),
        labels_needed=0 if known is not None else _needed(evidence, settings.error_rate),
        audits=evidence.audits,
        audits_wrong=evidence.audits_wrong,
        audits_wrong_between=_between(evidence.audits_wrong, evidence.audits),
        since=evidence.since,
        reason=evidence.reason,
    )


def _between(wrong: int, labels: int) -> tuple[float, float]:
    return round(calibration.lower_bound(wrong, labels), 6), round(calibration.upper_bound(wrong, labels), 6)


def _needed(evidence: Evidence, error_rate: float) -> int:
    """Right ones that are missing at the highest likenesses, where none was wrong so far."""
    clean = 0
    for one in sorted(evidence.bins, key=lambda one: -one.step):
        if one.wrong:
            break
        clean += one.labels
    enough = math.ceil(math.log(1 - calibration.CONFIDENCE) / math.log1p(-error_rate))
    return max(1, enough - clean)
