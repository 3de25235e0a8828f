"""Logs: one line per event, with who, what and in which request on every line.

People on a terminal get colours; everything else gets JSON. Users log with `logging` or with structlog, whichever they like: both end
here, and so do Python's warnings and threads that die. Lines go to standard error.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

from corral.observability.lines import LineWriter
from corral.observability.rendering import access_text, record_fields, timestamp, to_json, to_text
from corral.observability.structlogs import StructlogSetup
from corral.settings.sections import ObservabilitySettings

_log = logging.getLogger("corral.observability")

_CHATTY = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "websockets", "httpx", "botocore", "urllib3")
"""Libraries whose every step is of no interest to who runs an agent."""
_URGENT = frozenset({"warning", "error", "critical"})


class Logs:
    """The logging of one process."""

    def __init__(self, settings: ObservabilitySettings, writer: LineWriter | None = None) -> None:
        """Nothing changes until `start`."""
        self.writer = writer or LineWriter(sys.stderr)
        people = self.writer.isatty()
        self._level = getattr(logging, settings.log_level.upper())
        self._people = settings.log_format == "console" or (settings.log_format == "auto" and people)
        self._colours = people and not os.environ.get("NO_COLOR")
        self._access = settings.access_log and self._level <= logging.INFO
        self._handler: logging.Handler | None = None
        self._before: tuple[list[logging.Handler], int, Any] = ([], logging.WARNING, None)
        self._structlog = StructlogSetup(self._level, self.emit)
        self.counts: dict[str, int] = {"debug": 0, "info": 0, "warning": 0, "error": 0, "critical": 0}
        """Lines written, by level."""

    def start(self) -> None:
        """Send all logging of this process here. Calling it again does nothing."""
        if self._handler is not None:
            return
        root = logging.getLogger()
        self._before = (root.handlers[:], root.level, threading.excepthook)
        self._handler = _Handler(self)
        root.handlers[:] = [self._handler]
        root.setLevel(self._level)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(max(self._level, logging.WARNING))
        logging.captureWarnings(True)
        threading.excepthook = _thread_died
        self._structlog.start()
        self.writer.start()

    def stop(self) -> None:
        """Write what is still held, and put back what was there before. Calling it again does nothing."""
        if self._handler is not None:
            self._handler = None
            self._structlog.stop()
            logging.captureWarnings(False)
            root = logging.getLogger()
            root.handlers[:], root.level, threading.excepthook = self._before
        self.writer.stop()

    def emit(self, fields: dict[str, Any]) -> None:
        """Write one line. `fields` hold at least `time`, `level` and `event`, and no secrets."""
        level = fields["level"]
        if level in self.counts:
            self.counts[level] += 1
        line = to_text(fields, colours=self._colours) if self._people else to_json(fields)
        self.writer.write(line, at_once=level in _URGENT)

    def access(self, now: float, fields: dict[str, Any]) -> None:
        """One line for a request that was answered. On the hot path: no logger is in between.

        Where this process's logging is not ours (tests, other servers) there is no such line.
        """
        if self._handler is None or not self._access:
            return
        self.counts["info"] += 1
        if self._people:
            self.writer.write(access_text(fields, colours=self._colours))
        else:
            self.writer.write(to_json({"time": timestamp(now), "level": "info", "event": "request", **fields}))


class _Handler(logging.Handler):
    """Where `logging` ends."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._logs.emit(record_fields(record))
        except Exception:  # noqa: BLE001 - a line that cannot be rendered must not hurt who wrote it
            self.handleError(record)

    def flush(self) -> None:
        self._logs.writer.flush()


def _thread_died(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_type is not SystemExit:
        name = hook.thread.name if hook.thread is not None else "?"
        _log.error("The thread %r died: %s", name, hook.exc_value, exc_info=hook.exc_value)
