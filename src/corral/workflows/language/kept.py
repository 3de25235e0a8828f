"""What was read once is kept, as long as it is not too much: what is read of a text is much larger than the text."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

T = TypeVar("T")

_SHORT = 100
"""Characters of a text, as most have: those are looked up the quickest way."""
_SHORT_MAX = 2048
_LONG_CHARACTERS = 100_000
"""Of all longer texts together."""


class Kept(Generic[T]):
    """What was read of texts, bounded by the characters of them all; what was not wanted for the longest time goes first."""

    def __init__(self, read: Callable[[str], T], *, characters: int) -> None:
        """`read` may raise: then nothing is kept."""
        self._read = read
        self._most = characters
        self._lock = threading.Lock()
        self._all: OrderedDict[str, T] = OrderedDict()
        self.characters = 0

    def get(self, text: str) -> T:
        """What was read of a text before, or is read of it now."""
        with self._lock:
            found = self._all.get(text)
            if found is not None:
                self._all.move_to_end(text)
                return found
        made = self._read(text)
        with self._lock:
            if text not in self._all:
                self._all[text] = made
                self.characters += len(text)
            while self.characters > self._most and len(self._all) > 1:
                gone, _made = self._all.popitem(last=False)
                self.characters -= len(gone)
        return made


def once(read: Callable[[str], T]) -> Callable[[str], T]:
    """The same, but what was read of a text is kept for the next time."""
    short = lru_cache(maxsize=_SHORT_MAX)(read)
    long = Kept(read, characters=_LONG_CHARACTERS)

    def kept(text: str) -> T:
        return short(text) if len(text) <= _SHORT else long.get(text)

    return kept
