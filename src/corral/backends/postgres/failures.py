"""What can go wrong between us and PostgreSQL, and what it means for who asked."""

from __future__ import annotations

from enum import Enum
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from corral.errors import CorralError, EventNotFound, StoreUnavailable

_SETTING = "setting `store.url`, environment `CORRAL_STORE_URL`, flag `--store`"


class Fate(Enum):
    """What became of a statement that failed."""

    REFUSED = "the server or our own code said no; again would be the same"
    NOT_DONE = "it was surely not done; again may work"
    UNKNOWN = "the connection broke while it ran; it may have been done"
    WRONG_SERVER = "this server only reads: another one leads now"
    EXHAUSTED = "the server lacks room or time"


class OutcomeUnknown(StoreUnavailable):
    """The store stopped answering while a change was on its way; whether it was kept is not known."""


# Serialization failure, deadlock, too many connections, not accepting connections yet.
_NOT_DONE = {"40001", "40P01", "53300", "57P03"}
# Stopped by an administrator, stopped because a neighbour crashed, stopped for idling.
_UNKNOWN = {"57P01", "57P02", "57P05"}
_WRONG_SERVER = {"25006"}


def fate_of(error: BaseException, *, sent: bool) -> Fate:
    """What became of a statement; `sent`: a connection had been made when it failed."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _WRONG_SERVER:
            return Fate.WRONG_SERVER
        if state in _NOT_DONE:
            return Fate.NOT_DONE
        if state in _UNKNOWN or state.startswith("08"):
            return Fate.UNKNOWN if sent else Fate.NOT_DONE
        if state.startswith(("53", "58", "57", "XX")) or not sent:
            return Fate.EXHAUSTED
        return Fate.REFUSED
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError | TimeoutError | EOFError):
        return Fate.UNKNOWN if sent else Fate.NOT_DONE
    return Fate.REFUSED


def translated(error: Exception, url: str, *, sent: bool) -> Exception:
    """The error as callers know it; a defect stays what it is."""
    if isinstance(error, CorralError):
        return error
    fate = fate_of(error, sent=sent)
    if fate is Fate.REFUSED:
        return EventNotFound() if getattr(error, "sqlstate", None) == "CR404" else error
    said = f"The store at {url} does not answer: {str(error) or type(error).__name__}"
    if fate is Fate.UNKNOWN:
        return OutcomeUnknown(f"{said}. Whether the last change was kept is not known.")
    return StoreUnavailable(f"{said} ({_SETTING}).")


def without_password(url: str) -> str:
    """A URL that may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    who, _, where = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{who.partition(':')[0]}:***@{where}"))
