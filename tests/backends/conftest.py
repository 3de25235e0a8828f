from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import corral.backends.postgres.stores  # noqa: F401 - before any loop runs: importing reads files
from corral.backends.open import open_stores
from ready import ready_url

pytest.register_assert_rewrite("corral.testing.contracts")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from corral.backends.stores import Stores


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return ready_url(tmp_path)


@pytest.fixture
async def sqlite_stores(sqlite_url: str) -> AsyncIterator[Stores]:
    stores = open_stores(sqlite_url)
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
async def other_sqlite_stores(sqlite_url: str, sqlite_stores: Stores) -> AsyncIterator[Stores]:
    stores = open_stores(sqlite_url)
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
async def postgres_stores(postgres_url: str) -> AsyncIterator[Stores]:
    stores = open_stores(postgres_url)
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
async def other_postgres_stores(postgres_url: str, postgres_stores: Stores) -> AsyncIterator[Stores]:
    stores = open_stores(postgres_url)
    await stores.start()
    yield stores
    await stores.stop()
