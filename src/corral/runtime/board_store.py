"""The port of boards: what runs in each worker, told by itself while it runs, and what workers are asked to stop.

Implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.boards`. Raises `StoreUnavailable`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Order(msgspec.Struct, frozen=True):
    """What workers are asked to stop: what began before `at`, and fits."""

    number: int
    at: float
    body: bytes


class Orders(msgspec.Struct, frozen=True):
    """What a worker hears."""

    now: float
    """The store's clock."""
    items: list[Order]


class Posted(msgspec.Struct, frozen=True):
    """What a worker said of itself."""

    worker: str
    at: float
    body: bytes


class BoardStore(Protocol):
    """Boards, and orders. Both may be lost when the store is; nothing else hangs on them."""

    async def post(self, worker: str, body: bytes, *, orders_s: float) -> Orders:
        """Say what runs here (nothing: take the board down), and hear the orders of the last so many seconds, the oldest first."""
        ...

    async def boards(self, *, within_s: float) -> list[Posted]:
        """The boards that were posted in the last so many seconds."""
        ...

    async def order(self, body: bytes) -> None:
        """Ask all workers to stop something."""
        ...

    async def forget(self, *, older_s: float = 3600.0) -> int:
        """Remove what is older; how much went."""
        ...
