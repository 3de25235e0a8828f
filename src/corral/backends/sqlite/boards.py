"""What runs in each worker, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.queries import read_queries
from corral.runtime.board_store import Order, Orders, Posted

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("boards.sql"))


class SqliteBoards:
    """One row per worker, and one per order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def post(self, worker: str, body: bytes, *, orders_s: float) -> Orders:
        """Write, and read."""

        def run(transaction: Transaction) -> Orders:
            now = transaction.now
            if body:
                transaction.execute(_SQL["post"], (worker, now, body))
            else:
                transaction.execute(_SQL["take_down"], (worker,))
            rows = transaction.execute(_SQL["orders"], (now - orders_s,)).fetchall()
            return Orders(now, [Order(*row) for row in rows])

        return await self._engine.write(run)

    async def boards(self, *, within_s: float) -> list[Posted]:
        """All that are fresh."""
        rows = await self._engine.read(lambda view: view.execute(_SQL["boards"], (view.now - within_s,)).fetchall())
        return [Posted(*row) for row in rows]

    async def order(self, body: bytes) -> None:
        """Write one."""
        await self._engine.write(lambda transaction: transaction.execute(_SQL["order"], (transaction.now, body)))

    async def forget(self, *, older_s: float = 3600.0) -> int:
        """Remove both."""

        def run(transaction: Transaction) -> int:
            before = (transaction.now - older_s,)
            return sum(transaction.execute(_SQL[name], before).rowcount for name in ("forget_orders", "forget_boards"))

        return await self._engine.write(run)
