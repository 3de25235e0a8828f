"""Callbacks that are still to be sent, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cursor import check_limit
from corral.backends.encoding import findable
from corral.backends.queries import read_queries
from corral.clock import new_id
from corral.jobs.job import Callback, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction
    from corral.jobs.job import Delivered

_SQL = read_queries(Path(__file__).with_name("outbox.sql"))

_callback = msgspec.json.Decoder(Callback)


class SqliteOutbox:
    """A row is due at `next_at`; taking it moves that to the end of the lease, so a dead sender's rows come due again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def take(self, *, limit: int, lease_s: float) -> tuple[list[Delivery], float | None]:
        """Claim what is due."""
        check_limit(limit)
        token = new_id()

        def run(transaction: Transaction) -> tuple[list[tuple[Any, ...]], float | None]:
            now = transaction.now
            rows = transaction.execute(_SQL["take"], (token, now + lease_s, now, limit)).fetchall()
            first = transaction.execute(_SQL["first_due"]).fetchone()
            return rows, None if first is None else max(0.0, first[0] - now)

        rows, next_s = await self._engine.write(run)
        return [_delivery(row, token) for row in sorted(rows)], next_s

    async def settle(self, outcomes: Sequence[Delivered]) -> list[bool]:
        """Note what came of them."""
        if not outcomes:
            return []
        rows = [
            (
                "delivered" if one.ok else "failed" if one.retry_in_s is None else "pending",
                one.retry_in_s or 0.0,
                one.answer.encode(errors="replace").decode(),
                one.id,
                one.token,
            )
            for one in outcomes
        ]

        def run(transaction: Transaction) -> list[bool]:
            answers = []
            for status, pause_s, answer, delivery_id, token in rows:
                if not token or not findable(delivery_id, token):
                    answers.append(False)
                    continue
                bound = (status, transaction.now + pause_s, answer, delivery_id, token)
                answers.append(transaction.execute(_SQL["settle"], bound).rowcount > 0)
            return answers

        return await self._engine.write(run)

    async def deliveries(self, tenant: str, *, job_id: str | None = None, limit: int = 100) -> list[Delivery]:
        """List."""
        check_limit(limit)
        if not findable(tenant, job_id):
            return []
        query, bound = ("list", (tenant, limit)) if job_id is None else ("list_of_job", (tenant, limit, job_id))
        rows = await self._engine.read(lambda view: view.execute(_SQL[query], bound).fetchall())
        return [_delivery(row, "") for row in rows]

    async def replay(self, tenant: str, delivery_id: str) -> bool:
        """Send once more."""
        if not findable(tenant, delivery_id):
            return False

        def run(transaction: Transaction) -> bool:
            transaction.job_news.outbox = True
            return transaction.execute(_SQL["replay"], (transaction.now, tenant, delivery_id)).rowcount > 0

        return await self._engine.write(run)

    def watch(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Be told when something may be due."""
        return self._engine.job_hints.watch_outbox(woken)


def _delivery(row: Sequence[Any], token: str) -> Delivery:
    _, delivery_id, tenant, job_id, callback, status, attempts, created_at, next_at, answer = row
    return Delivery(
        id=delivery_id,
        token=token,
        tenant=tenant,
        job_id=job_id,
        callback=_callback.decode(callback),
        status=status,
        attempts=attempts,
        created_at=created_at,
        next_at=next_at,
        answer=answer,
    )
