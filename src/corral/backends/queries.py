"""SQL lives in `.sql` files, each query with a name and a sentence; this reads such a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = re.compile(r"^-- name: (?P<name>[a-z_]+)\n-- (?P<sentence>.+\.)\n", re.MULTILINE)


def read_queries(path: Path) -> dict[str, str]:
    """The queries of one file by name: each is a `-- name:` line, a sentence in comments, and one statement."""
    text = path.read_text(encoding="utf-8")
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    queries: dict[str, str] = {}
    for header, end in zip(headers, ends, strict=True):
        name = header["name"]
        if name in queries:
            raise ValueError(f"{path.name} has two queries named {name!r}")
        queries[name] = text[header.end() : end].strip().removesuffix(";")
    return queries
