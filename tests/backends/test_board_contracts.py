"""What runs in each worker, on every engine."""

from __future__ import annotations

import pytest

from corral.testing.contracts.boards import BoardContract


class TestBoardsOnSqlite(BoardContract):
    @pytest.fixture
    def stores(self, sqlite_stores):
        return sqlite_stores

    @pytest.fixture
    def other_stores(self, other_sqlite_stores):
        return other_sqlite_stores


class TestBoardsOnPostgres(BoardContract):
    @pytest.fixture
    def stores(self, postgres_stores):
        return postgres_stores

    @pytest.fixture
    def other_stores(self, other_postgres_stores):
        return other_postgres_stores
