"""What is declared, as engines write and read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from corral.backends.encoding import check_id, decode, encode
from corral.memory.resource_store import Resource, ResourceDraft

if TYPE_CHECKING:
    from collections.abc import Sequence


def bound_of(tenant: str, draft: ResourceDraft) -> dict[str, Any]:
    """A draft by the names that queries use. Raises `ValidationFailed` for what no engine could keep."""
    check_id("tenant", tenant)
    check_id("kind", draft.kind)
    check_id("id", draft.id)
    check_id("parent", draft.parent, empty=True)
    check_id("name", draft.name, empty=True)
    return {
        "tenant": tenant,
        "kind": draft.kind,
        "id": draft.id,
        "parent": draft.parent,
        "name": draft.name,
        "ttl_s": draft.ttl_s,
        "body": encode(draft.body, "The resource"),
    }


def resource_of(row: Sequence[Any]) -> Resource:
    """What a row says."""
    kind, resource_id, parent, name, revision, created_at, updated_at, body, _ = row
    return Resource(
        kind=kind,
        id=resource_id,
        body=decode(body),
        parent=parent,
        name=name,
        revision=revision,
        created_at=created_at,
        updated_at=updated_at,
    )
