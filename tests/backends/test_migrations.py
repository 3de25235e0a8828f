from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import asyncpg
import pytest

from corral.backends.migration import Migration, pending, read_migrations
from corral.backends.open import open_stores
from corral.backends.postgres import migrate as on_postgres
from corral.backends.sqlite import migrate as on_sqlite
from corral.errors import ConfigError, StoreOutgrown, StoreUnavailable
from corral.jobs.job import JobDraft
from corral.testing.contracts.setting import KEY, said, texts

GROWTH = [
    Migration(1, "plants", "CREATE TABLE corral_plants (name TEXT PRIMARY KEY);"),
    Migration(
        2,
        "heights",
        "-- A sentence; with a semicolon.\nALTER TABLE corral_plants ADD COLUMN height REAL;\n"
        "UPDATE corral_plants SET height = 1;",
    ),
    Migration(3, "light", "CREATE INDEX corral_plants_by_height ON corral_plants (height);"),
]


# -- what is asked of the list of steps ---------------------------------------------------------------------------------


def test_steps_are_numbered_without_a_gap(tmp_path):
    (tmp_path / "0001_one.sql").write_text("SELECT 1;")
    (tmp_path / "0003_three.sql").write_text("SELECT 3;")
    with pytest.raises(ValueError, match="expected migration 0002"):
        read_migrations(tmp_path)


@pytest.mark.parametrize("engine", [on_sqlite, on_postgres], ids=["sqlite", "postgres"])
def test_our_own_steps_are_in_order(engine):
    assert [step.version for step in engine.STEPS] == list(range(1, len(engine.STEPS) + 1))


def test_what_is_applied_is_not_pending():
    applied = {step.version: step.checksum for step in GROWTH[:2]}
    assert pending(GROWTH, applied, "url") == GROWTH[2:]


def test_a_newer_database_is_refused():
    applied = {step.version: step.checksum for step in GROWTH}
    with pytest.raises(ConfigError, match="schema version 3, and this program knows 2: upgrade Corral"):
        pending(GROWTH[:2], applied, "url")


def test_a_step_that_changed_after_it_was_applied_is_refused():
    with pytest.raises(ConfigError, match="0001_plants"):
        pending(GROWTH, {1: "other"}, "url")


def test_a_missing_step_is_refused():
    with pytest.raises(ConfigError, match="0001_plants"):
        pending(GROWTH, {2: GROWTH[1].checksum}, "url")


# -- SQLite ----------------------------------------------------------------------------------------------------------------


def sqlite_at(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def sqlite_schema(path: Path) -> list[tuple[str, ...]]:
    connection = sqlite_at(path)
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
    connection.close()
    return rows


@pytest.mark.parametrize("version", range(len(on_sqlite.STEPS) + 1))
async def test_every_earlier_sqlite_file_becomes_the_same_schema(tmp_path, version):
    def as_it_was() -> None:
        connection = sqlite_at(tmp_path / "old.db")
        on_sqlite.migrate(connection, "url", 0.0, known=on_sqlite.STEPS[:version])
        connection.close()

    await asyncio.to_thread(as_it_was)
    for name in ("old", "new"):
        stores = open_stores(f"sqlite:///{tmp_path}/{name}.db")
        assert (await stores.schema_version())[0] == (version if name == "old" else 0)
        await stores.start()
        assert await stores.schema_version() == (len(on_sqlite.STEPS),) * 2
        await stores.sessions.append(KEY, [said("x")])
        assert await texts(stores) == ["x"]
        await stores.stop()
    assert sqlite_schema(tmp_path / "old.db") == sqlite_schema(tmp_path / "new.db")


def test_sqlite_steps_keep_the_data_and_are_all_or_nothing(tmp_path):
    connection = sqlite_at(tmp_path / "a.db")
    on_sqlite.migrate(connection, "url", 0.0, known=GROWTH[:1])
    connection.execute("INSERT INTO corral_plants VALUES ('fern')")
    broken = [*GROWTH[:2], Migration(3, "broken", "CREATE TABLE corral_more (a);\nINSERT INTO nowhere VALUES (1);")]
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        on_sqlite.migrate(connection, "url", 0.0, known=broken)
    assert list(on_sqlite.applied(connection)) == [1]
    on_sqlite.migrate(connection, "url", 0.0, known=GROWTH)
    on_sqlite.migrate(connection, "url", 0.0, known=GROWTH)
    assert list(on_sqlite.applied(connection)) == [1, 2, 3]
    assert connection.execute("SELECT * FROM corral_plants").fetchall() == [("fern", 1.0)]
    connection.close()


def test_a_sqlite_step_that_stops_in_the_middle_is_a_defect(tmp_path):
    connection = sqlite_at(tmp_path / "a.db")
    with pytest.raises(ValueError, match="middle of a statement"):
        on_sqlite.migrate(connection, "url", 0.0, known=[Migration(1, "half", "CREATE TABLE a (b")])
    connection.close()


async def test_many_start_on_a_new_sqlite_file_at_once(tmp_path):
    many = [open_stores(f"sqlite:///{tmp_path}/new.db") for _ in range(8)]
    await asyncio.gather(*(stores.start() for stores in many))
    await asyncio.gather(*(stores.sessions.append(KEY, [said("x")]) for stores in many))
    assert len(await texts(many[0])) == 8
    await asyncio.gather(*(stores.stop() for stores in many))


async def test_a_newer_sqlite_file_stops_the_start(sqlite_url):
    stores = open_stores(sqlite_url)
    await stores.start()
    await stores.stop()
    connection = sqlite_at(Path(sqlite_url.removeprefix("sqlite:///")))
    connection.execute("INSERT INTO corral_migrations VALUES (999, 'future', 'x', 0)")
    connection.close()
    with pytest.raises(ConfigError, match=f"{sqlite_url} has schema version 999"):
        await stores.start()
    with pytest.raises(StoreUnavailable):
        await stores.sessions.append(KEY, [said("x")])


async def test_a_newer_program_on_a_sqlite_file_in_use_is_noticed(sqlite_url):
    stores = open_stores(sqlite_url)
    await stores.start()
    connection = sqlite_at(Path(sqlite_url.removeprefix("sqlite:///")))
    await stores.check()
    connection.execute("INSERT INTO corral_migrations VALUES (998, 'future', 'x', 0)")
    await stores.check()
    connection.execute("INSERT INTO corral_migrations VALUES (999, 'fence_future', 'x', 0)")
    with pytest.raises(StoreOutgrown, match=f"up to version {len(on_sqlite.STEPS)}, and cannot go on with version 999"):
        await stores.check()
    connection.execute("DELETE FROM corral_migrations WHERE version > 900")
    connection.close()
    await stores.check()
    await stores.stop()


# -- PostgreSQL --------------------------------------------------------------------------------------------------------------

# Without the partitions of single days (`jobs_20778`): which of them there are says when the database was used.
_OBJECTS = r"""
SELECT 'column', table_name, column_name, data_type || coalesce(column_default, '') FROM information_schema.columns
WHERE table_schema = 'corral' AND table_name !~ '_\d{5}$'
UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes
WHERE schemaname = 'corral' AND tablename !~ '_\d{5}$'
UNION ALL SELECT 'function', proname, prosrc, pg_get_function_arguments(oid) FROM pg_proc
WHERE pronamespace = 'corral'::regnamespace
ORDER BY 1, 2, 3
"""


async def postgres_schema(url: str) -> list[tuple[str, ...]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(_OBJECTS)
    await connection.close()
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("at_once", [1, 7, len(on_postgres.STEPS)])
async def test_every_earlier_postgres_database_becomes_the_same_schema(fresh_postgres_url, postgres_url, at_once):
    """In one step after the other each earlier schema is one that is brought up to date."""
    stores = open_stores(fresh_postgres_url)
    connection = await asyncpg.connect(fresh_postgres_url)
    for version in range(0, len(on_postgres.STEPS), at_once):
        await on_postgres.migrate(connection, "url", known=on_postgres.STEPS[:version])
        assert (await stores.schema_version())[0] == version
    await connection.close()
    await stores.start()
    assert await stores.schema_version() == (len(on_postgres.STEPS),) * 2
    await stores.sessions.append(KEY, [said("x")])
    assert await texts(stores) == ["x"]
    await stores.stop()
    assert await postgres_schema(fresh_postgres_url) == await postgres_schema(postgres_url)


async def test_postgres_steps_keep_the_data_and_are_all_or_nothing(fresh_postgres_url):
    connection = await asyncpg.connect(fresh_postgres_url)
    await on_postgres.migrate(connection, "url", known=GROWTH[:1])
    await connection.execute("INSERT INTO corral_plants VALUES ('fern')")
    broken = [*GROWTH[:2], Migration(3, "broken", "CREATE TABLE corral_more (a int); INSERT INTO nowhere VALUES (1);")]
    with pytest.raises(asyncpg.UndefinedTableError):
        await on_postgres.migrate(connection, "url", known=broken)
    assert list(await on_postgres.applied(connection)) == [1]
    await on_postgres.migrate(connection, "url", known=GROWTH)
    assert list(await on_postgres.applied(connection)) == [1, 2, 3]
    assert [tuple(row) for row in await connection.fetch("SELECT * FROM corral_plants")] == [("fern", 1.0)]
    await connection.close()


async def test_many_start_on_a_new_postgres_database_at_once(fresh_postgres_url):
    many = [open_stores(fresh_postgres_url) for _ in range(5)]
    await asyncio.gather(*(stores.start() for stores in many))
    await asyncio.gather(*(stores.sessions.append(KEY, [said("x")]) for stores in many))
    assert len(await texts(many[0])) == 5
    await asyncio.gather(*(stores.stop() for stores in many))


async def test_a_newer_postgres_database_stops_the_start(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    await stores.stop()
    connection = await asyncpg.connect(fresh_postgres_url)
    await connection.execute("INSERT INTO corral.migrations VALUES (999, 'future', 'x')")
    await connection.close()
    with pytest.raises(ConfigError, match="has schema version 999"):
        await stores.start()


async def test_a_newer_program_on_a_postgres_database_in_use_is_noticed(fresh_postgres_url):
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    await stores.check()
    connection = await asyncpg.connect(fresh_postgres_url)
    await connection.execute("INSERT INTO corral.migrations VALUES (998, 'future', 'x')")
    await stores.check()
    await connection.execute("INSERT INTO corral.migrations VALUES (999, 'fence_future', 'x')")
    with pytest.raises(
        StoreOutgrown, match=f"up to version {len(on_postgres.STEPS)}, and cannot go on with version 999"
    ):
        await stores.check()
    await connection.execute("DELETE FROM corral.migrations WHERE version > 900")
    await connection.close()
    await stores.check()
    await stores.stop()


async def test_a_role_without_the_right_to_create_may_start_when_all_is_there(fresh_postgres_url, postgres_server):
    stores = open_stores(fresh_postgres_url)
    await stores.start()
    await stores.stop()
    connection = await asyncpg.connect(fresh_postgres_url)
    name = fresh_postgres_url.rpartition("/")[0].rpartition("/")[2]
    role = f"guest_{hash(fresh_postgres_url) & 0xFFFFFF:x}{name[:0]}"
    await connection.execute(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA corral TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA corral TO {role};"
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA corral TO {role};"
    )
    guest = open_stores(fresh_postgres_url.replace("corral@", f"{role}@"))
    await guest.start()
    await guest.sessions.append(KEY, [said("x")])
    assert await texts(guest) == ["x"]
    await guest.jobs.enqueue([JobDraft(id="a", tenant="acme", agent="main", input=b"{}")])
    assert len((await guest.jobs.claim("w", queues=[], limit=1, lease_s=60.0)).jobs) == 1
    await guest.stop()
    await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await connection.close()
