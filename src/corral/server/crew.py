"""The workers of one server, generation by generation: which of them serve, which are coming, which are leaving."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import Enum, auto

from corral.server.child import Child

_RESTART_S_MIN = 0.1
_RESTART_S_MAX = 10.0
_STABLE_S = 60.0

Start = Callable[[int], Child]


class News(Enum):
    """What changed for those who watch the crew."""

    NOTHING = auto()
    CHANGED = auto()
    """Other workers serve than before."""
    TAKEN_OVER = auto()
    """A new generation serves, and the one before leaves."""
    NOT_STARTED = auto()
    """A new generation could not start. The one before, if there is one, goes on."""
    CRASHED = auto()
    """A worker that served has gone; another one will be started."""


class Crew:
    """Keeps as many workers as wanted. One generation serves; a newer one takes over when all of it is ready."""

    def __init__(self, wanted: int, start: Start, now: Callable[[], float] = time.monotonic) -> None:
        """`start` makes a worker of the given generation; nothing is started yet. `now` never runs backwards."""
        self._now = now
        self.wanted = wanted
        self.leave_within_s = 40.0
        """Workers that leave have this long."""
        self._start = start
        self._children: dict[int, Child] = {}
        self._numbered = 0
        self._serving = 0
        """The generation that serves; 0: none yet."""
        self._coming = 0
        """The generation that is being started; 0: none."""
        self._restarts: list[float] = []
        self._restart_s = _RESTART_S_MIN

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._children.values()))

    @property
    def serves(self) -> bool:
        """Whether a generation ever got ready."""
        return self._serving > 0

    @property
    def workers(self) -> list[Child]:
        """Those that serve, and are to go on with it."""
        return [c for c in self._children.values() if c.generation == self._serving and c.ready and not c.leaving]

    @property
    def restart_in_s(self) -> float | None:
        """When the next worker is to be started; none: there is nothing to start."""
        return max(0.0, min(self._restarts) - self._now()) if self._restarts else None

    # -- what it is told to do

    def renew(self) -> None:
        """Start a new generation; raises `OSError` when that cannot be. One that is still coming makes way for it."""
        self._give_up()
        self._numbered += 1
        self._coming = self._numbered
        try:
            for _ in range(self.wanted):
                self._add(self._coming)
        except OSError:
            self._give_up()
            raise

    def resize(self, wanted: int) -> None:
        """Have more workers, or fewer."""
        self.wanted = wanted
        for generation in {self._serving, self._coming} - {0}:
            there = self._of(generation)
            for child in there[wanted:]:
                child.retire(self._leave_at)
            restarts = self._restarts if generation == self._serving else []
            del restarts[max(0, wanted - len(there)) :]
            for _ in range(wanted - len(there) - len(restarts)):
                self._add(generation)

    def restart_due(self) -> None:
        """Start what was to be started by now, and kill what was to have ended."""
        now = self._now()
        due = [at for at in self._restarts if at <= now]
        self._restarts = [at for at in self._restarts if at > now]
        for _ in due:
            self._add(self._serving)
        for child in self._children.values():
            if child.kill_at is not None and child.kill_at <= now:
                child.kill_at = None
                child.kill()

    def drain(self, within_s: float) -> None:
        """Have everybody end."""
        self._restarts.clear()
        for child in self._children.values():
            child.drain(self._now() + within_s)

    # -- what it is told of

    def heard(self, child: Child) -> News:
        """A worker said that it is ready, or why not."""
        if not child.ready or child.leaving:
            return News.NOTHING
        if child.generation == self._serving:
            return News.CHANGED
        there = self._of(self._coming)
        if child.generation != self._coming or len(there) < self.wanted or not all(c.ready for c in there):
            return News.NOTHING
        before, self._serving, self._coming = self._of(self._serving), self._coming, 0
        self._restarts.clear()
        self._restart_s = _RESTART_S_MIN
        for old in before:
            old.retire(self._leave_at)
        return News.TAKEN_OVER

    def ended(self, pid: int) -> tuple[Child | None, News]:
        """A process has ended: whose it was, and what that means."""
        child = self._children.pop(pid, None)
        if child is None or child.leaving:
            return child, News.NOTHING
        if child.generation == self._coming:
            self._give_up()
            return child, News.NOT_STARTED
        self._restart_later(stable=child.ready and self._now() - child.started_at > _STABLE_S)
        return child, News.CRASHED

    # -- inside

    def _of(self, generation: int) -> list[Child]:
        return [c for c in self._children.values() if c.generation == generation and not c.leaving]

    @property
    def _leave_at(self) -> float:
        return self._now() + self.leave_within_s

    def _give_up(self) -> None:
        """The generation that is coming is not to come."""
        for child in self._of(self._coming):
            child.kill()
        self._coming = 0

    def _add(self, generation: int) -> None:
        try:
            child = self._start(generation)
        except OSError:  # the machine has no room for one more process, at least now
            if generation != self._serving:
                raise
            self._restart_later(stable=False)
        else:
            child.started_at = self._now()
            self._children[child.pid] = child

    def _restart_later(self, *, stable: bool) -> None:
        if stable:
            self._restart_s = _RESTART_S_MIN
        self._restarts.append(self._now() + self._restart_s)
        self._restart_s = min(self._restart_s * 2, _RESTART_S_MAX)
