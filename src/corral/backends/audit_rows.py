"""Entries of the audit as rows: the same columns on every engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import findable
from corral.errors import CursorNotFound
from corral.messages import AuditEntry, Page
from corral.security.store import AuditQuery, AuditRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD_MAX = 512
_REASON_MAX = 4_096
_NUMBER_MAX = 2**62
_encoder = msgspec.json.Encoder()
_details = msgspec.json.Decoder(dict[str, Any])


def row_of(entry: AuditEntry) -> tuple[Any, ...]:
    """What is kept of an entry. Words that no engine can keep are changed: an audit with a hole would be worse."""
    return (
        _kept(entry.tenant),
        _kept(entry.id),
        entry.at,
        _kept(entry.action),
        _kept(entry.subject),
        _kept(entry.decision),
        _kept(entry.rule),
        _kept(entry.reason, _REASON_MAX),
        _kept(entry.actor),
        _kept(entry.agent),
        _kept(entry.session_id),
        _kept(entry.run_id),
        _encoded(entry.details),
    )


def record_of(row: Sequence[Any]) -> AuditRecord:
    """The entry that a row keeps."""
    number, tenant, entry_id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details = (
        row
    )
    entry = AuditEntry(
        id=entry_id,
        at=at,
        tenant=tenant,
        action=action,
        subject=subject,
        decision=decision,
        rule=rule,
        reason=reason,
        actor=actor,
        agent=agent,
        session_id=session_id,
        run_id=run_id,
        details=_details.decode(details),
    )
    return AuditRecord(number=number, entry=entry)


def is_findable(tenant: str, query: AuditQuery) -> bool:
    """Whether anything could be found by these words."""
    words = (query.action, query.subject, query.decision, query.rule, query.actor, query.agent)
    return findable(tenant, *words, query.session_id, query.run_id)


def bound(tenant: str, query: AuditQuery) -> dict[str, Any]:
    """What the query's parameters are; one more row is asked for than fits on the page."""
    before = read_cursor(query.cursor, int)
    if before is not None and not 0 < before < _NUMBER_MAX:
        raise CursorNotFound
    return {
        "tenant": tenant,
        "before": _NUMBER_MAX if before is None else before,
        "since": -math.inf if query.since is None else query.since,
        "until": math.inf if query.until is None else query.until,
        "action": query.action,
        "subject": query.subject,
        "decision": query.decision,
        "rule": query.rule,
        "actor": query.actor,
        "agent": query.agent,
        "session_id": query.session_id,
        "run_id": query.run_id,
        "limit": check_limit(query.limit) + 1,
    }


def page(rows: Sequence[Sequence[Any]], limit: int) -> Page[AuditRecord]:
    """Rows, one of which may be too many, as a page."""
    return page_of([record_of(row) for row in rows], lambda record: record.number, limit)


def _kept(text: str, chars_max: int = _WORD_MAX) -> str:
    if text.isascii() and len(text) <= chars_max and "\0" not in text:
        return text
    return text[:chars_max].replace("\0", "?").encode(errors="replace").decode()


def _encoded(details: dict[str, Any]) -> bytes:
    try:
        return _encoder.encode(details)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return _encoder.encode({_kept(str(key)): _kept(repr(value), _REASON_MAX) for key, value in details.items()})
