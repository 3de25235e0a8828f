"""Time, ids and chance come in from outside: production uses `SystemClock`, tests a clock they turn themselves."""

from __future__ import annotations

import os
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where the rest of the house takes the time from."""

    def now(self) -> float:
        """Seconds since 1970, as shown to people and stored."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for measuring and for deadlines."""
        ...


class SystemClock:
    """The machine's own clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


SYSTEM_CLOCK = SystemClock()

# Ids need to be unique, not secret: a process-local generator seeded by the kernel is ten times cheaper than asking
# the kernel for every id. A forked worker reseeds, or two workers would hand out the same ids.
_ids = random.Random(os.urandom(32))  # noqa: S311 - see above
os.register_at_fork(after_in_child=lambda: _ids.seed(os.urandom(32)))


def new_id() -> str:
    """A UUID4-shaped id for requests, turns and tokens."""
    bits = _ids.getrandbits(128)
    raw = f"{bits & ~(0xF << 76) & ~(0x3 << 62) | (0x4 << 76) | (0x2 << 62):032x}"
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def new_trace_id() -> str:
    """A W3C trace id: 32 hex digits, never all zero."""
    return f"{_ids.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    """A W3C span id: 16 hex digits, never all zero."""
    return f"{_ids.getrandbits(64) or 1:016x}"
