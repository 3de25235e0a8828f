"""Points at code that blocks the event loop, for developers: one warning per place, with file and line."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from pathlib import Path
from types import FrameType

from corral.clock import SYSTEM_CLOCK, Clock

_log = logging.getLogger("corral.observability")

_TICK_S = 0.5
_LOOKING_TICK_S = 0.02
_WINDOW_S = 10.0
"""How late the loop was stays visible for one to two of these: longer than the time between two scrapes."""


class LoopWatch:
    """Measures how late the loop is; with `report`, looks at what it is doing when it does not come back."""

    def __init__(self, *, threshold_s: float = 0.1, report: bool = True, clock: Clock = SYSTEM_CLOCK) -> None:
        """`threshold_s`: blocking for less than that is nobody's business."""
        self._threshold_s = threshold_s
        self._report = report
        self._period_s = _LOOKING_TICK_S if report else _TICK_S
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._due_at = 0.0
        self._pending: asyncio.TimerHandle | None = None
        self._stopping = threading.Event()
        self._reported: set[tuple[str, int]] = set()
        self._highest = [0.0, 0.0]
        self._window_ends_at = 0.0

    def start(self) -> None:
        """Watch the running loop. Calling it again does nothing."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._due_at = self._clock.monotonic()
        self._beat()
        if self._report:
            self._stopping = threading.Event()
            threading.Thread(target=self._watch, args=(self._stopping,), name="corral-loop-watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer. Calling it again does nothing."""
        self._loop = None
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        self._stopping.set()  # the thread ends by itself; waiting for it here would block the loop it watches

    @property
    def lag_s(self) -> float:
        """How late the loop was at worst, of late; while it is blocked, how late it is already. From any thread."""
        if self._loop is None:
            return 0.0
        return max(*self._highest, self._clock.monotonic() - self._due_at)

    def _beat(self) -> None:
        if self._loop is None:
            return
        now = self._clock.monotonic()
        if now >= self._window_ends_at:
            self._window_ends_at = now + _WINDOW_S
            self._highest = [0.0, self._highest[0]]
        self._highest[0] = max(self._highest[0], now - self._due_at)
        self._due_at = now + self._period_s
        self._pending = self._loop.call_later(self._period_s, self._beat)

    def _watch(self, stopping: threading.Event) -> None:
        seen_due_at = 0.0
        while not stopping.wait(self._period_s):
            due_at = self._due_at
            if due_at != seen_due_at and self._clock.monotonic() - due_at > self._threshold_s:
                seen_due_at = due_at  # one look per time it blocks
                frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the only way to see another thread's stack
                if due_at == self._due_at:  # it has not come back meanwhile
                    self._say(frame)

    def _say(self, frame: FrameType | None) -> None:
        frame = users_frame(frame)
        if frame is None:
            return
        code = frame.f_code
        place = (code.co_filename, code.co_firstlineno)  # a loop that computes is seen at another line each time
        if place not in self._reported:
            self._reported.add(place)
            _log.warning(
                "%s:%d, in %s, blocks the event loop: every other request of this worker waits. Use `await`, or make the "
                "agent a plain `def`, which runs in a thread.",
                code.co_filename,
                frame.f_lineno,
                code.co_qualname,
            )


_NOT_THE_USERS = (
    "<",
    f"{Path(__file__).parent.parent}{os.sep}",
    f"{Path(asyncio.__file__).parent.parent}{os.sep}",
)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that belongs to the user: not to Corral, the standard library or an installed package."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_NOT_THE_USERS) and not any(part in name for part in _INSTALLED):
            return frame
        frame = frame.f_back
    return None
