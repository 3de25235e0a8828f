"""Open the database file, and say in Corral's words what goes wrong with it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from corral.errors import ConfigError, CorralError, StoreUnavailable

_SETTING = "setting `store.url`, environment `CORRAL_STORE_URL`, flag `--store`"


def path_of(url: str) -> Path:
    """The file that `sqlite:///path` names: three slashes for a relative path, four for an absolute one."""
    prefix = "sqlite:///"
    path = url.removeprefix(prefix)
    if path == url or not path or path.startswith(":memory:") or "?" in path or "\0" in path:
        raise ConfigError(
            f"{url!r} names no database file; write sqlite:///path/to/file.db ({_SETTING}). "
            "A database in memory would be lost with the first worker, and no other worker would see it."
        )
    return Path(path)


def connect(path: Path, *, sync: str) -> sqlite3.Connection:
    """A connection in autocommit: transactions are begun and committed in so many words."""
    # Other processes of ours never collide (see lock.py), so this long wait is for foreign tools that write.
    connection = sqlite3.connect(
        path, timeout=30.0, isolation_level=None, check_same_thread=False, cached_statements=128
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL" if sync == "full" else "PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA temp_store = MEMORY")
    # A commit that brings the log into the file waits for the disk: only where nobody else could (see checkpointing.py).
    connection.execute("PRAGMA wal_autocheckpoint = 16000")
    return connection


def open_database(path: Path, url: str, *, sync: str) -> sqlite3.Connection:
    """A connection that writes, in WAL mode, to a file that is made when it is not there."""
    connection = connect(path, sync=sync)
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    except BaseException:
        connection.close()
        raise
    if mode != "wal":
        connection.close()
        raise StoreUnavailable(
            f"The store at {url} lies on a file system that cannot share memory between processes "
            f"(SQLite's WAL mode): put it on a local disk ({_SETTING})."
        )
    return connection


def translated(error: Exception, url: str) -> Exception:
    """The error as callers know it; one that is neither ours nor SQLite's is a defect and stays what it is."""
    ours = isinstance(error, CorralError | sqlite3.ProgrammingError | sqlite3.IntegrityError)
    if ours or not isinstance(error, sqlite3.DatabaseError | OSError):
        return error
    return StoreUnavailable(f"The store at {url} does not answer: {error} ({_SETTING}).")
