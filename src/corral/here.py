"""What a service lends to the code that runs in it: its models, its tools, its memory, the house of its agents."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Here(Generic[T]):
    """One such thing: that of this block where there is one, else that of the process's service."""

    def __init__(self, name: str) -> None:
        """Nothing is lent yet."""
        self._service: T | None = None
        self._block: contextvars.ContextVar[T | None] = contextvars.ContextVar(name, default=None)

    def use(self, lent: T | None) -> T | None:
        """Lend it to all of this process; none: take it away. Returns what was there before.

        Called when a service starts, and when it stops.
        """
        before, self._service = self._service, lent
        return before

    @contextmanager
    def using(self, lent: T) -> Iterator[None]:
        """Lend it to what runs in this block: for tests, and for services that share a process."""
        token = self._block.set(lent)
        try:
            yield
        finally:
            self._block.reset(token)

    def find(self) -> T | None:
        """What is here; none: nothing."""
        return self._block.get() or self._service
