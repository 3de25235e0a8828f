"""Many rows with one statement, in SQLite."""

from __future__ import annotations

import sqlite3

import pytest

from corral.backends.sqlite.many_rows import ManyRows


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65, 200])
def test_every_row_is_inserted_once_and_in_order(count):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE rows (place INTEGER PRIMARY KEY, a INTEGER UNIQUE, b TEXT)")
    rows = [(number, f"word {number}") for number in range(count)]
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    ManyRows("INSERT INTO rows (a, b) VALUES (?, ?)").insert(connection, rows)
    connection.set_trace_callback(None)
    assert connection.execute("SELECT a, b FROM rows ORDER BY place").fetchall() == rows
    inserts = [one for one in statements if one.startswith("INSERT")]
    assert len(inserts) == count // 64 + count % 64 // 8 + count % 8
    connection.close()


def test_what_follows_the_values_holds_for_all_of_them():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE rows (a INTEGER UNIQUE)")
    insert = ManyRows("INSERT INTO rows (a) VALUES (?) ON CONFLICT DO NOTHING")
    insert.insert(connection, [(number % 50,) for number in range(150)])
    assert connection.execute("SELECT count(*) FROM rows").fetchone() == (50,)
    connection.close()
