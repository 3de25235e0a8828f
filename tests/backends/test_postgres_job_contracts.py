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


class OnPostgres:
    @pytest.fixture
    def stores(self, postgres_stores):
        return postgres_stores

    @pytest.fixture
    def other_stores(self, other_postgres_stores):
        return other_postgres_stores


class TestJobDraft(OnPostgres, JobDraftContract): ...


class TestDepth(OnPostgres, DepthContract): ...


class TestTimes(OnPostgres, TimesContract): ...


class TestTurnsOfTenants(OnPostgres, TurnsOfTenantsContract): ...


class TestToken(OnPostgres, TokenContract): ...


class TestRace(OnPostgres, RaceContract): ...


class TestEnding(OnPostgres, EndingContract): ...


class TestWait(OnPostgres, WaitContract): ...


class TestRedrive(OnPostgres, RedriveContract): ...


class TestSearch(OnPostgres, SearchContract): ...


class TestCounts(OnPostgres, CountsContract): ...


class TestDelivery(OnPostgres, DeliveryContract): ...


class TestTimetable(OnPostgres, TimetableContract): ...


class TestLargeValue(OnPostgres, LargeValueContract): ...


class TestStandingClaim(OnPostgres, StandingClaimContract): ...


class TestExpectedJob(OnPostgres, ExpectedJobContract): ...


class TestWorkWake(OnPostgres, WorkWakeContract): ...


class TestFollow(OnPostgres, FollowContract): ...


class TestSlot(OnPostgres, SlotContract): ...


class TestJobMachine(OnPostgres, JobMachineContract): ...
