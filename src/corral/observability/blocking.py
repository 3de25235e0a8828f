"""Points at code that blocks the event loop, for developers: one warning per place, with file and line."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from pathlib import Path
from types import FrameType

_log = logging.getLogger("corral.observability")

_TICK_S = 0.02


class LoopWatch:
    """Measures how late the loop is; with `report`, looks at what it is doing when it does not come back."""

    def __init__(self, *, threshold_s: float = 0.1, report: bool = True) -> None:
        """`threshold_s`: blocking for less than that is nobody's business."""
        self._threshold_s = threshold_s
        self._report = report
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._beat_at = 0.0
        self._pending: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._reported: set[tuple[str, int]] = set()
        self.lag_s = 0.0
        """How late the loop was when it last came round."""

    def start(self) -> None:
        """Watch the running loop. Calling it again does nothing."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beat_at = time.monotonic()
        self._beat()
        if self._report:
            self._stopping = threading.Event()
            self._thread = threading.Thread(target=self._watch, name="corral-loop-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no longer. Calling it again does nothing."""
        self._loop = None
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        self._thread = None
        self._stopping.set()  # the thread ends by itself; waiting for it here would block the loop it watches

    def _beat(self) -> None:
        if self._loop is None:
            return
        now = time.monotonic()
        period = _TICK_S if self._report else 0.5
        self.lag_s = max(0.0, now - self._beat_at - period) if self._pending is not None else 0.0
        self._beat_at = now
        self._pending = self._loop.call_later(period, self._beat)

    def _watch(self) -> None:
        seen_at = 0.0
        stopping = self._stopping
        while not stopping.wait(_TICK_S):
            beat_at = self._beat_at
            if beat_at != seen_at and time.monotonic() - beat_at > self._threshold_s:
                seen_at = beat_at  # one look per time it blocks
                self._look()

    def _look(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the only way to see another thread's stack
        place = users_frame(frame)
        if place is None or place in self._reported:
            return
        self._reported.add(place)
        _log.warning(
            "%s:%d blocks the event loop: every other request of this worker waits. Use `await`, or make the agent a plain "
            "`def`, which runs in a thread.",
            *place,
        )


def users_frame(frame: FrameType | None) -> tuple[str, int] | None:
    """The innermost frame that belongs to the user: not to Corral, the standard library or an installed package."""
    house = str(Path(__file__).parent.parent)
    library = str(Path(asyncio.__file__).parent.parent)
    while frame is not None:
        name = frame.f_code.co_filename
        own = not name.startswith(("<", house, library)) and "site-packages" not in name
        if own:
            return name, frame.f_lineno
        frame = frame.f_back
    return None
