"""What all workers know together of limits, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.queries import read_queries
from corral.limits.store import FORGOTTEN_S, Shared

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("limits.sql"))


class SqliteLimits:
    """One row per key. The host's clock is the store's clock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, key: str) -> Shared:
        """What is there."""
        return await self._engine.read(lambda view: _shared(view, key))

    async def swap(self, key: str, version: int, body: bytes) -> tuple[bool, Shared]:
        """Compare, and put."""

        def run(transaction: Transaction) -> tuple[bool, Shared]:
            if version:
                done = transaction.execute(_SQL["put_next"], (key, body, version, transaction.now)).rowcount > 0
            else:
                done = transaction.execute(_SQL["put_first"], (key, body, transaction.now)).rowcount > 0
            return done, _shared(transaction, key)

        return await self._engine.write(run)

    async def forget(self, *, idle_s: float = FORGOTTEN_S, limit: int = 1000) -> int:
        """Sweep."""
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["forget"], (transaction.now - idle_s, limit)).rowcount
        )


def _shared(view: View | Transaction, key: str) -> Shared:
    row = view.execute(_SQL["read"], (key,)).fetchone()
    return Shared(b"", 0, view.now) if row is None else Shared(row[0], row[1], view.now)
