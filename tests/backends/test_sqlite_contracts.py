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


class OnSqlite:
    @pytest.fixture
    def stores(self, sqlite_stores):
        return sqlite_stores

    @pytest.fixture
    def other_stores(self, other_sqlite_stores):
        return other_sqlite_stores


class TestAppend(OnSqlite, AppendContract): ...


class TestEventList(OnSqlite, EventListContract): ...


class TestFork(OnSqlite, ForkContract): ...


class TestSessionList(OnSqlite, SessionListContract): ...


class TestState(OnSqlite, StateContract): ...


class TestExpiry(OnSqlite, ExpiryContract): ...


class TestForget(OnSqlite, ForgetContract): ...


class TestTenant(OnSqlite, TenantContract): ...


class TestLine(OnSqlite, LineContract): ...


class TestFence(OnSqlite, FenceContract): ...


class TestLease(OnSqlite, LeaseContract): ...


class TestWake(OnSqlite, WakeContract): ...


class TestTurnModel(OnSqlite, TurnModelContract): ...


class TestInvocations(OnSqlite, InvocationContract): ...


class TestSpans(OnSqlite, SpanContract): ...


class TestLife(OnSqlite, LifeContract): ...


class TestEnqueue(OnSqlite, EnqueueContract): ...


class TestOrder(OnSqlite, OrderContract): ...


class TestKey(OnSqlite, KeyContract): ...


class TestFenceOfJobs(OnSqlite, FenceOfJobsContract): ...


class TestLifeOfJobs(OnSqlite, LifeOfJobsContract): ...


class TestCancel(OnSqlite, CancelContract): ...


class TestWakeOfJobs(OnSqlite, WakeOfJobsContract): ...


class TestJobModel(OnSqlite, JobModelContract): ...


class TestFind(OnSqlite, FindContract): ...


class TestDeadLetter(OnSqlite, DeadLetterContract): ...


class TestOutbox(OnSqlite, OutboxContract): ...


class TestSchedule(OnSqlite, ScheduleContract): ...


class TestBlob(OnSqlite, BlobContract): ...
