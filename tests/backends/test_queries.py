from __future__ import annotations

import re
from pathlib import Path

import pytest

import corral.backends
from corral.backends.queries import read_queries

BACKENDS = Path(corral.backends.__file__).parent
FILES = sorted(path for path in BACKENDS.glob("*/*.sql"))


def test_a_file_is_read_by_name(tmp_path):
    (tmp_path / "a.sql").write_text(
        "-- name: one\n-- A sentence.\nSELECT 1;\n\n-- name: two\n-- Another.\nSELECT\n2;\n"
    )
    assert read_queries(tmp_path / "a.sql") == {"one": "SELECT 1", "two": "SELECT\n2"}


def test_a_name_is_given_once(tmp_path):
    (tmp_path / "a.sql").write_text("-- name: one\n-- A.\nSELECT 1;\n-- name: one\n-- A.\nSELECT 2;\n")
    with pytest.raises(ValueError, match="one"):
        read_queries(tmp_path / "a.sql")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_query_has_a_name_and_a_sentence_and_is_used(path):
    queries = read_queries(path)
    assert len(queries) == path.read_text().count("-- name:")
    # What both engines share may name their queries as well.
    code = "".join(module.read_text() for module in (*path.parent.glob("*.py"), *BACKENDS.glob("*.py")))
    asked = set(re.findall(r'"([a-z_]+)"', code))
    assert sorted(set(queries) - asked) == []


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_python_builds_no_sql(engine):
    for module in (BACKENDS / engine).glob("*.py"):
        assert not re.search(r'f"[^"]*\b(SELECT|INSERT|UPDATE|DELETE)\b', module.read_text()), module.name
