"""What a log line looks like: JSON for machines, text in colours for people."""

from __future__ import annotations

import logging
import time
import traceback
from typing import Any

import msgspec

from corral.context import find_context
from corral.observability.redaction import is_secret, redacted, redacted_text

Fields = dict[str, Any]

_encode = msgspec.json.Encoder(enc_hook=repr).encode
_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""Attributes that every record has; what else is there was given by `extra`."""

_COLOURS = {"debug": 2, "info": 32, "warning": 33, "error": 31, "critical": 31}
_ASIDE = frozenset({"time", "level", "event", "exception", "stack", "logger", "trace_id", "tenant"})
"""Fields that people do not need to see among the others."""

_second = (0, "")


def timestamp(now: float) -> str:
    """UTC to the millisecond. The part that changes once a second is kept."""
    global _second  # noqa: PLW0603 - one tuple, replaced as a whole, so that threads need no lock
    second, text = _second
    if second != int(now):
        second = int(now)
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = (second, text)
    return f"{text}.{int((now - second) * 1000):03d}Z"


def record_fields(record: logging.LogRecord) -> Fields:
    """What a record of `logging` says, with the request it was written in, and without secrets."""
    try:
        event = record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit the message are shown beside it
        event = f"{redacted(record.msg)} {redacted(record.args)}"
    fields = begin(record.created, record.levelname.lower(), event, record.name)
    for key, value in vars(record).items():
        if key not in _ORDINARY and not key.startswith("_"):
            fields[key] = "[redacted]" if is_secret(key) else redacted(value)
    if record.exc_info:
        add_exception(fields, record.exc_info[1])
    if record.stack_info:
        fields["stack"] = redacted_text(record.stack_info)
    return fields


def begin(now: float, level: str, event: object, logger: str) -> Fields:
    """The fields that every line has."""
    fields = {"time": timestamp(now), "level": level, "event": redacted(event)}
    if logger:
        fields["logger"] = logger
    context = find_context()
    if context is not None:
        if context.agent:
            fields["agent"] = context.agent
        fields["tenant"] = context.tenant
        fields["request_id"] = context.request_id
        fields["trace_id"] = context.trace_id
        if context.session_id is not None:
            fields["session_id"] = context.session_id
    return fields


def add_exception(fields: Fields, error: BaseException | None) -> None:
    """Add the traceback. Messages of exceptions hold secrets as often as other texts."""
    if error is not None:
        fields["exception"] = redacted_text("".join(traceback.format_exception(error)).rstrip())


def to_json(fields: Fields) -> bytes:
    """One line of JSON."""
    try:
        return _encode(fields) + b"\n"
    except Exception:  # noqa: BLE001 - half a surrogate, a number beyond JSON: the line is written all the same
        return _encode({_clean(key): _clean(value) for key, value in fields.items()}) + b"\n"


def to_text(fields: Fields, *, colours: bool) -> bytes:
    """Text for people: when, how important, what, and then what else there is."""
    level = f"{fields['level']:<8}"
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if key not in _ASIDE)
    if colours:
        level = f"\x1b[{_COLOURS.get(fields['level'], 0)}m{level}\x1b[0m"
        rest = f"\x1b[2m{rest}\x1b[0m" if rest else ""
    line = f"{fields['time'][11:19]} {level} {fields['event']}"
    lines = [f"{line}  {rest}" if rest else line, *(fields[key] for key in ("stack", "exception") if key in fields)]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def access_text(fields: Fields, *, colours: bool) -> bytes:
    """The line of one request, for people."""
    status = fields["status"]
    shown = str(status)
    if colours:
        colour = 32 if status < 400 else 33 if status < 500 else 31  # noqa: PLR2004 - HTTP's own numbers
        shown = f"\x1b[{colour}m{status}\x1b[0m"
    session = f"  session {fields['session_id']}" if fields.get("session_id") else ""
    request_id = f"\x1b[2m{fields['request_id']}\x1b[0m" if colours else fields["request_id"]
    line = f"{shown} {fields['method']} {fields['path']}  {fields['ms']:.1f} ms{session}  {request_id}\n"
    return line.encode("utf-8", "replace")


def _clean(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()
