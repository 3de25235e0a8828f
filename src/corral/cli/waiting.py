"""What a terminal shows while something takes longer than a second."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

_AFTER_S = 1.0
_EVERY_S = 0.1
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Waiting:
    """A line on stderr that counts the seconds, and of which nothing remains."""

    def __init__(self, text: str, stream: TextIO) -> None:
        """Nothing is shown before a second has gone by."""
        self._text = text
        self._stream = stream
        self._over = threading.Event()
        self._width = 0
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._began = time.monotonic()
        self._thread.start()

    def end(self) -> None:
        """Take the line away. May be called twice; when this returns, stdout may write there."""
        self._over.set()
        self._thread.join()
        if self._width:
            self._write("\r" + " " * self._width + "\r")  # blanks, not an order: NO_COLOR stays plain
            self._width = 0

    def _show(self) -> None:
        self._over.wait(_AFTER_S)
        count = 0
        while not self._over.is_set():
            line = f"{_FRAMES[count % len(_FRAMES)]} {self._text} … {time.monotonic() - self._began:.0f} s"
            self._width = len(line)
            self._write("\r" + line)
            count += 1
            self._over.wait(_EVERY_S)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, UnicodeError):  # a terminal that is gone, or has no such signs
            self._stream.write(text)
            self._stream.flush()


@contextlib.contextmanager
def waiting(text: str) -> Iterator[Waiting | None]:
    """Show `text` for as long as the block takes, or until its `end`. Where people do not look, nothing happens."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    shown = Waiting(text, sys.stderr)
    try:
        yield shown
    finally:
        shown.end()
