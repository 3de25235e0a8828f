"""Agents' runs on every engine."""

from __future__ import annotations

import pytest

from corral.testing.contracts.agent_runs import ApprovalContract, RunContract, RunListContract


class OnSqlite:
    @pytest.fixture
    def stores(self, sqlite_stores):
        return sqlite_stores

    @pytest.fixture
    def other_stores(self, other_sqlite_stores):
        return other_sqlite_stores


class OnPostgres:
    @pytest.fixture
    def stores(self, postgres_stores):
        return postgres_stores

    @pytest.fixture
    def other_stores(self, other_postgres_stores):
        return other_postgres_stores


class TestRunsOnSqlite(OnSqlite, RunContract): ...


class TestRunListsOnSqlite(OnSqlite, RunListContract): ...


class TestApprovalsOnSqlite(OnSqlite, ApprovalContract): ...


class TestRunsOnPostgres(OnPostgres, RunContract): ...


class TestRunListsOnPostgres(OnPostgres, RunListContract): ...


class TestApprovalsOnPostgres(OnPostgres, ApprovalContract): ...
