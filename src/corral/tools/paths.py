"""Places inside of arguments: `order.lines[*].price`. Small on purpose: what a rule says must be understood at a glance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from corral.errors import ConfigError

_STEP = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d{1,6}|\*)\]|\['([^']*)'\]")
_STEPS_MAX = 20
_VALUES_MAX = 10_000


class Place:
    """One place, or all of a kind where it says `[*]`."""

    __slots__ = ("_steps", "text")

    def __init__(self, text: str) -> None:
        """Raises `ConfigError` for what is no place."""
        self.text = text
        rest = text.removeprefix("$")
        steps: list[str | int | None] = []
        at = 0
        while at < len(rest):
            found = _STEP.match(rest, at)
            if found is None or len(steps) == _STEPS_MAX or (not steps and rest[0] == "." and not text.startswith("$")):
                break
            name, index, quoted = found.groups()
            steps.append(quoted if index is None and name is None else name or (None if index == "*" else int(index)))
            at = found.end()
        if at < len(rest) or not steps:
            raise ConfigError(
                f"{text!r} is no place in the arguments of a tool: write `amount`, `order.total`, `lines[0].price`, "
                "`lines[*].price` or `['odd key']`."
            )
        self._steps = tuple(steps)

    def values(self, arguments: dict[str, Any]) -> list[Any]:
        """What stands there: nothing, one value, or one for each of a list."""
        found: list[Any] = [arguments]
        for step in self._steps:
            found = [value for one in found for value in _inside(one, step)][:_VALUES_MAX]
        return found


def _inside(value: Any, step: str | int | None) -> Iterator[Any]:
    if isinstance(step, str):
        if isinstance(value, dict) and step in value:
            yield value[step]
    elif isinstance(value, list):
        if step is None:
            yield from value
        elif step < len(value):
            yield value[step]
    elif step is None and isinstance(value, dict):
        yield from value.values()
