from __future__ import annotations

import pytest

from corral.testing.contracts.invocations import InvocationContract
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
