"""Keeps secrets out of settings that are shown: keys, passwords, and passwords inside of URLs."""

from __future__ import annotations

import re
from typing import Any

MASK = "[redacted]"

_SECRET = re.compile(r"(?i)(^|[_\-])(api_?key|key|secret|password|token)$")
_WHOLE = frozenset({"headers", "query", "env"})
"""Whose every value may be a credential, whatever its name."""
_IN_URL = re.compile(r"(?i)(://[^:/?#\s@]*:)\S*(?=@)|([?&]password=)[^&\s]*")


def masked(key: str, value: Any) -> Any:
    """The value as it may be shown."""
    if isinstance(value, dict) and key in _WHOLE:
        return dict.fromkeys(value, MASK)
    if isinstance(value, dict):
        return {name: masked(str(name), part) for name, part in value.items()}
    if isinstance(value, list):
        return [masked(key, part) for part in value]
    if not isinstance(value, str):
        return value
    if _SECRET.search(key):
        return MASK
    return _IN_URL.sub(lambda found: f"{found[1] or found[2]}{MASK}", value)
