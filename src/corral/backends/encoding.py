"""What every engine can keep: ids without NUL, JSON as bytes, metadata as strings that can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import msgspec

from corral.errors import ValidationFailed
from corral.messages import Role
from corral.observability.store import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.sessions.event import Draft, SessionKey

# Three ids share a key in PostgreSQL's indexes, whose entries end at about 2,700 bytes.
ID_MAX_BYTES = 512

LAST = "\U0010ffff"
"""Comes behind all that ids have: what begins with a text stands between it and it with this."""

_ROLES = frozenset(get_args(Role))

_encoder = msgspec.json.Encoder()
decode = msgspec.json.Decoder().decode


def encode(value: object, what: str) -> bytes:
    """`value` as JSON. What JSON cannot say (an object, half a surrogate pair) is the caller's mistake, not a crash."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise ValidationFailed(f"{what} cannot be stored as JSON: {error}.") from error


def check_id(what: str, value: str, *, empty: bool = False) -> None:
    """Refuse an id that an engine could not keep or compare: empty, too long, with NUL or half a surrogate pair."""
    if not value:
        if empty:
            return
        raise ValidationFailed(f"The {what} is empty.")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError as error:
        raise ValidationFailed(f"The {what} is not valid Unicode: {error.reason}.") from error
    if size > ID_MAX_BYTES:
        raise ValidationFailed(f"The {what} is {size} bytes long; at most {ID_MAX_BYTES} are kept.")
    if "\0" in value:
        raise ValidationFailed(f"The {what} contains a NUL character.")


def findable(*ids: str | None) -> bool:
    """Whether these ids can be looked for at all: one with NUL or half a surrogate pair was never kept."""
    return all(one is None or ("\0" not in one and (one.isascii() or _whole(one))) for one in ids)


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_key(key: SessionKey) -> None:
    """Refuse a session key that an engine could not keep."""
    check_id("tenant", key.tenant)
    check_id("session id", key.session_id)


def labels(metadata: dict[str, Any]) -> dict[str, str]:
    """Metadata as a filter compares it: strings as they are, other scalars as their JSON text; the rest never matches.

    PostgreSQL keeps no NUL in text, so NUL is escaped here, the same way for what is stored and what is asked for.
    """
    return {
        _escape(key): _escape(value) if isinstance(value, str) else encode(value, "Metadata").decode()
        for key, value in metadata.items()
        if value is None or isinstance(value, str | int | float)
    }


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\0", "\\0") if "\0" in text or "\\" in text else text


class Row(NamedTuple):
    """A draft as the engines write it."""

    role: str
    actor: str
    branch: str
    root: str | None
    ttl_s: float | None
    metadata: bytes | None
    labels: str | None
    content: bytes


def rows_of(drafts: Sequence[Draft]) -> list[Row]:
    """Check and encode drafts, on the caller's side, before anything waits for the database."""
    return [_row_of(draft) for draft in drafts]


def _row_of(draft: Draft) -> Row:
    check_id("actor", draft.actor, empty=True)
    check_id("branch", draft.branch)
    _check_shape(draft.role, draft.content, draft.metadata)
    metadata = encode(draft.metadata, "Metadata") if draft.metadata else None
    return Row(
        role=draft.role,
        actor=draft.actor,
        branch=draft.branch,
        root=draft.branch_root,
        ttl_s=draft.ttl_s,
        metadata=metadata,
        labels=encode(labels(draft.metadata), "Metadata").decode() if metadata else None,
        content=encode(draft.content, "Content"),
    )


def _check_shape(role: object, content: object, metadata: object) -> None:
    """What is written now has to be readable later; agents in plain Python are not type-checked."""
    if role not in _ROLES:
        raise ValidationFailed(f"There is no role {role!r}; take one of {', '.join(sorted(_ROLES))}.")
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise ValidationFailed("An event's content is a list of parts, and each part is a JSON object.")
    if not isinstance(metadata, dict):
        raise ValidationFailed("An event's metadata is a JSON object.")


def span_row(span: Span) -> tuple[object, ...]:
    """A span as the engines write it. Its words come from anywhere: one that cannot be kept must not lose the rest."""
    try:
        attributes = _encoder.encode(span.attributes)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        attributes = _encoder.encode({_plain(str(key)): _plain(repr(value)) for key, value in span.attributes.items()})
    return (
        _plain(span.tenant),
        _plain(span.trace_id),
        _plain(span.span_id),
        None if span.parent_id is None else _plain(span.parent_id),
        span.started_at,
        span.duration_s,
        _plain(span.name),
        _plain(span.kind),
        _plain(span.status),
        attributes,
    )


def span_of(tenant: str, row: Sequence[Any]) -> Span:
    """A span out of the columns trace, span, parent, start, duration, name, kind, status, attributes."""
    trace_id, span_id, parent_id, started_at, duration_s, name, kind, status, attributes = row
    return Span(
        tenant=tenant,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        started_at=started_at,
        duration_s=duration_s,
        name=name,
        kind=kind,
        status=status,
        attributes=decode(attributes),
    )


def _plain(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
