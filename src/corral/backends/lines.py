"""The tickets of this process, and who wants to know when one of their lines moves."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from corral.sessions.event import SessionKey


class Lines:
    """Filters and passes on the hints of an engine. Any thread may call, except where a loop is said to."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tickets: dict[SessionKey, dict[str, bool]] = {}
        self._waiting = 0
        self._watchers: list[_Watcher] = []

    def watch(self, woken: Callable[[SessionKey], None]) -> Callable[[], None]:
        """Call `woken` on the running loop whenever a line in which this process has a ticket may have moved."""
        watcher = _Watcher(get_running_loop(), woken)
        with self._lock:
            self._watchers = [*self._watchers, watcher]

        def unwatch() -> None:
            with self._lock:
                self._watchers = [other for other in self._watchers if other is not watcher]

        return unwatch

    @property
    def watched(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self._watchers)

    @property
    def waiting(self) -> bool:
        """Whether a ticket of this process waits, rather than holds."""
        return self._waiting > 0

    def keys(self) -> list[SessionKey]:
        """The sessions in whose lines this process stands."""
        with self._lock:
            return list(self._tickets)

    def tickets(self, key: SessionKey) -> dict[str, bool]:
        """This process's turns in a line, and whether each of them waits."""
        with self._lock:
            return dict(self._tickets.get(key, ()))

    def joined(self, key: SessionKey, turn: str) -> None:
        """A ticket is about to be taken; until we know better, it waits."""
        self._mark(key, turn, waits=True)

    def granted(self, key: SessionKey, turn: str) -> None:
        """A ticket holds its session now."""
        self._mark(key, turn, waits=False)

    def left(self, key: SessionKey, turn: str) -> None:
        """A ticket was given back, lost or refused."""
        with self._lock:
            turns = self._tickets.get(key)
            if turns is None:
                return
            self._waiting -= turns.pop(turn, False)
            if not turns:
                del self._tickets[key]

    def moved(self, keys: Iterable[SessionKey]) -> None:
        """These lines moved, or may have. Several moves before a loop gets round to it are told once."""
        ours = {key for key in keys if key in self._tickets}
        if ours:
            for watcher in self._watchers:
                watcher.tell(ours)

    def _mark(self, key: SessionKey, turn: str, *, waits: bool) -> None:
        with self._lock:
            turns = self._tickets.setdefault(key, {})
            self._waiting += waits - turns.get(turn, False)
            turns[turn] = waits


class _Watcher:
    """One loop's callback, and the keys it has not been told yet."""

    def __init__(self, loop: AbstractEventLoop, woken: Callable[[SessionKey], None]) -> None:
        self._loop = loop
        self._woken = woken
        self._lock = Lock()
        self._untold: set[SessionKey] = set()

    def tell(self, keys: set[SessionKey]) -> None:
        """Call back for these keys, soon."""
        with self._lock:
            scheduled = bool(self._untold)
            self._untold |= keys
        if not scheduled:
            call_on(self._loop, self._flush)

    def _flush(self) -> None:
        with self._lock:
            keys, self._untold = self._untold, set()
        for key in keys:
            self._loop.call_soon(self._woken, key)


def call_on(loop: AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    """Call on a loop from another thread; a loop that is closed has nobody waiting any more."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
