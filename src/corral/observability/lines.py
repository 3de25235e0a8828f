"""Lines of text, collected for a moment and written together."""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
import weakref
from collections import deque
from typing import Protocol

_HELD_S_MAX = 0.05
_HELD_LINES_MAX = 500
"""With so many held, they are written without waiting for more."""
_END_S_MAX = 2.0
_LINES_MAX = 20_000
"""With so many held, nobody reads them: what comes now is dropped, and counted. Serving goes on."""


class Stream(Protocol):
    """A text stream with a file behind it, such as `sys.stderr`."""

    def fileno(self) -> int:
        """The descriptor to write to."""
        ...


class LineWriter:
    """Writes whole lines to a descriptor: at most a twentieth of a second late, never mixed with each other.

    Lines are handed over without a lock; one thread writes them, so that a slow reader of our lines never slows serving.
    Workers share one pipe, which keeps together what is written in one piece of `PIPE_BUF` bytes: so lines go out in such pieces
    (a longer line may be torn if the pipe is full). What is held when the process ends is written then.
    """

    def __init__(self, stream: Stream) -> None:
        """`stream` is where lines go."""
        self._descriptor = stream.fileno()
        self._is_pipe = _is_pipe(self._descriptor)
        self._lines: deque[bytes] = deque()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._soon = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.dropped = 0
        """Lines that were not written because nobody read them."""
        _writers.add(self)

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
        """Write what is held; from now on lines are written as they come. Calling it again does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._soon.set()
            self._wake.set()
            thread.join(_END_S_MAX)
            atexit.unregister(self.flush)
        self.flush()

    def write(self, line: bytes, *, at_once: bool = False) -> None:
        """Take a line. `at_once` for what must be seen even if the process dies in the next moment."""
        if len(self._lines) >= _LINES_MAX:
            self.dropped += 1
            return
        self._lines.append(line)
        if self._thread is None:
            self.flush()
        elif at_once:
            self._flush_unless_busy()
        else:
            if not self._wake.is_set():  # only after the line is there: the thread clears it before it looks
                self._wake.set()
            if len(self._lines) == _HELD_LINES_MAX:
                self._soon.set()

    def flush(self) -> None:
        """Write all that is held, unless somebody has been trying that for a while already, and nobody reads."""
        if self._writing.acquire(timeout=_END_S_MAX):
            try:
                self._write_held()
            finally:
                self._writing.release()

    def _flush_unless_busy(self) -> None:
        """Write here, as far as that cannot block; the thread goes on with the rest at once."""
        self._soon.set()
        self._wake.set()
        if self._writing.acquire(blocking=False):
            try:
                while self._lines and self._takes(self._lines[0]):
                    _write(self._descriptor, self._piece())
            finally:
                self._writing.release()

    def _takes(self, line: bytes) -> bool:
        """Whether writing this now does not block. A pipe that is writable has room for `PIPE_BUF`, and may have for no more."""
        return not self._is_pipe or (len(line) <= select.PIPE_BUF and _writable(self._descriptor, 0))

    def _write_held(self) -> None:
        for _ in range(len(self._lines)):  # others append while we write: what they add may stay for the next time
            if self._lines:
                _write(self._descriptor, self._piece())

    def _piece(self) -> bytes:
        """The next lines, as many as stay together in a pipe."""
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0]) <= select.PIPE_BUF:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        return b"".join(lines)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._soon.wait(_HELD_S_MAX)
            self._soon.clear()
            self._wake.clear()
            self.flush()

    def _forked(self) -> None:
        """A process that a user's code forked has no thread of ours, and its parent writes what was held."""
        self._lines.clear()
        self._writing = threading.Lock()
        self._thread = None


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            _writable(descriptor, 1000)
        except OSError:
            return  # nobody reads our lines any more; serving goes on


def _writable(descriptor: int, wait_ms: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(wait_ms))


def _is_pipe(descriptor: int) -> bool:
    """Whether there is a reader who may be slow."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


_writers: weakref.WeakSet[LineWriter] = weakref.WeakSet()


def _forked() -> None:
    for writer in _writers:
        writer._forked()  # noqa: SLF001 - this module's own


os.register_at_fork(after_in_child=_forked)
