"""What runs in each worker, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.queries import read_queries
from corral.runtime.board_store import Order, Orders, Posted

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("boards.sql"))


class PostgresBoards:
    """One row per worker, and one per order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def post(self, worker: str, body: bytes, *, orders_s: float) -> Orders:
        """Write, and read."""
        if body:
            await self._engine.fetch(_SQL["post"], worker, body)
        else:
            await self._engine.fetch(_SQL["take_down"], worker)
        rows = await self._engine.fetch(_SQL["orders"], orders_s)
        return Orders(rows[0][0], [Order(number, at, body) for _, number, at, body in rows if number is not None])

    async def boards(self, *, within_s: float) -> list[Posted]:
        """All that are fresh."""
        return [Posted(*row) for row in await self._engine.fetch(_SQL["boards"], within_s)]

    async def order(self, body: bytes) -> None:
        """Write one."""
        await self._engine.fetch(_SQL["order"], body, again=False)

    async def forget(self, *, older_s: float = 3600.0) -> int:
        """Remove both."""
        (gone,) = await self._engine.fetch_one(_SQL["forget"], older_s)
        return int(gone)
