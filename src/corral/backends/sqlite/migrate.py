"""Bring the schema of a database file up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.migration import pending, read_migrations
from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from corral.backends.migration import Migration

_SQL = read_queries(Path(__file__).with_name("migrate.sql"))

STEPS = read_migrations(Path(__file__).parent / "migrations")
"""All steps this program knows."""

NEWEST_FENCE: str = _SQL["newest_fence"]
"""The query for the newest step of a file in use that older programs cannot go on with."""


def migrate(connection: sqlite3.Connection, url: str, now: float, *, known: Sequence[Migration] = STEPS) -> None:
    """Apply what is missing, all of it or nothing. The caller keeps other processes out."""
    if not pending(known, applied(connection), url):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_SQL["make_ledger"])
        for step in pending(known, applied(connection), url):
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(_SQL["note"], (step.version, step.name, step.checksum, now))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def applied(connection: sqlite3.Connection) -> dict[int, str]:
    """Version and checksum of the steps this database has; none for an empty file."""
    ledger = connection.execute(_SQL["has_ledger"]).fetchone()
    return dict(connection.execute(_SQL["applied"])) if ledger else {}


def version_of(path: Path) -> int:
    """The version a file has; 0 when it is not there. Creates nothing."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)
    try:
        return max(applied(connection), default=0)
    finally:
        connection.close()


def _statements(sql: str) -> Iterator[str]:
    """Split a script; SQLite itself knows where a statement (or a trigger's body) ends."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
        raise ValueError(f"A migration ends in the middle of a statement: {statement.strip()!r}")
