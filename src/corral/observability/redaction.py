"""Keeps secrets out of what is written: values of keys that sound secret, and credentials inside of texts."""

from __future__ import annotations

import re
from typing import Any

MASK = "[redacted]"

_SECRET_KEY = re.compile(
    r"(?i)(^|[_\-.])(authorization|api[_-]?key|password|passwd|secret|token|cookie|credential)s?($|[_\-.])"
)
_CREDENTIAL = re.compile(
    r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"  # an Authorization header's value
    r"|\b(sk|pk|rk)-[a-z0-9_-]{16,}"  # keys of model providers
    r"|\bAKIA[0-9A-Z]{16}\b"  # AWS access keys
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # a password in a URL
)
_DEPTH_MAX = 6


def redacted(value: Any, depth: int = 0) -> Any:
    """The value with secrets masked; other objects are left to the renderer."""
    if isinstance(value, str):
        return _CREDENTIAL.sub(MASK, value)
    if depth >= _DEPTH_MAX:
        return value
    if isinstance(value, dict):
        return {key: MASK if is_secret(key) else redacted(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(part, depth + 1) for part in value]
    return value


def is_secret(key: object) -> bool:
    """Whether a key's value is to be masked. Counts of tokens are no secret."""
    return isinstance(key, str) and _SECRET_KEY.search(key) is not None and not key.lower().endswith("_tokens")
