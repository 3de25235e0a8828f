from __future__ import annotations

import pytest

from corral.testing.contracts.invocations import InvocationContract
from corral.testing.contracts.job_model import JobModelContract
from corral.testing.contracts.job_records import (
    BlobContract,
    DeadLetterContract,
    FindContract,
    OutboxContract,
    ScheduleContract,
)
from corral.testing.contracts.jobs import (
    CancelContract,
    EnqueueContract,
    FenceOfJobsContract,
    KeyContract,
    LifeOfJobsContract,
    OrderContract,
    WakeOfJobsContract,
)
from corral.testing.contracts.session_lives import (
    ExpiryContract,
    ForgetContract,
    SessionListContract,
    StateContract,
    TenantContract,
)
from corral.testing.contracts.sessions import AppendContract, EventListContract, ForkContract
from corral.testing.contracts.spans import SpanContract
from corral.testing.contracts.stores import LifeContract
from corral.testing.contracts.turn_model import TurnModelContract
from corral.testing.contracts.turns import FenceContract, LeaseContract, LineContract, WakeContract


class OnPostgres:
    @pytest.fixture
    def stores(self, postgres_stores):
        return postgres_stores

    @pytest.fixture
    def other_stores(self, other_postgres_stores):
        return other_postgres_stores


class TestAppend(OnPostgres, AppendContract): ...


class TestEventList(OnPostgres, EventListContract): ...


class TestFork(OnPostgres, ForkContract): ...


class TestSessionList(OnPostgres, SessionListContract): ...


class TestState(OnPostgres, StateContract): ...


class TestExpiry(OnPostgres, ExpiryContract): ...


class TestForget(OnPostgres, ForgetContract): ...


class TestTenant(OnPostgres, TenantContract): ...


class TestLine(OnPostgres, LineContract): ...


class TestFence(OnPostgres, FenceContract): ...


class TestLease(OnPostgres, LeaseContract): ...


class TestWake(OnPostgres, WakeContract): ...


class TestTurnModel(OnPostgres, TurnModelContract): ...


class TestInvocations(OnPostgres, InvocationContract): ...


class TestSpans(OnPostgres, SpanContract): ...


class TestLife(OnPostgres, LifeContract): ...


class TestEnqueue(OnPostgres, EnqueueContract): ...


class TestOrder(OnPostgres, OrderContract): ...


class TestKey(OnPostgres, KeyContract): ...


class TestFenceOfJobs(OnPostgres, FenceOfJobsContract): ...


class TestLifeOfJobs(OnPostgres, LifeOfJobsContract): ...


class TestCancel(OnPostgres, CancelContract): ...


class TestWakeOfJobs(OnPostgres, WakeOfJobsContract): ...


class TestJobModel(OnPostgres, JobModelContract): ...


class TestFind(OnPostgres, FindContract): ...


class TestDeadLetter(OnPostgres, DeadLetterContract): ...


class TestOutbox(OnPostgres, OutboxContract): ...


class TestSchedule(OnPostgres, ScheduleContract): ...


class TestBlob(OnPostgres, BlobContract): ...
