"""The names of tasks: opaque to who gets them, unguessable, and they say which execution and which frame waits."""

from __future__ import annotations

import base64
import binascii

_BETWEEN = "\n"
_PARTS = 3


def make(execution_id: str, frame_id: str, secret: str) -> str:
    """A token that is safe in URLs, headers and JSON."""
    inside = _BETWEEN.join((execution_id, frame_id, secret)).encode()
    return base64.urlsafe_b64encode(inside).rstrip(b"=").decode()


def execution_of(token: str) -> str | None:
    """The id of the execution; none: this was never a token of ours."""
    parts = _parts(token)
    return None if parts is None else parts[0]


def frame_of(token: str) -> str | None:
    """The id of the frame whose task it is; whether it still is, the frame knows."""
    parts = _parts(token)
    return None if parts is None else parts[1]


def secret_of(token: str) -> str:
    """What nobody can guess in it; empty: this was never a token of ours."""
    parts = _parts(token)
    return "" if parts is None else parts[2]


def _parts(token: str) -> list[str] | None:
    try:
        inside = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    parts = inside.split(_BETWEEN)
    return parts if len(parts) == _PARTS and parts[0] else None
