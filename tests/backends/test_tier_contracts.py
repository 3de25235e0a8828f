from __future__ import annotations

import pytest

from corral.testing.contracts.session_lives import (
    ExpiryContract,
    ForgetContract,
    SessionListContract,
    StateContract,
    TenantContract,
)
from corral.testing.contracts.sessions import AppendContract, EventListContract, ForkContract
from corral.testing.contracts.summaries import SummaryContract
from corral.testing.contracts.tiers import ColdFirst, TierContract, Tiered, TierModelContract, tiered


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


class InTiers(OnSqlite):
    """The suites of plain sessions, on tiers, where everything is in the archive whenever somebody asks."""

    @pytest.fixture
    def stores(self, sqlite_stores, tmp_path):
        return Tiered(sqlite_stores, ColdFirst(tiered(sqlite_stores, tmp_path)))

    @pytest.fixture
    def other_stores(self, other_sqlite_stores, tmp_path):
        return Tiered(other_sqlite_stores, ColdFirst(tiered(other_sqlite_stores, tmp_path)))


class InTiersOnPostgres(OnPostgres):
    @pytest.fixture
    def stores(self, postgres_stores, tmp_path):
        return Tiered(postgres_stores, ColdFirst(tiered(postgres_stores, tmp_path)))

    @pytest.fixture
    def other_stores(self, other_postgres_stores, tmp_path):
        return Tiered(other_postgres_stores, ColdFirst(tiered(other_postgres_stores, tmp_path)))


class TestSqliteTiers(OnSqlite, TierContract): ...


class TestPostgresTiers(OnPostgres, TierContract): ...


class TestSqliteSummaries(OnSqlite, SummaryContract): ...


class TestPostgresSummaries(OnPostgres, SummaryContract): ...


class TestSqliteModel(OnSqlite, TierModelContract): ...


class TestPostgresModel(OnPostgres, TierModelContract): ...


class TestAppend(InTiers, AppendContract): ...


class TestEventList(InTiers, EventListContract): ...


class TestFork(InTiers, ForkContract): ...


class TestSessionList(InTiers, SessionListContract): ...


class TestState(InTiers, StateContract): ...


class TestExpiry(InTiers, ExpiryContract):
    # An event that expires in the archive goes when its segment comes back: `expire` has nothing left to sweep then.
    test_an_expired_event_is_not_listed_and_then_swept = None


class TestForget(InTiers, ForgetContract): ...


class TestTenant(InTiers, TenantContract): ...


class TestEventListOnPostgres(InTiersOnPostgres, EventListContract): ...


class TestForkOnPostgres(InTiersOnPostgres, ForkContract): ...


class TestForgetOnPostgres(InTiersOnPostgres, ForgetContract): ...
