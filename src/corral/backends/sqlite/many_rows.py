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

_ROWS = 40


class ManyRows:
    """An `INSERT … VALUES (?, ?, …)` of one row, for any number of them."""

    def __init__(self, query: str) -> None:
        self._one = query
        before, values, rest = query.partition("VALUES ")
        row, bracket, after = rest.partition(")")
        self._many = f"{before}{values}{', '.join([row + bracket] * _ROWS)}{after}"

    def insert(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert them, in order."""
        whole = len(rows) - len(rows) % _ROWS
        for first in range(0, whole, _ROWS):
            connection.execute(self._many, tuple(chain.from_iterable(rows[first : first + _ROWS])))
        connection.executemany(self._one, rows[whole:])
