"""Names that every provider of models takes, out of names that others chose."""

from __future__ import annotations

import hashlib
import re

_ODD = re.compile(r"[^a-zA-Z0-9_-]")
_NAME_MAX = 64
_MARK = 6


def tool_name(text: str) -> str:
    """A tool's name: what is too long is cut, what is odd becomes `_`, and what was different stays so."""
    name = _ODD.sub("_", text)
    if len(name) > _NAME_MAX or name != text or not name:
        mark = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_MARK]
        name = f"{name[: _NAME_MAX - _MARK - 1]}_{mark}"
    return name
