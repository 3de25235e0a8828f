"""The cache on every engine."""

from __future__ import annotations

import pytest

from corral.testing.contracts.caches import ClearContract, EntryContract, LeaseOfCacheContract, RoomContract


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


class TestEntriesOnSqlite(OnSqlite, EntryContract): ...


class TestClearingOnSqlite(OnSqlite, ClearContract): ...


class TestLeaseOnSqlite(OnSqlite, LeaseOfCacheContract): ...


class TestRoomOnSqlite(OnSqlite, RoomContract): ...


class TestEntriesOnPostgres(OnPostgres, EntryContract): ...


class TestClearingOnPostgres(OnPostgres, ClearContract): ...


class TestLeaseOnPostgres(OnPostgres, LeaseOfCacheContract): ...


class TestRoomOnPostgres(OnPostgres, RoomContract): ...
