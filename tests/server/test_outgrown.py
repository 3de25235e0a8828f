"""A process goes on while a newer version of Corral changes its store: whoever sends it requests has to hear of that."""

from __future__ import annotations

import asyncio
import sqlite3

import asyncpg
import pytest

from corral.backends.postgres import migrate as on_postgres
from corral.backends.sqlite import migrate as on_sqlite
from processes import serving


def migrated_on_sqlite(file):
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("INSERT INTO corral_migrations VALUES (999, 'fence_future', 'x', 0)")
    connection.close()


def migrated_on_postgres(url):
    async def run():
        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO corral.migrations VALUES (999, 'fence_future', 'x')")
        await connection.close()

    asyncio.run(run())


def is_told(server, known):
    status, said = server.call("/readyz")
    assert (status, said["status"], said["failed"]) == (503, "not ready", ["store"])
    assert f"up to version {known}, and cannot go on with version 999. Replace this process" in said["reason"]
    assert "postgresql" not in said["reason"]
    assert server.call("/health")[1]["parts"]["store"] == {"status": "failed", "detail": said["reason"]}
    assert server.call("/livez")[0] == 200  # what runs may end


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_server_whose_store_was_changed_by_a_newer_one_is_not_ready(tmp_path, engine, request):
    if engine == "sqlite":
        url, known = f"sqlite:///{tmp_path}/store.db", len(on_sqlite.STEPS)
    else:
        url, known = request.getfixturevalue("fresh_postgres_url"), len(on_postgres.STEPS)
    with serving(tmp_path, config=f"store: {{url: '{url}'}}") as server:
        assert server.call("/readyz") == (200, {"status": "ok", "failed": []})
        if engine == "sqlite":
            migrated_on_sqlite(tmp_path / "store.db")
        else:
            migrated_on_postgres(url)
        is_told(server, known)
