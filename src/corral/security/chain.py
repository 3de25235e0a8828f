"""The chain of the audit: each entry's hash holds the one before it, so that nobody changes one without changing all after it.

A hash is SHA-256 of three things: the hash before (nothing, where the chain begins), the entry's number as eight bytes, the
highest first, and the digest of the entry. A digest is SHA-256 of the entry as JSON with its keys in order and no spaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from corral.messages import AuditEntry

BEGINNING = b""
"""What stands before the first entry of a chain."""
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class _Canonical(msgspec.Struct):
    """An entry with its fields in the order of their names: encoded, it is canonical."""

    action: Any
    actor: Any
    agent: Any
    at: Any
    decision: Any
    details: msgspec.Raw
    id: Any
    reason: Any
    rule: Any
    run_id: Any
    session_id: Any
    subject: Any
    tenant: Any


def canonical(details: object) -> bytes:
    """JSON with its keys in order, the same for the same content. Takes what JSON decodes to."""
    return _encode_sorted(details)


def words_of(entry: AuditEntry) -> tuple[str, ...]:
    """What is text in an entry, in the order of its columns: its time comes behind the first two, its details at the end."""
    return (
        entry.tenant,
        entry.id,
        entry.action,
        entry.subject,
        entry.decision,
        entry.rule,
        entry.reason,
        entry.actor,
        entry.agent,
        entry.session_id,
        entry.run_id,
    )


def columns_of(words: tuple[str, ...], at: float, details: bytes) -> tuple[Any, ...]:
    """An entry as it is kept."""
    return (*words[:2], float(at), *words[2:], details)


def digest_of(entry: AuditEntry) -> bytes:
    """The digest of an entry, as anybody computes it who has the entry."""
    return digest_of_kept(columns_of(words_of(entry), entry.at, canonical(entry.details)))


def digest_of_kept(columns: Sequence[Any]) -> bytes:
    """The digest of an entry as it is kept, its details as the JSON that they are. Somebody may have put anything there."""
    tenant, entry_id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details = columns
    shape = _Canonical(
        action=action,
        actor=actor,
        agent=agent,
        at=at,
        decision=decision,
        details=msgspec.Raw(details),
        id=entry_id,
        reason=reason,
        rule=rule,
        run_id=run_id,
        session_id=session_id,
        subject=subject,
        tenant=tenant,
    )
    return hashlib.sha256(_encode(shape)).digest()


def link(before: bytes, number: int, digest: bytes) -> bytes:
    """The hash of an entry, behind the hash before it."""
    return hashlib.sha256(before + number.to_bytes(8, "big") + digest).digest()
