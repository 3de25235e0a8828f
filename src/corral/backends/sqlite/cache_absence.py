"""Which keys of the cache are surely not in the file, told from memory: a question that nobody asked before costs no look.

It is a Bloom filter of all keys in the file. What this process keeps goes into it first; what was there before is read in by and by;
and once somebody else has kept something, which shows when this process keeps the next, it says nothing until all was read anew.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

_BITS = 23
"""A filter is a megabyte."""
_MASK = (1 << _BITS) - 1
_ADDED_MAX = 400_000
"""Then those that have gone from the file meanwhile are forgotten: of so many, one in a hundred others is taken for one of them, which costs a look."""
CHUNK = 500
"""Keys that are read at once."""
_GOOD_S = 1.0
"""What others have kept since then does not count: as long as copies of entries are given out for."""
_QUIET_S = 5.0
"""Others who write are left to finish before all is read anew."""
_SETTLED_S = 60.0
"""Whatever was about to be kept so long ago is in the file, or never will be."""


class Absence:
    """What one process knows of one file. Asked and told on event loops, checked by the thread that writes."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Knows nothing yet."""
        self._monotonic = monotonic
        self._keys = bytearray(1 << _BITS - 3)
        self._elder: bytearray | None = None
        """Of the time before there were too many keys; needed until what is in the file was read into the new one."""
        self._added = 0
        self._renewed_at = 0.0
        self._is_whole = False
        """All keys of the file are in one of the two."""
        self._read_to: int | None = 0
        """The number of the last entry that was read in; none: all were."""
        self._reading = Lock()
        self._era = 0
        self._checked: tuple[sqlite3.Connection, int] | None = None
        self._checked_at = self._quiet_from = float("-inf")

    def lacks(self, key: bytes) -> bool:
        """Whether it is surely not there. False says nothing."""
        if not self._is_whole or self._monotonic() - self._checked_at > _GOOD_S:
            return False
        one, two = _places(key)
        if _holds(self._keys, one, two):
            return False
        return self._elder is None or not _holds(self._elder, one, two)

    def keeping(self, keys: Iterable[bytes]) -> None:
        """These are about to be kept."""
        now = self._monotonic()
        if self._elder is not None and self._read_to is None and now - self._renewed_at > _SETTLED_S:
            self._elder = None
        if self._added > _ADDED_MAX and self._elder is None:
            self._elder, self._keys = self._keys, bytearray(1 << _BITS - 3)
            self._added, self._renewed_at = 0, now
            self._read_anew()
        for key in keys:
            _put(self._keys, key)
            self._added += 1

    def checked(self, connection: sqlite3.Connection, version: int) -> None:
        """In a transaction of the connection that writes: `version` is another one once somebody else has kept something."""
        now = self._monotonic()
        before, self._checked = self._checked, (connection, version)
        if before is not None and (before[0] is not connection or before[1] != version):
            self._is_whole = False
            self._quiet_from = now + _QUIET_S
            self._read_anew()
        self._checked_at = now

    # -- what was there before

    def next_chunk(self) -> tuple[int, int] | None:
        """What to read now, if anything: an era, and the number of the entry after which to go on. Then `read` or `left` it."""
        if self._read_to is None or self._checked is None or self._monotonic() < self._quiet_from:
            return None
        if not self._reading.acquire(blocking=False):
            return None
        return (self._era, self._read_to)

    def read(self, era: int, rows: Sequence[tuple[int, bytes]]) -> None:
        """These come after it: `CHUNK`, or the last ones."""
        for _, key in rows:
            _put(self._keys, key)
        if era == self._era:
            if len(rows) < CHUNK:
                self._read_to, self._is_whole = None, True
            else:
                self._read_to = rows[-1][0]
        self._reading.release()

    def left(self) -> None:
        """They could not be read."""
        self._reading.release()

    def _read_anew(self) -> None:
        self._era += 1
        self._read_to = 0


def _places(key: bytes) -> tuple[int, int]:
    """Keys are hashes: their own bits will do. More than two places would say little more, and take longer."""
    bits = int.from_bytes(key, "little")
    return bits & _MASK, bits >> _BITS & _MASK


def _put(keys: bytearray, key: bytes) -> None:
    one, two = _places(key)
    keys[one >> 3] |= 1 << (one & 7)
    keys[two >> 3] |= 1 << (two & 7)


def _holds(keys: bytearray, one: int, two: int) -> bool:
    return bool(keys[one >> 3] >> (one & 7) & keys[two >> 3] >> (two & 7) & 1)
