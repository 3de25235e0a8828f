"""Entries of the audit as rows: the same columns on every engine."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import findable
from corral.errors import CursorNotFound
from corral.messages import AuditEntry, Page
from corral.security.chain import canonical, columns_of, digest_of_kept, words_of
from corral.security.store import AuditHead, AuditLink, AuditPrefix, AuditQuery, AuditRecord, Checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD_MAX = 512
_REASON = 6
"""Its place among the words of an entry."""
_REASON_MAX = 4_096
_NUMBER_MAX = 2**62
_encoder = msgspec.json.Encoder()
_details = msgspec.json.Decoder(dict[str, Any])


def row_of(entry: AuditEntry) -> tuple[Any, ...]:
    """What is kept of an entry, and its digest. Words that no engine can keep are changed: an audit with a hole would be worse."""
    words = words_of(entry)
    if not _is_plain("".join(words)):
        words = tuple(_kept(word, _REASON_MAX if place == _REASON else _WORD_MAX) for place, word in enumerate(words))
    kept = columns_of(words, entry.at, _encoded(entry.details))
    return (*kept, digest_of_kept(kept))


def record_of(row: Sequence[Any]) -> AuditRecord:
    """The entry that a row keeps."""
    return AuditRecord(number=row[0], entry=_entry_of(row[1:14]), hash=bytes(row[14]))


def link_of(row: Sequence[Any]) -> AuditLink:
    """What a row keeps, for who checks it. Texts may come as bytes: not all bytes are text any more."""
    number, own, *kept = row
    columns, raw = [_text(value) for value in kept[:-1]], _bytes(kept[-1])
    try:
        digest = digest_of_kept((*columns, raw))
    except (TypeError, ValueError, msgspec.MsgspecError):  # no such thing was ever written
        digest = b""
    return AuditLink(number=number, hash=_bytes(own), digest=digest, read=_Kept((*columns, raw)))


class _Kept(msgspec.Struct, frozen=True):
    """The columns of an entry. Most that look at a link never read it."""

    columns: tuple[Any, ...]

    def __call__(self) -> AuditEntry | None:
        try:
            return _entry_of(self.columns)
        except (TypeError, ValueError, msgspec.MsgspecError):
            return None


def head_of(row: Sequence[Any]) -> AuditHead:
    """Where a tenant stands."""
    tenant, number, own, chained, swept, swept_hash, signed, signed_at = row
    return AuditHead(
        tenant=tenant,
        number=number,
        hash=_bytes(own),
        chained=chained,
        swept=swept,
        swept_hash=_bytes(swept_hash),
        signed=signed or 0,
        signed_at=signed_at or 0.0,
    )


def row_of_checkpoint(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """What is kept of a checkpoint."""
    return (
        checkpoint.tenant,
        checkpoint.kind,
        checkpoint.number,
        checkpoint.hash,
        checkpoint.at,
        checkpoint.algorithm,
        checkpoint.key_id,
        checkpoint.signature,
    )


def checkpoint_of(row: Sequence[Any]) -> Checkpoint:
    """The checkpoint that a row keeps."""
    tenant, kind, number, own, at, algorithm, key_id, signature = row
    return Checkpoint(
        tenant=tenant,
        kind=kind,
        number=number,
        hash=_bytes(own),
        at=at,
        algorithm=algorithm,
        key_id=key_id,
        signature=_bytes(signature),
    )


def prefixes(rows: Sequence[Sequence[Any]], before: float) -> list[AuditPrefix]:
    """Of each tenant, how far all its oldest entries are old. Rows: tenant, swept, number, at, hash; in order."""
    found: dict[str, AuditPrefix] = {}
    ended: set[str] = set()
    for tenant, swept, number, at, own in rows:
        chained = bool(own)
        if tenant in ended or at >= before or (not chained and number > swept):
            ended.add(tenant)
            continue
        found[tenant] = AuditPrefix(tenant=tenant, number=number, hash=_bytes(own))
    return list(found.values())


def canonical_row(kept: Sequence[Any]) -> tuple[bytes, bytes]:
    """The details of an entry that was written before there was a chain, in order, and its digest."""
    *columns, details = kept
    with contextlib.suppress(ValueError, msgspec.MsgspecError):
        details = canonical(_details.decode(details))
    return bytes(details), digest_of_kept((*columns, bytes(details)))


def _entry_of(kept: Sequence[Any]) -> AuditEntry:
    tenant, entry_id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details = kept
    return AuditEntry(
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


def _text(value: Any) -> Any:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


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


def _is_plain(text: str) -> bool:
    """Whether every engine keeps this as it is, and all that it consists of."""
    return text.isascii() and len(text) <= _WORD_MAX and "\0" not in text


def _kept(text: str, chars_max: int = _WORD_MAX) -> str:
    return text[:chars_max].replace("\0", "?").encode(errors="replace").decode()


def _encoded(details: dict[str, Any]) -> bytes:
    try:
        raw = _encoder.encode(details)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        raw = _encoder.encode({_kept(str(key)): _kept(repr(value), _REASON_MAX) for key, value in details.items()})
    return canonical(_details.decode(raw))  # as whoever reads it later will write it again
