"""Functions that tasks call: each with its own name, and its own bounds."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from corral.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
LATEST = "$LATEST"
"""The only version of a function that there is."""


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    name: str
    fn: Callable[..., Any]
    """Called with the task's payload, and with a context where it takes two arguments."""
    context: Literal["own", "lambda"] = "own"
    """What it expects for a context: `corral.Context`, or what AWS Lambda passes."""
    concurrency: int | None = None
    """Calls that run at once, of one tenant and over all workers; none: as many as there is room for."""
    timeout_s: float | None = None
    """Longest call; none: what the settings say."""
    queue: str = ""
    """The queue its calls wait in; empty: that of all tasks."""
    retries: int = 0
    """Further calls after one that failed, before its task fails."""
    memory_mb: int = 128
    """What it is told it may use."""

    @property
    def arguments(self) -> int:
        """How many of payload and context it takes: 0, 1 or 2."""
        try:
            parameters = inspect.signature(self.fn).parameters.values()
        except (TypeError, ValueError):  # made in C, which says nothing of itself
            return 1
        if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
            return 2
        return min(2, sum(one.kind in _POSITIONAL for one in parameters))


class Functions:
    """The functions of one app by name."""

    def __init__(self) -> None:
        """Start with none."""
        self._functions: dict[str, Function] = {}

    def add(self, function: Function) -> Function:
        """Register one. A name is taken once."""
        name = function.name
        if not _NAME.fullmatch(name):
            raise ConfigError(f"A function's name is made of 1 to 64 letters, digits, `_` and `-`, not {name!r}.")
        if name in self._functions:
            raise ConfigError(
                f"There are two functions named {name!r}: give one another name, `@app.function(name=…)`."
            )
        if not callable(function.fn):
            raise ConfigError(f"{name!r} is a {type(function.fn).__name__}, which cannot be called.")
        for what, least in (("concurrency", 1), ("retries", 0)):
            given = getattr(function, what)
            if given is not None and (not isinstance(given, int) or given < least):
                raise ConfigError(f"`{what}` of the function {name!r} is a whole number from {least}, not {given!r}.")
        if function.timeout_s is not None and not function.timeout_s > 0:
            raise ConfigError(f"`timeout_s` of the function {name!r} is more than 0, not {function.timeout_s!r}.")
        self._functions[name] = function
        return function

    def add_handlers(self, handlers: Mapping[str, Callable[..., Any]]) -> None:
        """Register what a file calls `FUNCTIONS`: names, and handlers as AWS Lambda calls them, `handler(event, context)`."""
        for name, handler in handlers.items():
            self.add(Function(name=name, fn=handler, context="lambda"))

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def __len__(self) -> int:
        return len(self._functions)

    def find(self, name: str) -> Function | None:
        """The function of that name."""
        return self._functions.get(name)

    def near(self, name: str) -> str:
        """What to say to who named one that does not exist."""
        near = difflib.get_close_matches(name, self._functions, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else "; there is: " + (", ".join(self._functions) or "none")
        return f"There is no function named {name!r}{meant}"
