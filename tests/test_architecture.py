"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "corral"
FILES = sorted(SOURCE.rglob("*.py"))
LINES_MAX = 500
FUNCTION_LINES_MAX = 70
SQL = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE)\b")
FORBIDDEN = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc", "core"}
ROOMS = {
    "workflows",
    "backends",
    "observability",
    "runtime",
    "server",
    "sessions",
    "settings",
    "cli",
    "jobs",
    "outbound",
    "models",
    "cache",
    "limits",
    "agents",
    "tools",
    "memory",
    "security",
}
# Folders that are no rooms: what is for people who test, and what joins rooms.
JOINTS = {"testing", "wiring"}
DOCS_OF = {"backends": "store"}

# What a database may know of the house: the rooms' ports and types, and the shared vocabulary.
BACKENDS_MAY_IMPORT = re.compile(
    r"corral\.(backends(\..*)?|errors|clock|messages|context|settings\.sections"
    r"|sessions\.(store|event)|jobs\.(store|job|states)|cache\.(store|semantic_store)|(limits|tools|memory|security|agents|workflows)\.store|security\.(chain|key_store)|workflows\.(catalog_store|topic_store|map_run_store|bucket_store|machine\.run)|memory\.(resource_store|summary_store)|runtime\.(store|board_store)|limits\.budget_store|observability\.store)$"
)


def rel(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_short_and_have_names_that_say_something() -> None:
    assert not [rel(path) for path in FILES if len(path.read_text().splitlines()) > LINES_MAX]
    assert not [rel(path) for path in FILES if {path.stem, path.parent.name} & FORBIDDEN]


def test_tests_have_names_of_their_own() -> None:
    """Two files of one name cannot be collected together."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


class Facts(NamedTuple):
    """What the rules ask of one file. Its tree is let go of: a million nodes would be in every collector's way."""

    too_long: list[str]
    imports: list[str]
    sql: list[str]


@functools.cache
def facts(path: Path) -> Facts:
    found = Facts([], [], [])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            start = (first.end_lineno or first.lineno) if documented else node.lineno
            if (node.end_lineno or start) - start > FUNCTION_LINES_MAX:
                found.too_long.append(f"{rel(path)}: {node.name}")
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.imports.append(node.module)
        elif isinstance(node, ast.Import):
            found.imports.extend(name.name for name in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value):
            found.sql.append(f"{rel(path)}: {node.value}")
    return found


def test_functions_fit_on_a_screen() -> None:
    assert not [function for path in FILES for function in facts(path).too_long]


@pytest.mark.parametrize("path", sorted((SOURCE / "backends").rglob("*.py")), ids=rel)
def test_backends_know_ports_and_types_only(path: Path) -> None:
    ours = [module for module in facts(path).imports if module.startswith("corral")]
    assert not [module for module in ours if not BACKENDS_MAY_IMPORT.match(module)]


def test_sql_stands_in_sql_files() -> None:
    assert not [string for path in FILES for string in facts(path).sql]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_room_has_a_page_and_tests(room: str) -> None:
    assert (ROOT / "docs" / f"{DOCS_OF.get(room, room)}.md").is_file()
    assert list((ROOT / "tests" / room).glob("test_*.py"))


def test_every_folder_is_a_known_room() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders == ROOMS | JOINTS


def test_every_package_says_what_it_does() -> None:
    undocumented = [
        rel(path) for path in SOURCE.rglob("__init__.py") if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not undocumented


def test_suppressed_rules_say_why() -> None:
    bare = re.compile(r"#\s*(noqa(?!:\s*[A-Z0-9, ]+ - )|type:\s*ignore(?!\[[\w, -]+\]\s+#))")
    offenders = []
    for path in [*FILES, *sorted((ROOT / "tests").rglob("*.py"))]:
        if path.name == Path(__file__).name:
            continue
        offenders += [
            f"{rel(path)}:{n}" for n, line in enumerate(path.read_text().splitlines(), 1) if bare.search(line)
        ]
    assert not offenders
