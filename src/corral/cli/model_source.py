"""The models of this project, asked right here: no server is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.settings.load import Loaded
    from corral.wiring.modelling import Modelling

T = TypeVar("T")


@asynccontextmanager
async def opened(loaded: Loaded) -> AsyncIterator[Modelling]:
    """All that answers models in a server, with the same store: limits, kept answers and the bill are shared with it."""
    from corral.backends.open import open_stores  # noqa: PLC0415 - `corral --help` must not wait for this
    from corral.observability.metrics import Metrics  # noqa: PLC0415 - as above
    from corral.wiring.modelling import Modelling  # noqa: PLC0415 - as above

    settings = loaded.settings
    stores: Stores = open_stores(settings.store.url, sync=settings.store.sync, pool_max=2, hot=settings.store.hot)
    modelling = Modelling(settings, stores, Metrics())
    await stores.start()
    try:
        await modelling.start()
        try:
            yield modelling
        finally:
            await modelling.stop()
    finally:
        await stores.stop()


def run(loaded: Loaded, work: Callable[[Modelling], Awaitable[T]]) -> T:
    """Do something with them."""

    async def worked() -> T:
        async with opened(loaded) as modelling:
            return await work(modelling)

    return asyncio.run(worked())
