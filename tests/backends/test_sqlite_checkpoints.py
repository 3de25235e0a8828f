"""The log of SQLite is brought into the file beside the commits, begins anew while they go on, and is left to them where that fails."""

from __future__ import annotations

import sqlite3

import pytest

from corral.backends.open import open_stores
from corral.backends.sqlite import checkpointing
from corral.backends.sqlite.checkpointing import Checkpoints
from corral.backends.sqlite.lock import WriteLock
from corral.sessions.event import SessionKey
from corral.testing.contracts.setting import said
from ready import ready_url

PAGES = 20
FRAME = 24 + 4096


@pytest.fixture
def taken(monkeypatch):
    """It is done soon, and this is told each time; what is raised there fails it."""
    checkpoint, told = checkpointing._checkpoint, []

    def tell(connection):
        for each in told:
            each()
        return checkpoint(connection)

    monkeypatch.setattr(checkpointing, "_PAGES", PAGES)
    monkeypatch.setattr(checkpointing, "_LOOK_COMMITS", 1)
    monkeypatch.setattr(checkpointing, "_checkpoint", tell)
    return told


@pytest.fixture
async def stores(tmp_path, taken):
    opened = open_stores(ready_url(tmp_path))
    await opened.start()
    await opened.sessions.append(SessionKey("acme", "first"), [said("so that there is a log")])
    yield opened
    await opened.stop()


@pytest.fixture
def log(stores):
    path = stores._engine.path
    return path.with_name(path.name + "-wal")


def round_of(log):
    """What every frame says that belongs to what is in the log now."""
    return log.read_bytes()[16:24]


async def write(stores, enough, most=2000):
    """Until it is enough."""
    for number in range(most):
        if enough():
            return
        await stores.sessions.append(SessionKey("acme", f"{number % 3}"), [said(f"{number}")])
    pytest.fail("It never was.")


async def test_the_log_begins_anew_while_others_write_on(stores, log):
    rounds = {round_of(log)}
    await write(stores, lambda: rounds.add(round_of(log)) or len(rounds) == 4)
    assert log.stat().st_size < 2000 * FRAME


async def test_who_reads_in_the_log_keeps_it_from_that_and_it_is_not_tried_all_the_time(stores, log, taken):
    reader = sqlite3.connect(stores._engine.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    times, first = [], round_of(log)
    taken.append(lambda: times.append(log.stat().st_size))
    await write(stores, lambda: len(times) >= 9)
    assert round_of(log) == first
    assert times[-1] >= 2 * PAGES * FRAME  # three times three, and so many pages in between
    reader.close()
    await write(stores, lambda: round_of(log) != first)


async def test_the_log_does_not_begin_anew_while_it_is_brought_into_the_file_beside_commits(
    stores, log, taken, monkeypatch
):
    checkpoint, asked, rounds, held = checkpointing._checkpoint, [], set(), []
    other = sqlite3.connect(stores._engine.path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE beside (x)")
    writers = WriteLock(stores._engine.path)

    def and_then_somebody_writes(connection):
        asked.append(connection)
        if len(asked) % 3 != 1:  # the second takes over hardly anything, and the third one holds the writers' lock
            return checkpoint(connection)
        with writers:  # all that there is, and then one commit
            checkpoint(connection)
            before = round_of(log)
            other.execute("INSERT INTO beside VALUES (1)")
            held.append(round_of(log) == before)
        return 0

    monkeypatch.setattr(checkpointing, "_checkpoint", and_then_somebody_writes)
    await write(stores, lambda: rounds.add(round_of(log)) or len(rounds) == 4)
    assert held
    assert all(held)
    other.close()
    writers.close()


async def test_what_fails_is_tried_again(stores, log, taken):
    failures = []

    def fail():
        if len(failures) < 3:
            failures.append(None)
            raise sqlite3.OperationalError("disk I/O error")

    taken.append(fail)
    first = round_of(log)
    await write(stores, lambda: round_of(log) != first)
    assert len(failures) == 3


def test_a_log_that_is_not_there_or_empty_has_not_grown(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a.db", sync="normal")
    with pytest.raises(FileNotFoundError):
        checkpoints._has_grown()
    (tmp_path / "a.db-wal").touch()
    assert not checkpoints._has_grown()


def test_nothing_begins_after_the_end(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a.db", sync="normal")
    checkpoints.finish()
    for _ in range(checkpointing._LOOK_COMMITS):
        checkpoints.committed()
    assert checkpoints._thread is None
    checkpoints.join()
