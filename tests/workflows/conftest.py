from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engine_scene import House, TurnedClock

from corral.backends.open import open_stores
from ready import ready_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from corral.backends.stores import Stores


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return ready_url(tmp_path)
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def open_house(store_url, clock) -> AsyncIterator[Callable[..., House]]:
    """Engines on one store, each as another process would have it: `house = await open_house({"name": definition})`."""
    opened: list[tuple[House, Stores]] = []

    async def open_one(*definitions, **more) -> House:
        stores = open_stores(store_url)
        await stores.start()
        known = opened[0][0].definitions if opened else {}
        house = House(stores, {**known, **(definitions[0] if definitions else {})}, clock, **more)
        opened.append((house, stores))
        return house

    yield open_one
    for house, stores in opened:
        await house.close()
        await stores.stop()
