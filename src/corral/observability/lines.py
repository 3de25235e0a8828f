"""Lines of text, collected for a moment and written together."""

from __future__ import annotations

import atexit
import os
import select
import threading
from typing import Protocol

_HELD_S_MAX = 0.05
_HELD_LINES_MAX = 500


class Stream(Protocol):
    """A text stream with a file behind it, such as `sys.stderr`."""

    def fileno(self) -> int:
        """The descriptor to write to."""
        ...


class LineWriter:
    """Writes whole lines to a descriptor: at most a twentieth of a second late, never mixed with each other.

    Lines are handed over without a lock; one thread writes them. What is held when the process ends is written then.
    """

    def __init__(self, stream: Stream) -> None:
        """`stream` is where lines go."""
        self._descriptor = stream.fileno()
        self._lines: list[bytes] = []
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def isatty(self) -> bool:
        """Whether a person is likely to read along."""
        return os.isatty(self._descriptor)

    def start(self) -> None:
        """Begin to write in the background. Calling it again does nothing."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="corral-log", daemon=True)
            self._thread.start()
            atexit.register(self.flush)

    def stop(self) -> None:
        """Write what is held, and end. Calling it again does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._wake.set()
            thread.join()
            atexit.unregister(self.flush)
        self.flush()

    def write(self, line: bytes, *, at_once: bool = False) -> None:
        """Take a line. `at_once` for what must be seen even if the process dies in the next moment."""
        self._lines.append(line)
        if at_once or self._thread is None or len(self._lines) > _HELD_LINES_MAX:
            self.flush()
        elif len(self._lines) == 1:
            self._wake.set()

    def flush(self) -> None:
        """Write all that is held."""
        with self._writing:
            lines, self._lines = self._lines, []
            if lines:
                _write(self._descriptor, b"".join(lines))

    def _run(self) -> None:
        pause = threading.Event()  # never set: a sleep that no clock change can stretch
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            if not self._stopping:
                pause.wait(_HELD_S_MAX)
            self.flush()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [], 1.0)
        except OSError:
            return  # nobody reads our lines any more; serving goes on
