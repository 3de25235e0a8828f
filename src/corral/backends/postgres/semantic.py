"""Answers that are found by meaning, and evidence about them, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from corral.backends.encoding import check_id, findable
from corral.backends.queries import read_queries
from corral.cache.semantic_store import (
    STEPS,
    AnswerDraft,
    Bin,
    Evidence,
    KeptAnswer,
    Label,
    Listed,
    News,
    Route,
    RouteStats,
    SemanticTally,
    WrongHit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("semantic.sql"))


class PostgresSemantic:
    """One row per answer, one per label. Who changes a scope locks it, so changes are numbered as they are seen."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def news(self, tenant: str, scope: bytes, after: int, *, limit: int = 1000) -> News:
        """What is new."""
        rows = await self._engine.fetch(_SQL["news"], tenant, scope, after, limit)
        generation, last = int(rows[0][0] or 0), int(rows[0][1] or 0)
        answers = [Listed(*row[2:7]) for row in rows if row[2] is not None]
        more = len(answers) == limit
        return News(answers, int(rows[-1][7]) if more else last, more, generation)

    async def take(self, tenant: str, answer_id: bytes) -> KeptAnswer | None:
        """One answer."""
        rows = await self._engine.fetch(_SQL["take"], tenant, answer_id)
        return KeptAnswer(*rows[0]) if rows else None

    async def put(self, tenant: str, drafts: Sequence[AnswerDraft], *, entries_max: int) -> int:
        """Keep."""
        check_id("tenant", tenant)
        for draft in drafts:
            for tag in draft.tags:
                check_id("tag", tag)
        one_each = list({draft.id: draft for draft in drafts}.values())  # a statement changes a row once
        (kept,) = await self._engine.fetch_one(
            _SQL["put"],
            tenant,
            entries_max,
            [draft.id for draft in one_each],
            [draft.scope for draft in one_each],
            [draft.question for draft in one_each],
            [draft.vector for draft in one_each],
            [draft.value for draft in one_each],
            [draft.ttl_s for draft in one_each],
            [msgspec.json.encode(draft.tags).decode() if draft.tags else "" for draft in one_each],
            [draft.generation for draft in one_each],
        )
        return int(kept) + (len(drafts) - len(one_each) if kept else 0)

    async def label(self, tenant: str, route: Route, labels: Sequence[Label]) -> None:
        """Add evidence."""
        check_id("tenant", tenant)
        await self._engine.fetch(
            _SQL["label"],
            tenant,
            route.key,
            route.model,
            route.embedder,
            [one.answer for one in labels],
            [one.score for one in labels],
            [int(one.score * STEPS + 1e-6) for one in labels],
            [one.same for one in labels],
            [one.audited for one in labels],
            [one.question for one in labels],
            [one.kept for one in labels],
            again=False,
        )

    async def evidence(self, tenant: str, route: bytes, *, latest: int = 300) -> Evidence:
        """What is known."""
        known = await self._engine.fetch(_SQL["route"], tenant, route)
        since, reason = known[0] if known else (0.0, "")
        bins = await self._engine.fetch(_SQL["bins"], tenant, route, since)
        audits, wrong = await self._engine.fetch_one(_SQL["audits"], tenant, route, since, latest)
        return Evidence([Bin(*row) for row in bins], int(audits), int(wrong), since, reason)

    async def restart(self, tenant: str, route: Route, reason: str) -> None:
        """Begin anew."""
        check_id("tenant", tenant)
        await self._engine.fetch(_SQL["restart"], tenant, route.key, route.model, route.embedder, reason)

    async def tally(self, tallies: Sequence[SemanticTally]) -> None:
        """Count."""
        for one in tallies:
            if not findable(one.tenant):
                continue
            route, counts = one.route, (one.hits, one.misses, one.saved_usd)
            await self._engine.fetch(
                _SQL["tally"], one.tenant, route.key, route.model, route.embedder, *counts, again=False
            )
            if one.used:
                await self._engine.fetch(_SQL["used"], one.tenant, list(one.used))

    async def routes(self, tenant: str) -> list[RouteStats]:
        """The routes."""
        if not findable(tenant):
            return []
        return [
            RouteStats(
                route=Route(key, model, embedder),
                hits=hits,
                misses=misses,
                saved_usd=saved,
                evidence=await self.evidence(tenant, key),
            )
            for key, model, embedder, hits, misses, saved in await self._engine.fetch(_SQL["routes"], tenant)
        ]

    async def wrongs(self, tenant: str, *, limit: int = 20) -> list[WrongHit]:
        """The latest wrong ones."""
        if not findable(tenant):
            return []
        return [
            WrongHit(at=at, route=route, score=score, audited=audited, question=question, kept=kept)
            for at, route, score, audited, question, kept in await self._engine.fetch(_SQL["wrongs"], tenant, limit)
        ]

    async def count(self, tenant: str) -> int:
        """How many answers."""
        if not findable(tenant):
            return 0
        (count,) = await self._engine.fetch_one(_SQL["count"], tenant)
        return int(count)

    async def drop(self, tenant: str, *, tags: Sequence[str] = ()) -> int:
        """Throw away."""
        if not findable(tenant):
            return 0
        known = [tag for tag in tags if findable(tag)] if tags else None
        (gone,) = await self._engine.fetch_one(_SQL["drop"], tenant, known)
        return int(gone)

    async def sweep(self, *, labels_max: int, limit: int = 1000) -> int:
        """Make room."""
        (gone,) = await self._engine.fetch_one(_SQL["sweep"], labels_max, limit)
        return int(gone)
