from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from corral.backends.open import open_stores
from corral.backends.sqlite import connection as connection_module
from corral.backends.sqlite import engine as engine_module
from corral.backends.sqlite import watcher as watcher_module
from corral.backends.sqlite import writer as writer_module
from corral.backends.sqlite.connection import open_database
from corral.backends.sqlite.lock import WriteLock
from corral.backends.sqlite.watcher import Watcher
from corral.errors import ConfigError, StoreUnavailable
from corral.sessions.event import EventQuery, SessionKey
from corral.testing.contracts.setting import KEY, PATIENCE_S, said, texts

WRITER = """
import asyncio, sys
from corral.backends.open import open_stores
from corral.sessions.event import SessionKey
from corral.testing.contracts.setting import said

async def main(url, name, count):
    stores = open_stores(url)
    await stores.start()
    async def speak(lane):
        for number in range(count):
            await stores.sessions.append(SessionKey("acme", f"{number % 3}"), [said(f"{name} {lane} {number}")])
            print(f"{name} {lane} {number}", flush=True)
    await asyncio.gather(*(speak(lane) for lane in range(4)))
    await stores.stop()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def writer(url: str, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def everything(stores) -> list[str]:
    return [text for session in range(3) for text in await texts(stores, SessionKey("acme", f"{session}"), limit=9999)]


@pytest.mark.parametrize(
    "url", ["sqlite:///:memory:", "sqlite://", "sqlite:///", "sqlite:relative.db", "sqlite:///a.db?mode=ro"]
)
def test_a_url_that_names_no_file_is_refused(url):
    with pytest.raises(ConfigError, match=r"store\.url"):
        open_stores(url)


def test_an_unknown_engine_is_refused():
    with pytest.raises(ConfigError, match="mysql"):
        open_stores("mysql://somewhere")


async def test_the_folder_is_made(tmp_path):
    stores = open_stores(f"sqlite:///{tmp_path}/a/b/c.db")
    await stores.start()
    assert (tmp_path / "a/b/c.db").exists()
    await stores.stop()


async def test_a_relative_path_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stores = open_stores("sqlite:///.corral/corral.db")
    await stores.start()
    assert (tmp_path / ".corral/corral.db").exists()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await stores.sessions.append(KEY, [said("x")])
    assert await texts(stores) == ["x"]
    await stores.stop()
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_path_that_cannot_be_made_names_url_and_setting(tmp_path):
    (tmp_path / "file").write_text("in the way")
    url = f"sqlite:///{tmp_path}/file/corral.db"
    with pytest.raises(StoreUnavailable) as caught:
        await open_stores(url).start()
    assert url in caught.value.message
    assert "store.url" in caught.value.message


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path):
    (tmp_path / "corral.db").write_bytes(b"this is not a database, and never was one" * 100)
    stores = open_stores(f"sqlite:///{tmp_path}/corral.db")
    with pytest.raises(StoreUnavailable, match="not a database"):
        await stores.start()
    with pytest.raises(StoreUnavailable, match="not a database"):
        await stores.schema_version()


async def test_asking_for_the_version_makes_nothing(tmp_path):
    has, knows = await open_stores(f"sqlite:///{tmp_path}/corral.db").schema_version()
    assert (has, knows > 0) == (0, True)
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_unavailable_and_then_it_goes_on(sqlite_stores, monkeypatch):
    engine = sqlite_stores._engine
    await sqlite_stores.sessions.append(KEY, [said("before")])
    pages = await engine.write(lambda tx: tx.execute("PRAGMA page_count").fetchone()[0])

    def with_little_room(*args, **options):
        connection = open_database(*args, **options)
        connection.execute(f"PRAGMA max_page_count = {pages + 5}")
        return connection

    monkeypatch.setattr(writer_module, "open_database", with_little_room)
    await engine.write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages + 5}").fetchone())
    small, large = SessionKey("acme", "small"), SessionKey("acme", "large")
    results = await asyncio.gather(
        sqlite_stores.sessions.append(small, [said("fits")]),
        sqlite_stores.sessions.append(large, [said("x" * 500_000)]),
        return_exceptions=True,
    )
    assert not isinstance(results[0], BaseException)
    assert isinstance(results[1], StoreUnavailable)
    assert "full" in results[1].message
    monkeypatch.setattr(writer_module, "open_database", open_database)
    await sqlite_stores.sessions.append(large, [said("x" * 500_000)])
    assert await texts(sqlite_stores) == ["before"]
    assert await texts(sqlite_stores, small) == ["fits"]


async def test_a_defect_in_one_operation_harms_no_other(sqlite_stores):
    def defect(transaction):
        transaction.execute("DELETE FROM sessions")
        raise ZeroDivisionError

    await sqlite_stores.sessions.append(KEY, [said("before")])
    results = await asyncio.gather(
        sqlite_stores.sessions.append(KEY, [said("a")]),
        sqlite_stores._engine.write(defect),
        sqlite_stores.sessions.append(KEY, [said("b")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], ZeroDivisionError)
    assert await texts(sqlite_stores) == ["before", "a", "b"]


async def test_a_foreign_writer_is_waited_for(sqlite_stores, sqlite_url):
    foreign = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), check_same_thread=False, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, lambda: foreign.execute("COMMIT")).start()
    await sqlite_stores.sessions.append(KEY, [said("after")])
    assert await texts(sqlite_stores) == ["after"]
    foreign.close()


async def test_a_lock_that_is_never_given_back_is_said_to_be(sqlite_stores, sqlite_url, monkeypatch):
    monkeypatch.setattr(engine_module, "_CHECK_S", 0.05)
    monkeypatch.setattr(engine_module, "_PATIENCE_S", 0.1)
    lock = WriteLock(Path(sqlite_url.removeprefix("sqlite:///")))
    with lock:
        with pytest.raises(StoreUnavailable, match="lock"):
            await sqlite_stores.check()
        with pytest.raises(StoreUnavailable, match="lock"):
            await sqlite_stores.sessions.append(KEY, [said("too late")])
        assert await texts(sqlite_stores) == []  # reading goes on
    lock.close()
    monkeypatch.setattr(engine_module, "_PATIENCE_S", 30.0)
    await sqlite_stores.sessions.append(KEY, [said("in time")])
    assert await texts(sqlite_stores) == ["in time"]


async def test_a_database_that_was_removed_is_missed(sqlite_stores, sqlite_url):
    await sqlite_stores.check()
    os.unlink(sqlite_url.removeprefix("sqlite:///"))  # noqa: PTH108 - one call
    with pytest.raises(StoreUnavailable, match="gone"):
        await sqlite_stores.check()


async def test_full_sync_is_for_those_who_ask(sqlite_url):
    for sync, level in (("normal", 1), ("full", 2)):
        stores = open_stores(sqlite_url, sync=sync)
        await stores.start()
        found = await stores._engine.write(lambda tx: tx.execute("PRAGMA synchronous").fetchone()[0])
        assert found == level
        await stores.stop()


async def test_a_store_that_was_not_started_says_so(sqlite_url):
    stores = open_stores(sqlite_url)
    with pytest.raises(StoreUnavailable, match="start"):
        await stores.sessions.events(KEY, EventQuery())
    with pytest.raises(StoreUnavailable, match="start"):
        await stores.sessions.append(KEY, [said("x")])
    await stores.stop()


async def test_a_waiter_is_woken_when_the_holder_in_another_process_dies(sqlite_stores, other_sqlite_stores):
    woken: asyncio.Queue[SessionKey] = asyncio.Queue()
    unwatch = sqlite_stores.turns.watch(woken.put_nowait)
    await other_sqlite_stores.turns.join(KEY, "dies", policy="enqueue", lease_s=0.3, waiting_max=10)
    granted = await sqlite_stores.turns.join(KEY, "waits", policy="enqueue", lease_s=60, waiting_max=10)
    while not granted:
        await asyncio.wait_for(woken.get(), PATIENCE_S)
        granted = await sqlite_stores.turns.claim(KEY, "waits")
    unwatch()


async def test_a_read_that_fails_harms_no_other(sqlite_stores):
    await sqlite_stores.sessions.append(KEY, [said("x")])
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="nonsense"):
            await sqlite_stores._engine.read(lambda view: view.execute("nonsense"))
    with pytest.raises(StoreUnavailable, match="readonly"):
        await sqlite_stores._engine.read(lambda view: view.execute("DELETE FROM events"))
    assert await texts(sqlite_stores) == ["x"]


async def test_the_watcher_survives_a_file_that_fails_for_a_while(sqlite_stores, other_sqlite_stores, monkeypatch):
    failures = iter([sqlite3.OperationalError("disk I/O error")] * 3)
    look = Watcher._look

    def fail_first(self, *args):
        if (failure := next(failures, None)) is not None:
            raise failure
        return look(self, *args)

    monkeypatch.setattr(Watcher, "_look", fail_first)
    monkeypatch.setattr(watcher_module, "_RECOVER_S", 0.01)
    woken: asyncio.Queue[SessionKey] = asyncio.Queue()
    unwatch = sqlite_stores.turns.watch(woken.put_nowait)
    for stores, turn in ((other_sqlite_stores, "a"), (sqlite_stores, "b")):
        await stores.turns.join(KEY, turn, policy="enqueue", lease_s=60, waiting_max=10)
    await other_sqlite_stores.turns.leave(KEY, "a")
    assert await asyncio.wait_for(woken.get(), PATIENCE_S) == KEY
    unwatch()


async def test_a_network_disk_is_refused(sqlite_url, monkeypatch):
    monkeypatch.setattr(connection_module, "connect", lambda *_, **__: Disk())
    with pytest.raises(StoreUnavailable, match="local disk"):
        await open_stores(sqlite_url).start()


class Disk:
    """A file system on which WAL does not work, as SQLite tells it."""

    def execute(self, sql):
        return self

    def fetchone(self):
        return ("delete",)

    def close(self):
        pass


async def test_no_thread_outlives_stop(sqlite_url):
    stores = open_stores(sqlite_url)
    await stores.start()
    unwatch = stores.turns.watch(lambda _: None)
    await stores.turns.join(KEY, "a", policy="enqueue", lease_s=10, waiting_max=10)
    await stores.turns.join(KEY, "b", policy="enqueue", lease_s=10, waiting_max=10)
    await texts(stores)
    unwatch()
    await stores.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("corral-sqlite")] == []


async def test_processes_never_meet_a_locked_database(sqlite_stores, sqlite_url):
    writers = [writer(sqlite_url, name, 40) for name in "abcd"]
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in writers))
    assert [(process.returncode, errors) for process, (_, errors) in zip(writers, outputs, strict=True)] == [
        (0, "")
    ] * 4
    told = [line for output, _ in outputs for line in output.splitlines()]
    assert len(told) == 4 * 4 * 40
    assert sorted(await everything(sqlite_stores)) == sorted(told)


@pytest.mark.chaos
async def test_a_killed_process_loses_no_acknowledged_append_and_holds_up_nobody(sqlite_stores, sqlite_url):
    victims = [writer(sqlite_url, name, 100_000) for name in "ab"]
    told: list[str] = []
    for process in victims:
        assert process.stdout is not None
        told += [(await asyncio.to_thread(process.stdout.readline)).strip() for _ in range(50)]
    for process in victims:
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        rest, _ = await asyncio.to_thread(process.communicate)
        # The last line may have been cut in the middle; all others were acknowledged.
        told += rest.splitlines()[:-1]
    await sqlite_stores.sessions.append(KEY, [said("life goes on")])
    kept = set(await everything(sqlite_stores))
    assert [line for line in told if line not in kept] == []
