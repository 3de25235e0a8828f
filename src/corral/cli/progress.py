"""A bar on a terminal's stderr that shows how far something is, and of which nothing remains."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TextIO

from corral.cli.output import harmless

_CELLS = 24


class ProgressBar:
    """One line that is drawn over and over; where people do not look, nothing is drawn."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Draws to `stream`, which is stderr otherwise."""
        self._stream = stream or sys.stderr
        self._draws = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._width = 0

    def draw(self, fraction: float | None, text: str = "") -> None:
        """Show how far it is (none: nobody knows), and what it does."""
        if not self._draws:
            return
        line = f"{_bar(fraction)} {harmless(text, self._stream)}".strip().replace("\n", " ")
        line = line[: max(1, shutil.get_terminal_size().columns - 1)]
        self._write("\r" + line.ljust(self._width))
        self._width = len(line)

    def clear(self) -> None:
        """Take the line away, so that something else may be written there."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")  # blanks, not an order: NO_COLOR stays plain
            self._width = 0

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, UnicodeError):  # a terminal that is gone, or has no such signs
            self._stream.write(text)
            self._stream.flush()


def _bar(fraction: float | None) -> str:
    if fraction is None:
        return ""
    share = min(1.0, max(0.0, fraction))
    full = round(share * _CELLS)
    return f"[{'#' * full}{'.' * (_CELLS - full)}] {share:4.0%}"
