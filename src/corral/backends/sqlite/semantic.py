"""Answers that are found by meaning, and evidence about them, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    import sqlite3
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("semantic.sql"))


class SqliteSemantic:
    """One row per answer, one per label. Writers come one after the other, so changes are numbered as they are seen."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def news(self, tenant: str, scope: bytes, after: int, *, limit: int = 1000) -> News:
        """What is new."""

        def run(view: View) -> News:
            generation = _number(
                view.connection, "generation", tenant
            )  # first: of a clearing in between, the elder one
            last = _number(view.connection, "change", tenant, scope)
            rows = view.execute(_SQL["news"], (tenant, scope, after, limit, view.now)).fetchall()
            more = len(rows) == limit
            change = rows[-1][5] if more else max([last, *(row[5] for row in rows[-1:])])
            return News([Listed(*row[:5]) for row in rows], change, more, generation)

        return await self._engine.read(run)

    async def take(self, tenant: str, answer_id: bytes) -> KeptAnswer | None:
        """One answer."""
        row = await self._engine.read(lambda view: view.execute(_SQL["take"], (tenant, answer_id, view.now)).fetchone())
        return None if row is None else KeptAnswer(*row)

    async def put(self, tenant: str, drafts: Sequence[AnswerDraft], *, entries_max: int) -> int:
        """Keep."""
        check_id("tenant", tenant)
        for draft in drafts:
            for tag in draft.tags:
                check_id("tag", tag)

        def run(transaction: Transaction) -> int:
            generation = _number(transaction.connection, "generation", tenant)
            kept = [draft for draft in drafts if draft.generation is None or draft.generation == generation]
            scopes = {draft.scope for draft in kept}
            for draft in kept:
                _put(transaction, tenant, draft, _next_change(transaction, tenant, draft.scope))
            for scope in scopes:
                (extent,) = transaction.execute(_SQL["extent"], (tenant, scope)).fetchone()
                if extent > entries_max:
                    transaction.execute(_SQL["evict"], (tenant, scope, extent - entries_max))
            return len(kept)

        return await self._engine.write(run)

    async def label(self, tenant: str, route: Route, labels: Sequence[Label]) -> None:
        """Add evidence."""
        check_id("tenant", tenant)

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["know_route"], (tenant, route.key, route.model, route.embedder))
            for one in labels:
                step = int(one.score * STEPS + 1e-6)
                asked = (one.score, step, one.same, one.audited, one.question, one.kept)
                transaction.execute(_SQL["label"], (tenant, route.key, transaction.now, *asked))
                row = None if one.same else transaction.execute(_SQL["scope_of"], (tenant, one.answer)).fetchone()
                if row is not None and row[1] < one.score:
                    change = _next_change(transaction, tenant, row[0])
                    transaction.execute(_SQL["mark_wrong"], (tenant, one.answer, one.score, change))

        await self._engine.write(run)

    async def evidence(self, tenant: str, route: bytes, *, latest: int = 300) -> Evidence:
        """What is known."""
        return await self._engine.read(lambda view: _evidence(view, tenant, route, latest))

    async def restart(self, tenant: str, route: Route, reason: str) -> None:
        """Begin anew."""
        check_id("tenant", tenant)

        def run(transaction: Transaction) -> None:
            transaction.execute(_SQL["know_route"], (tenant, route.key, route.model, route.embedder))
            transaction.execute(_SQL["restart"], (tenant, route.key, transaction.now, reason))

        await self._engine.write(run)

    async def tally(self, tallies: Sequence[SemanticTally]) -> None:
        """Count."""
        known = [one for one in tallies if findable(one.tenant)]

        def run(transaction: Transaction) -> None:
            for one in known:
                route = one.route
                transaction.execute(_SQL["know_route"], (one.tenant, route.key, route.model, route.embedder))
                transaction.execute(_SQL["tally"], (one.tenant, route.key, one.hits, one.misses, one.saved_usd))
                uses = ((transaction.now, one.tenant, answer) for answer in one.used)
                transaction.connection.executemany(_SQL["used"], uses)

        await self._engine.write(run)

    async def routes(self, tenant: str) -> list[RouteStats]:
        """The routes."""
        if not findable(tenant):
            return []

        def run(view: View) -> list[RouteStats]:
            rows = view.execute(_SQL["routes"], (tenant,)).fetchall()
            return [
                RouteStats(
                    route=Route(key, model, embedder),
                    hits=hits,
                    misses=misses,
                    saved_usd=saved,
                    evidence=_evidence(view, tenant, key, 300),
                )
                for key, model, embedder, hits, misses, saved in rows
            ]

        return await self._engine.read(run)

    async def wrongs(self, tenant: str, *, limit: int = 20) -> list[WrongHit]:
        """The latest wrong ones."""
        if not findable(tenant):
            return []
        rows = await self._engine.read(lambda view: view.execute(_SQL["wrongs"], (tenant, limit)).fetchall())
        return [
            WrongHit(at=at, route=route, score=score, audited=bool(audited), question=question, kept=kept)
            for at, route, score, audited, question, kept in rows
        ]

    async def count(self, tenant: str) -> int:
        """How many answers."""
        if not findable(tenant):
            return 0
        (count,) = await self._engine.read(lambda view: view.execute(_SQL["count"], (tenant, view.now)).fetchone())
        return int(count)

    async def drop(self, tenant: str, *, tags: Sequence[str] = ()) -> int:
        """Throw away."""
        if not findable(tenant):
            return 0
        known = [tag for tag in tags if findable(tag)]

        def run(transaction: Transaction) -> int:
            transaction.execute(_SQL["next_generation"], (tenant,))
            if not tags:
                return transaction.execute(_SQL["clear"], (tenant,)).rowcount
            return sum(transaction.execute(_SQL["clear_tag"], (tenant, tag)).rowcount for tag in known)

        return await self._engine.write(run)

    async def sweep(self, *, labels_max: int, limit: int = 1000) -> int:
        """Make room."""

        def run(transaction: Transaction) -> int:
            gone = transaction.execute(_SQL["expire"], (transaction.now, limit)).rowcount
            for tenant, route in transaction.execute(_SQL["long_routes"], (labels_max,)).fetchall():
                gone += transaction.execute(_SQL["forget_labels"], (tenant, route, labels_max)).rowcount
            return gone

        return await self._engine.write(run)


def _put(transaction: Transaction, tenant: str, draft: AnswerDraft, change: int) -> None:
    now = transaction.now
    bound = (tenant, draft.id, draft.scope, change, draft.question, now, now + draft.ttl_s)
    (number,) = transaction.execute(_SQL["put"], bound).fetchone()
    transaction.execute(_SQL["put_body"], (number, draft.vector, draft.value))
    transaction.execute(_SQL["forget_tags"], (number,))
    transaction.connection.executemany(_SQL["put_tag"], ((tenant, tag, number) for tag in draft.tags))


def _next_change(transaction: Transaction, tenant: str, scope: bytes) -> int:
    (change,) = transaction.execute(_SQL["next_change"], (tenant, scope)).fetchone()
    return int(change)


def _evidence(view: View, tenant: str, route: bytes, latest: int) -> Evidence:
    since, reason, after = view.execute(_SQL["route"], (tenant, route)).fetchone() or (0.0, "", 0)
    rows = view.execute(_SQL["bins"], (tenant, route, after)).fetchall()
    audits, wrong = view.execute(_SQL["audits"], (tenant, route, after, latest)).fetchone()
    return Evidence([Bin(*row) for row in rows], audits, wrong, since, reason)


def _number(connection: sqlite3.Connection, query: str, *args: Any) -> int:
    row = connection.execute(_SQL[query], args).fetchone()
    return 0 if row is None else int(row[0])
