"""The page on security names tests: they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_threat_is_shown_by_a_test_that_is_there():
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| (LLM|ASI)\d\d", line)]
    ids = {found for row in rows for found in re.findall(r"(?:LLM|ASI)\d\d", row.split("|")[1])}
    assert ids == {f"{kind}{n:02}" for kind in ("LLM", "ASI") for n in range(1, 11)}
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), (path, name)
