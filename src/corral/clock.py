"""Time, ids and chance come in from outside: production uses `SystemClock`, tests a clock they turn themselves."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
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


class StoreClock:
    """A store's clock, as far as it is known here: read now and then, and carried on by this machine's own seconds.

    So machines whose clocks differ agree on when something is due, and so does one whose clock is set while it runs.
    """

    def __init__(self, read: Callable[[], Awaitable[float]], clock: Clock = SYSTEM_CLOCK) -> None:
        """Until it was read once, it is `clock`."""
        self._read = read
        self._clock = clock
        self._ahead: float | None = None
        self.monotonic = clock.monotonic

    def now(self) -> float:
        """The store's time."""
        return self._clock.now() if self._ahead is None else self._ahead + self._clock.monotonic()

    async def read(self) -> None:
        """Ask the store. Raises `StoreUnavailable`, and goes on as before then."""
        began = self._clock.monotonic()
        now = await self._read()
        self._ahead = now - (began + self._clock.monotonic()) / 2


# Ids need to be unique, not secret: a process-local generator seeded by the kernel is ten times cheaper than asking
# the kernel for every id. A forked worker reseeds, or two workers would hand out the same ids.
_ids = random.Random(os.urandom(32))  # noqa: S311 - see above
_counter = itertools.count(1)
_prefix = ""
_LOW = (1 << 62) - 1
_made = (0, 0)
"""The millisecond of the last id that sorts by time, and its chance."""


def _reseed() -> None:
    global _prefix, _made  # noqa: PLW0603 - one prefix per process, renewed by a fork
    _ids.seed(os.urandom(32))
    _made = (0, 0)
    raw = f"{_ids.getrandbits(80):020x}"
    _prefix = f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-{8 + int(raw[16], 16) % 4:x}{raw[17:20]}-"


_reseed()
os.register_at_fork(after_in_child=_reseed)


def new_id() -> str:
    """A UUID4-shaped id for requests, turns and tokens: random per process, then counted, so it never comes twice."""
    return _prefix + next(_counter).to_bytes(6).hex()


def new_time_id(now: float) -> str:
    """A UUID7-shaped id that sorts by time: milliseconds since 1970, then chance.

    Those of one millisecond rise as well, by steps nobody can guess: what is made together lies together in an index.
    """
    global _made  # noqa: PLW0603 - one line of ids per process
    at, (before, chance) = int(now * 1000), _made
    chance = chance + 1 + _ids.getrandbits(40) if at == before else _ids.getrandbits(73)
    _made = (at, chance)
    time, high, low = f"{at:012x}", chance >> 62, f"{1 << 63 | chance & _LOW:016x}"
    return f"{time[:8]}-{time[8:]}-7{high:03x}-{low[:4]}-{low[4:]}"


def rfc3339(at: float) -> str:
    """A time as other programs read it: in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def new_trace_id() -> str:
    """A W3C trace id: 32 hex digits, never all zero."""
    return (_ids.getrandbits(128) or 1).to_bytes(16).hex()


def new_span_id() -> str:
    """A W3C span id: 16 hex digits, never all zero."""
    return (_ids.getrandbits(64) or 1).to_bytes(8).hex()
