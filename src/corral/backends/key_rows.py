"""Keys, as engines write and read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.encoding import check_id, encode
from corral.security.key_store import Grant, KeyRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.security.key_store import KeyDraft

_grant = msgspec.json.Decoder(Grant)


def bound_of(tenant: str, draft: KeyDraft) -> dict[str, Any]:
    """A draft by the names that queries use. Raises `ValidationFailed` for what no engine could keep."""
    check_id("tenant", tenant)
    check_id("key id", draft.id)
    return {
        "id": draft.id,
        "tenant": tenant,
        "digest": draft.digest,
        "body": encode(draft.grant, "The key"),
        "ttl_s": draft.ttl_s,
    }


def key_of(row: Sequence[Any]) -> KeyRecord:
    """What a row says; more columns may follow."""
    (key_id, tenant, digest, body, turn, old_digest, old_until, created, rotated, expires, used, revoked) = row[:12]
    return KeyRecord(
        id=key_id,
        tenant=tenant,
        digest=bytes(digest),
        grant=_grant.decode(body),
        turn=turn,
        old_digest=bytes(old_digest),
        old_until=old_until,
        created_at=created,
        rotated_at=rotated,
        expires_at=expires,
        last_used_at=used,
        revoked_at=revoked,
    )
