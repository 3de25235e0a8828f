from __future__ import annotations

import pytest

from corral.testing.contracts.buckets import BucketContract
from corral.testing.contracts.map_runs import MapRunContract


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


class TestMapRunsOnSqlite(OnSqlite, MapRunContract): ...


class TestMapRunsOnPostgres(OnPostgres, MapRunContract): ...


class TestBucketsOnSqlite(OnSqlite, BucketContract): ...


class TestBucketsOnPostgres(OnPostgres, BucketContract): ...
