"""No query about executions looks at more rows than it needs, in SQLite."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

import corral.backends.sqlite
from corral.backends.queries import read_queries
from corral.backends.sqlite import migrate as on_sqlite

SQL = read_queries(Path(corral.backends.sqlite.__file__).with_name("executions.sql"))
ASKED_BY_NOBODY_OFTEN = {"tasks"}
SORTED_AFTERWARDS = {"tasks", "tasks_of_execution", "counts"}
CHEAP = ("json_each", "gone", "(subquery", "CONSTANT ROW")


@pytest.mark.parametrize("query", sorted(SQL.keys() - ASKED_BY_NOBODY_OFTEN))
def test_it_has_an_index(query):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    on_sqlite.migrate(connection, "url", 0.0)
    sql = SQL[query]
    names = re.findall(r":([a-z_]+)", sql)
    places = re.findall(r"\?(\d*)", sql)
    count = max((int(place) for place in places if place), default=len(places))
    values: object = dict.fromkeys(names, "[]") if names else ["[]"] * count
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    connection.close()
    for *_, step in plan:
        assert "TEMP B-TREE" not in step or query in SORTED_AFTERWARDS, step
        assert not step.startswith("SCAN") or "USING" in step or any(name in step for name in CHEAP), step
