"""How many tokens are used within a block of code: told by whoever asks models, for whoever limits the block."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

from corral.messages import Usage


class Meter:
    """Counts the tokens of one block, in whatever tasks and threads it starts."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        """None yet."""
        self.tokens = 0


_running: contextvars.ContextVar[tuple[Meter, ...]] = contextvars.ContextVar("corral_meters", default=())


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Have `meter` count what is used in this block; those around it count as well."""
    token = _running.set((*_running.get(), meter))
    try:
        yield
    finally:
        _running.reset(token)


def used(usage: Usage) -> None:
    """So much was used here."""
    for meter in _running.get():
        meter.tokens += usage.total
