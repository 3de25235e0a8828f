"""Many rows with one statement.

SQLite lets the interpreter go for each statement and takes it back afterwards. While the event loop is busy that is most of what a
row costs, and a line of a thousand rows is written more slowly than it grows.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_TOGETHER = (64, 8, 1)
"""Rows of one statement: each size is one that the connection remembers."""


class ManyRows:
    """An `INSERT … VALUES (?, ?, …)` of one row, for any number of them."""

    def __init__(self, query: str) -> None:
        before, values, rest = query.partition("VALUES ")
        row, bracket, after = rest.partition(")")
        self._queries = [
            (together, f"{before}{values}{', '.join([row + bracket] * together)}{after}") for together in _TOGETHER
        ]

    def insert(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Insert them, in order. What the statement returns comes in any order."""
        returned: list[tuple[Any, ...]] = []
        done = 0
        for together, query in self._queries:
            while len(rows) - done >= together:
                values = tuple(chain.from_iterable(rows[done : done + together]))
                returned += connection.execute(query, values).fetchall()
                done += together
        return returned
