"""What can go wrong between us and PostgreSQL, and what it means for who asked."""

from __future__ import annotations

from enum import Enum
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from corral.errors import ConfigError, CorralError, EventNotFound, SessionCold, StoreUnavailable

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


_FATES = {
    "25006": Fate.WRONG_SERVER,  # read-only transaction
    "40001": Fate.NOT_DONE,  # serialization failure
    "40P01": Fate.NOT_DONE,  # deadlock
    "53300": Fate.NOT_DONE,  # too many connections
    "57P01": Fate.UNKNOWN,  # stopped by an administrator
    "57P02": Fate.UNKNOWN,  # stopped because a neighbour crashed
    "57P03": Fate.NOT_DONE,  # still starting, or already stopping
    "57P05": Fate.UNKNOWN,  # stopped for idling
    "CR404": Fate.REFUSED,  # our own function found no such event
    "CR503": Fate.REFUSED,  # and that what it needs lies in the archive
}
_OURS: dict[str, type[CorralError]] = {"CR404": EventNotFound, "CR503": SessionCold}
_FATES_BY_CLASS = {
    "08": Fate.UNKNOWN,  # connection
    "53": Fate.EXHAUSTED,  # disk, memory
    "57": Fate.EXHAUSTED,  # statement cancelled: it took too long
    "58": Fate.EXHAUSTED,  # input and output
    "XX": Fate.EXHAUSTED,  # corrupted
}
_BROKEN = (OSError, EOFError, TimeoutError, asyncpg.InterfaceError)


def fate_of(error: BaseException, *, sent: bool) -> Fate:
    """What became of a statement; `sent`: a connection had been made when it failed."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        # Before anything was sent, any other answer is about the way in: a password, a missing database.
        fate = _FATES.get(state) or _FATES_BY_CLASS.get(state[:2]) or (Fate.REFUSED if sent else Fate.EXHAUSTED)
    elif isinstance(error, asyncpg.InternalClientError):
        fate = Fate.NOT_DONE  # The connection was being closed already, and asyncpg refused to send anything on it.
    else:
        fate = Fate.UNKNOWN if isinstance(error, _BROKEN) else Fate.REFUSED
    return Fate.NOT_DONE if fate is Fate.UNKNOWN and not sent else fate


def translated(error: Exception, url: str, *, sent: bool) -> Exception:
    """The error as callers know it; a defect stays what it is."""
    if isinstance(error, CorralError):
        return error
    if isinstance(error, ValueError) and not sent:
        return ConfigError(f"The store URL {url} cannot be used: {error} ({_SETTING}).")
    fate = fate_of(error, sent=sent)
    if fate is Fate.REFUSED:
        ours = _OURS.get(getattr(error, "sqlstate", None) or "")
        return error if ours is None else ours()
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
