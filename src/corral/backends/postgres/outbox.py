"""Callbacks that are still to be sent, in PostgreSQL."""

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

    from corral.backends.postgres.engine import Engine
    from corral.jobs.job import Delivered

_SQL = read_queries(Path(__file__).with_name("outbox.sql"))

_callback = msgspec.json.Decoder(Callback)


class PostgresOutbox:
    """One row per callback, written by the statement that ends its job."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def take(self, *, limit: int, lease_s: float) -> tuple[list[Delivery], float | None]:
        """Claim what is due."""
        rows = await self._engine.fetch(_SQL["take"], limit, lease_s, new_id())
        (next_s,) = await self._engine.fetch_one(_SQL["next_due"])
        return [_delivery(row) for row in rows], None if next_s is None else max(0.0, next_s)

    async def settle(self, outcomes: Sequence[Delivered]) -> list[bool]:
        """Note what came of them."""
        real = [outcome for outcome in outcomes if outcome.token and findable(outcome.id, outcome.token)]
        rows = await self._engine.fetch(
            _SQL["settle"],
            [outcome.id for outcome in real],
            [outcome.token for outcome in real],
            [_status(outcome) for outcome in real],
            [outcome.answer.replace("\0", "?").encode(errors="replace").decode() for outcome in real],
            [outcome.retry_in_s for outcome in real],
        )
        settled = {row[0] for row in rows}
        return [outcome.token in settled for outcome in outcomes]

    async def deliveries(self, tenant: str, *, job_id: str | None = None, limit: int = 100) -> list[Delivery]:
        """What is to be sent and what was."""
        check_limit(limit)
        if not findable(tenant, job_id):
            return []
        if job_id is None:
            rows = await self._engine.fetch(_SQL["deliveries"], tenant, limit)
        else:
            rows = await self._engine.fetch(_SQL["deliveries_of_job"], tenant, limit, job_id)
        return [_delivery(row) for row in rows]

    async def replay(self, tenant: str, delivery_id: str) -> bool:
        """Send once more."""
        if not findable(tenant, delivery_id):
            return False
        found = await self._engine.fetch_one(_SQL["replay"], tenant, delivery_id) is not None
        if found:
            self._engine.jobs.called()
        return found

    def watch(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Be told when something may be due."""
        return self._engine.jobs.watch_callbacks(woken)


def _status(outcome: Delivered) -> str:
    if outcome.ok:
        return "delivered"
    return "failed" if outcome.retry_in_s is None else "pending"


def _delivery(row: Sequence[Any]) -> Delivery:
    delivery_id, token, tenant, job_id, callback, status, attempts, created_at, next_at, answer = row
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
