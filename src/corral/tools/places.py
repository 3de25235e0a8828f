"""Places that tools come from, by name: `mcp:github`, `openapi:billing`. A toolbox asks for their tools each time it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from corral.errors import ConfigError
from corral.tools.tool import Tool

KINDS = ("mcp:", "openapi:")


class Places(Protocol):
    """All places that a service knows."""

    def of(self, source: str) -> Mapping[str, Tool]:
        """The tools of one place. Raises `ConfigError` for one that the settings do not name."""
        ...


_here: Places | None = None


def use(places: Places | None) -> Places | None:
    """Have every toolbox of this process find its tools from elsewhere here. Returns what was used before."""
    global _here
    before, _here = _here, places
    return before


def tools_from(source: str) -> Mapping[str, Tool]:
    """The tools of one place; none while no service runs here."""
    return {} if _here is None else _here.of(source)


def checked_source(text: str) -> str:
    """The name of a place. Raises `ConfigError`."""
    if not text.startswith(KINDS) or text.endswith(":"):
        raise ConfigError(
            f"{text!r} is no place that tools come from: write `mcp:NAME` or `openapi:NAME`, as under `tools` in corral.yaml."
        )
    return text
