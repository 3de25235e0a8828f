"""Effects and artefacts of tools on every engine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from corral.testing.contracts.tool_effects import ToolArtefactContract, ToolEffectContract
from corral.tools.in_memory import EffectsInMemory


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


class TestEffectsOnSqlite(OnSqlite, ToolEffectContract): ...


class TestEffectsOnPostgres(OnPostgres, ToolEffectContract): ...


class TestArtefactsOnSqlite(OnSqlite, ToolArtefactContract): ...


class TestArtefactsOnPostgres(OnPostgres, ToolArtefactContract): ...


class TestEffectsInMemory(ToolEffectContract):
    @pytest.fixture
    def stores(self):
        return SimpleNamespace(tool_effects=EffectsInMemory())

    @pytest.fixture
    def other_stores(self, stores):
        return stores

    async def test_ids_that_cannot_be_kept_are_refused(self, stores):
        """A process keeps any."""


async def test_in_memory_there_is_an_end():
    effects = EffectsInMemory(keys_max=3)
    for key in "abcde":
        claim = await effects.begin("t", key, "", tool="x", lease_s=60, ttl_s=60, take_over=False)
        if key in "bc":
            await effects.finish("t", key, claim.token, b"1")
    assert [key for _, key in effects._known] == ["a", "d", "e"]
    for key in "fgh":
        await effects.begin("t", key, "", tool="x", lease_s=60, ttl_s=60, take_over=False)
    assert len(effects._known) == 3
