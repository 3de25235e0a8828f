from __future__ import annotations

import pytest

from corral.testing.contracts.job_desks import (
    CountsContract,
    DeliveryContract,
    LargeValueContract,
    SearchContract,
    TimetableContract,
)
from corral.testing.contracts.job_edges import (
    DepthContract,
    JobDraftContract,
    TimesContract,
    TurnsOfTenantsContract,
)
from corral.testing.contracts.job_endings import EndingContract, RedriveContract, WaitContract
from corral.testing.contracts.job_expected import ExpectedJobContract
from corral.testing.contracts.job_machine import JobMachineContract
from corral.testing.contracts.job_standing import StandingClaimContract
from corral.testing.contracts.job_tokens import RaceContract, TokenContract
from corral.testing.contracts.job_wakes import FollowContract, SlotContract, WorkWakeContract


class OnSqlite:
    @pytest.fixture
    def stores(self, sqlite_stores):
        return sqlite_stores

    @pytest.fixture
    def other_stores(self, other_sqlite_stores):
        return other_sqlite_stores


class TestJobDraft(OnSqlite, JobDraftContract): ...


class TestDepth(OnSqlite, DepthContract): ...


class TestTimes(OnSqlite, TimesContract): ...


class TestTurnsOfTenants(OnSqlite, TurnsOfTenantsContract): ...


class TestToken(OnSqlite, TokenContract): ...


class TestRace(OnSqlite, RaceContract): ...


class TestEnding(OnSqlite, EndingContract): ...


class TestWait(OnSqlite, WaitContract): ...


class TestRedrive(OnSqlite, RedriveContract): ...


class TestSearch(OnSqlite, SearchContract): ...


class TestCounts(OnSqlite, CountsContract): ...


class TestDelivery(OnSqlite, DeliveryContract): ...


class TestTimetable(OnSqlite, TimetableContract): ...


class TestLargeValue(OnSqlite, LargeValueContract): ...


class TestStandingClaim(OnSqlite, StandingClaimContract): ...


class TestExpectedJob(OnSqlite, ExpectedJobContract): ...


class TestWorkWake(OnSqlite, WorkWakeContract): ...


class TestFollow(OnSqlite, FollowContract): ...


class TestSlot(OnSqlite, SlotContract): ...


class TestJobMachine(OnSqlite, JobMachineContract): ...
