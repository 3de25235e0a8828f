"""Executions on every engine."""

from __future__ import annotations

import pytest

from corral.testing.contracts.execution_tasks import ExecutionListContract, TaskContract, TimeContract
from corral.testing.contracts.executions import FrameContract, MoveContract


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


class TestMovesOnSqlite(OnSqlite, MoveContract): ...


class TestFramesOnSqlite(OnSqlite, FrameContract): ...


class TestTimesOnSqlite(OnSqlite, TimeContract): ...


class TestTasksOnSqlite(OnSqlite, TaskContract): ...


class TestListsOnSqlite(OnSqlite, ExecutionListContract): ...


class TestMovesOnPostgres(OnPostgres, MoveContract): ...


class TestFramesOnPostgres(OnPostgres, FrameContract): ...


class TestTimesOnPostgres(OnPostgres, TimeContract): ...


class TestTasksOnPostgres(OnPostgres, TaskContract): ...


class TestListsOnPostgres(OnPostgres, ExecutionListContract): ...
