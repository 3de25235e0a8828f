"""Logs: one line per event, with who, what and in which request on every line.

People on a terminal get colours; everything else gets JSON. Users log with structlog or with `logging`, whichever they like: both end
here. Lines go to standard error.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from corral.context import find_context
from corral.observability.lines import LineWriter
from corral.observability.redaction import is_secret, redacted
from corral.settings.sections import ObservabilitySettings

_EventDict = structlog.typing.EventDict


class Logs:
    """The logging of one process."""

    def __init__(self, settings: ObservabilitySettings, writer: LineWriter | None = None) -> None:
        """Nothing changes until `start`."""
        self._settings = settings
        self.writer = writer or LineWriter(sys.stderr)
        self._people = settings.log_format == "console" or (settings.log_format == "auto" and self.writer.isatty())
        self._handler: logging.Handler | None = None
        self._second = 0
        self._second_text = ""

    def start(self) -> None:
        """Send all logging of this process here. Calling it again does nothing."""
        if self._handler is not None:
            return
        level = getattr(logging, self._settings.log_level.upper())
        render = structlog.dev.ConsoleRenderer() if self._people else _to_json
        shared: list[Callable[..., Any]] = [
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            _add_context,
            _redact,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        ]
        if not self._people:
            shared.append(structlog.processors.format_exc_info)
        structlog.configure(
            processors=[*shared, render],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=lambda *_: _StructlogSink(self.writer),
            cache_logger_on_first_use=False,
        )
        formatter = structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
        )
        self._handler = _Handler(self.writer)
        self._handler.setFormatter(formatter)
        root = logging.getLogger()
        root.handlers[:] = [self._handler]
        root.setLevel(level)
        for noisy in (
            "uvicorn",
            "uvicorn.error",
            "uvicorn.access",
            "asyncio",
            "websockets",
            "httpx",
            "botocore",
            "urllib3",
        ):
            logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
        self.writer.start()

    def stop(self) -> None:
        """Write what is still held. Calling it again does nothing."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler = None
        self.writer.stop()

    def access(self, now: float, fields: dict[str, Any]) -> None:
        """One line for a request that was answered. On the hot path: no logger is in between.

        Where this process's logging is not ours (tests, other servers) there is no such line.
        """
        if self._handler is None:
            return
        if self._people:
            self.writer.write(_for_people(fields))
            return
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        time = f"{self._second_text}.{int((now - second) * 1000):03d}Z"
        self.writer.write(_encode({"time": time, "level": "info", "event": "request", **fields}) + b"\n")


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _for_people(fields: dict[str, Any]) -> bytes:
    status = fields["status"]
    colour = 32 if status < 400 else 33 if status < 500 else 31  # noqa: PLR2004 - HTTP's own numbers
    session = f"  session {fields['session_id']}" if fields.get("session_id") else ""
    line = f"\x1b[{colour}m{status}\x1b[0m {fields['method']} {fields['path']}  {fields['ms']:.1f} ms{session}"
    return f"{line}  \x1b[2m{fields['request_id']}\x1b[0m\n".encode("utf-8", "replace")


def _add_context(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    context = find_context()
    if context is not None:
        event.setdefault("request_id", context.request_id)
        event.setdefault("trace_id", context.trace_id)
        event.setdefault("tenant", context.tenant)
        event.setdefault("agent", context.agent)
        if context.session_id is not None:
            event.setdefault("session_id", context.session_id)
    return event


def _redact(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    for key, value in event.items():
        if is_secret(key):
            event[key] = "[redacted]"
        elif key not in {"exc_info", "_record"}:
            event[key] = redacted(value)
    return event


def _to_json(_logger: object, _method: str, event: _EventDict) -> str:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    ordered = {"time": event.pop("time", ""), "level": event.pop("level", ""), "event": event.pop("event", ""), **event}
    try:
        return _encode(ordered).decode()
    except (TypeError, ValueError, RecursionError):
        return _encode({key: repr(value) for key, value in ordered.items()}).decode()


class _Handler(logging.Handler):
    """Where `logging` ends."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a log line that cannot be rendered must not hurt who wrote it
            line = repr(record.msg)
        self._writer.write(line.encode("utf-8", "replace") + b"\n", at_once=record.levelno >= logging.WARNING)


class _StructlogSink:
    """Where structlog ends."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def msg(self, message: str) -> None:
        self._writer.write(message.encode("utf-8", "replace") + b"\n")

    def _at_once(self, message: str) -> None:
        self._writer.write(message.encode("utf-8", "replace") + b"\n", at_once=True)

    log = debug = info = msg
    warn = warning = error = critical = fatal = failure = exception = err = _at_once
