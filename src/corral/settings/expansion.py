"""`${VAR}` and `${VAR:-default}` in texts; `$${` is a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\{([^}]*)\}?")


Lookup = Callable[[str], str | None]
"""The value of a variable, if it is set."""


class Expanded(str):
    """Text out of a variable alone, which may stand for a number or a boolean: `port: ${PORT}` means the number."""

    __slots__ = ()


def expanded(value: Any, lookup: Lookup) -> Any:
    """The value with every variable in it replaced, once. Raises `ValueError` for one that is not set."""
    if isinstance(value, dict):
        return {name: expanded(part, lookup) for name, part in value.items()}
    if isinstance(value, list):
        return [expanded(part, lookup) for part in value]
    if not isinstance(value, str) or "${" not in value or isinstance(value, Expanded):
        return value
    whole = _VARIABLE.fullmatch(value)
    text = _VARIABLE.sub(lambda match: _variable(match, lookup), value)
    return Expanded(text) if whole is not None and not value.startswith("$$") else text


def _variable(match: re.Match[str], lookup: Lookup) -> str:
    if match[0] == "$${":
        return "${"
    name, default = match[1], match[3] if match[2] else None
    if name is None:
        raise ValueError(
            f"{match[0]!r} is not a variable: write ${{NAME}} or ${{NAME:-default}}, or $${{ for the text."
        )
    found = lookup(name)
    if found is None or (found == "" and default is not None):
        if default is None:
            raise ValueError(f"The environment variable {name} is not set; set it, or write ${{{name}:-default}}.")
        return default
    return found
