from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import asyncpg
import pytest

from corral.backends.open import open_stores
from corral.backends.postgres import absence as absence_module
from corral.backends.postgres import connections as connections_module
from corral.backends.postgres import engine as engine_module
from corral.backends.postgres.absence import Absence
from corral.backends.postgres.failures import without_password
from corral.errors import ConfigError, CorralError, StoreUnavailable
from corral.sessions.event import EventQuery, SessionKey
from corral.testing.contracts.setting import KEY, PATIENCE_S, eventually, listed, said, texts
from corral.testing.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def own_server(tmp_path_factory):
    """A server that may be stopped: no other test uses it."""
    server = PostgresServer(tmp_path_factory.mktemp("own-postgres") / "server")
    server.attach()
    yield server
    server.detach()


@pytest.fixture
async def own_stores(own_server):
    stores = open_stores(own_server.url(), pool_max=5)
    await stores.start()
    await stores.sessions.delete("acme")
    yield stores
    await stores.stop()


async def join(stores, turn, key=KEY):
    return await stores.turns.join(key, turn, policy="enqueue", lease_s=60, waiting_max=1000)


async def ask(url, sql, *args):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close()


def test_a_missing_package_says_what_to_install():
    code = """
import sys
sys.modules["asyncpg"] = None
from corral.backends.open import open_stores
try:
    open_stores("postgresql://localhost/x")
except Exception as error:
    print(type(error).__name__, error)
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.startswith("ConfigError")
    assert "pip install 'corral[postgres]'" in told


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:secret@host:5432/db?sslmode=require", "postgresql://ada:***@host:5432/db?sslmode=require"),
        ("postgresql://ada:s%40t@/db?host=/run", "postgresql://ada:***@/db?host=/run"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://ada@host/db", "postgresql://ada@host/db"),
    ],
)
def test_a_password_is_never_shown(url, shown):
    assert without_password(url) == shown
    assert open_stores(url).url == shown


@pytest.mark.parametrize("url", ["postgresql://host:port/db", "postgresql://host/db?sslmode=sometimes"])
async def test_a_url_that_makes_no_sense_is_a_mistake_in_the_configuration(url):
    with pytest.raises(ConfigError, match=r"store\.url"):
        await open_stores(url).start()


async def test_a_database_that_is_not_there_names_url_and_setting(postgres_server):
    url = postgres_server.url("nowhere")
    with pytest.raises(StoreUnavailable, match=r"nowhere.*store\.url"):
        await open_stores(url).start()
    with pytest.raises(StoreUnavailable, match=r"nowhere.*store\.url"):
        await open_stores(url).schema_version()


async def test_a_server_that_is_not_there_is_given_up_at_once_when_starting(tmp_path):
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"store\.url"):
        await open_stores(f"postgresql://corral@/db?host={tmp_path}").start()
    assert time.monotonic() - started < PATIENCE_S


async def test_no_more_connections_than_allowed(postgres_url):
    stores = open_stores(postgres_url, pool_max=3)
    await stores.start()
    await asyncio.gather(
        *(stores.sessions.append(SessionKey("acme", f"{number}"), [said("x")]) for number in range(50))
    )
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'corral'"
    assert await ask(postgres_url, count) == 3
    await stores.stop()


async def test_a_statement_leaves_nothing_behind_in_its_connection(postgres_url):
    stores = open_stores(postgres_url, pool_max=1)
    await stores.start()
    await join(stores, "a")  # which need not wait for the disk
    rows = await stores._engine.fetch("SELECT current_setting('synchronous_commit')")
    assert rows[0][0] == "on"
    await stores.stop()


async def test_a_cancelled_caller_does_not_break_the_connection(postgres_url):
    stores = open_stores(postgres_url, pool_max=1)
    await stores.start()
    task = asyncio.create_task(stores.sessions.append(KEY, [said("whole"), said("thing")]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await stores.sessions.append(KEY, [said("after")])
    assert await texts(stores) in (["whole", "thing", "after"], ["after"])
    await stores.stop()


async def test_connections_that_were_cut_are_replaced(postgres_stores, postgres_url):
    await asyncio.gather(*(texts(postgres_stores) for _ in range(10)))
    cut = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'corral' AND datname = current_database()"
    )
    assert await ask(postgres_url, cut) > 0
    await postgres_stores.sessions.create(KEY, metadata={}, ttl_s=None)
    await asyncio.gather(*(texts(postgres_stores) for _ in range(10)))


async def test_a_listener_that_was_cut_listens_again(postgres_stores, other_postgres_stores, postgres_url):
    woken = asyncio.Event()
    unwatch = postgres_stores.turns.watch(lambda _: woken.set())
    of_ours = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle' AND datname = current_database()"
    listening = f"SELECT count(*) {of_ours}"

    async def is_listening() -> bool:
        return await ask(postgres_url, listening) == 1

    await eventually(is_listening)
    assert await ask(postgres_url, f"SELECT pg_terminate_backend(pid) {of_ours}")
    await eventually(is_listening)
    await join(other_postgres_stores, "a")
    await join(postgres_stores, "b")
    woken.clear()
    await other_postgres_stores.turns.leave(KEY, "a")
    await asyncio.wait_for(woken.wait(), PATIENCE_S)
    unwatch()


async def test_nobody_is_notified_when_nobody_waits(postgres_stores, postgres_url):
    listener = await asyncpg.connect(postgres_url)
    heard = []
    await listener.add_listener("corral_lines", lambda *told: heard.append(told[3]))
    await join(postgres_stores, "a")
    await postgres_stores.turns.leave(KEY, "a", drafts=[said("x")])
    await join(postgres_stores, "b")
    await join(postgres_stores, "c")
    await postgres_stores.turns.leave(KEY, "b")
    await listener.execute("SELECT 1")
    await eventually(lambda: asyncio.sleep(0, bool(heard)))
    assert heard == ['["acme", "s-1"]']
    await listener.close()


async def test_a_foreign_notification_is_harmless(postgres_stores, postgres_url):
    woken = asyncio.Event()
    unwatch = postgres_stores.turns.watch(lambda _: woken.set())
    await join(postgres_stores, "a")
    await join(postgres_stores, "b")
    await ask(postgres_url, "SELECT pg_notify('corral_lines', 'hello?')")
    woken.clear()
    await postgres_stores.turns.leave(KEY, "a")
    await asyncio.wait_for(woken.wait(), PATIENCE_S)
    unwatch()


@pytest.mark.chaos
async def test_a_server_that_is_away_is_said_to_be_and_found_again(own_server, own_stores, monkeypatch):
    monkeypatch.setattr(engine_module, "_PATIENCE_S", 0.2)
    await own_stores.sessions.append(KEY, [said("before")])
    await asyncio.to_thread(own_server.stop)
    try:
        with pytest.raises(StoreUnavailable):
            await own_stores.sessions.append(KEY, [said("lost")])
        with pytest.raises(StoreUnavailable):
            await own_stores.sessions.events(KEY, EventQuery())
        with pytest.raises(StoreUnavailable):
            await own_stores.check()
    finally:
        await asyncio.to_thread(own_server.start)
    await own_stores.check()
    await own_stores.sessions.append(KEY, [said("after")])
    assert await texts(own_stores) == ["before", "after"]


@pytest.mark.chaos
async def test_after_a_long_absence_nobody_waits_long_and_the_first_answer_ends_it(
    own_server, own_stores, monkeypatch, caplog
):
    monkeypatch.setattr(absence_module, "_LONG_S", 0.3)
    monkeypatch.setattr(absence_module, "_PAUSE_S", 0.05)
    monkeypatch.setattr(absence_module, "_GRACE_S", 0.4)
    absence = own_stores._engine._absence
    await own_stores.sessions.append(KEY, [said("before")])
    await asyncio.to_thread(own_server.stop)
    try:
        with pytest.raises(StoreUnavailable, match=r"has not answered for .* seconds.*tried again all the time"):
            await own_stores.sessions.events(KEY, EventQuery())  # it came with patience for ten seconds
        assert absence.is_long()
        started = time.monotonic()
        failed = await asyncio.gather(*(texts(own_stores) for _ in range(50)), return_exceptions=True)
        assert {type(error) for error in failed} == {StoreUnavailable}
        assert 0.4 <= time.monotonic() - started < 2
        with pytest.raises(StoreUnavailable, match="has not answered for"):
            await own_stores.check()
        monkeypatch.setattr(absence_module, "_GRACE_S", PATIENCE_S)
        waiting = asyncio.create_task(own_stores.sessions.append(KEY, [said("waited")]))
    finally:
        await asyncio.to_thread(own_server.start)
    await waiting
    assert absence.since is None
    assert await texts(own_stores) == ["before", "waited"]
    told = [record.getMessage() for record in caplog.records if record.name == "corral.backends.postgres"]
    assert sum("has been away" in line for line in told) == 1


@pytest.mark.chaos
async def test_a_server_that_was_away_and_answers_somebody_is_back(own_server, own_stores, monkeypatch):
    monkeypatch.setattr(engine_module, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(absence_module, "_PAUSE_S", 60)  # nobody looks: a call is answered first
    absence = own_stores._engine._absence
    await asyncio.to_thread(own_server.stop)
    try:
        with pytest.raises(StoreUnavailable):
            await texts(own_stores)
        assert absence.since is not None
        assert not absence.is_long()
    finally:
        await asyncio.to_thread(own_server.start)
    await texts(own_stores)
    assert absence.since is None


async def test_calls_are_not_refused_for_ever_where_whoever_looked_was_cancelled(monkeypatch):
    monkeypatch.setattr(absence_module, "_LONG_S", 0.0)
    monkeypatch.setattr(absence_module, "_PAUSE_S", 0.0)
    looked = asyncio.Event()

    async def look():
        looked.set()

    absence = Absence("postgresql://nowhere", look)
    absence.began(ConnectionRefusedError("nobody there"))
    absence._looking.cancel()
    await asyncio.wait([absence._looking])
    assert absence.is_long()
    await absence.outlast(time.monotonic())
    assert looked.is_set()
    assert absence.since is None
    await absence.stop()


async def test_a_server_that_is_busy_is_not_away(postgres_url, monkeypatch):
    monkeypatch.setattr(connections_module, "_SLOT_S", 0.05)
    monkeypatch.setattr(engine_module, "_PATIENCE_S", 0.1)
    stores = open_stores(postgres_url, pool_max=1)
    await stores.start()
    busy = asyncio.create_task(stores._engine.fetch("SELECT pg_sleep(0.5)"))
    await eventually(lambda: asyncio.sleep(0, stores._engine._connections._slots.locked()))
    with pytest.raises(StoreUnavailable, match="no connection became free"):
        await texts(stores)
    assert stores._engine._absence.since is None
    await busy
    await stores.stop()


@pytest.mark.chaos
@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
async def test_a_restart_under_load_loses_nothing_acknowledged_and_writes_nothing_twice(own_server, own_stores, mode):
    told: list[str] = []
    unknown: list[str] = []
    over = asyncio.Event()

    async def talk(lane: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            turn = f"{lane}-{number}"
            key = SessionKey("acme", f"{lane}")
            try:
                assert await join(own_stores, turn, key)
                await own_stores.turns.leave(key, turn, drafts=[said(f"{turn} asks"), said(f"{turn} hears")])
                told.append(turn)
            except CorralError:
                unknown.append(turn)
                await asyncio.sleep(0.01)
                await own_stores.turns.leave(key, turn)

    async def interrupt() -> None:
        await eventually(lambda: asyncio.sleep(0, len(told) > 50))
        if mode == "kill":
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.start)
        else:
            await asyncio.to_thread(own_server.restart, mode)
        after = len(told)
        await eventually(lambda: asyncio.sleep(0, len(told) > after + 50))
        over.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(interrupt())
        for lane in range(8):
            group.create_task(talk(lane))

    for lane in range(8):
        words = [event.text for event in await listed(own_stores, SessionKey("acme", f"{lane}"))]
        turns = [text.split()[0] for text in words[::2]]
        assert words == [f"{turn} {what}" for turn in turns for what in ("asks", "hears")]
        assert len(turns) == len(set(turns))
        acknowledged = [turn for turn in told if turn.startswith(f"{lane}-")]
        assert [turn for turn in acknowledged if turn not in set(turns)] == []
        assert set(turns) <= set(acknowledged) | set(unknown)
