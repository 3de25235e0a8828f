"""Records of a memory as items of the memory room, and back.

A memory's records are in a space of their own, named after it. Earlier words of a record lie in a second space, as
`RECORD.vN`, and go when the record goes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from corral.errors import ValidationFailed
from corral.memory.drafting import digest_of, record_draft
from corral.memory.resources import MemoryResource, Strategy
from corral.memory.store import Filter, Item, ItemDraft, Namespace, Selection, View
from corral.server.agentcore.shapes import OPERATORS

TYPES = "#types"
"""The key under which is kept which values are dates; `#` is in no key of a caller's."""

_DAY_S = 86_400.0
_VALUES = {
    "EQUALS_TO": ("stringValue", "numberValue", "dateTimeValue"),
    "BEFORE": ("dateTimeValue",),
    "AFTER": ("dateTimeValue",),
    "CONTAINS": ("stringListValue", "stringValue"),
    "GREATER_THAN": ("numberValue",),
    "GREATER_THAN_OR_EQUALS": ("numberValue",),
    "LESS_THAN": ("numberValue",),
    "LESS_THAN_OR_EQUALS": ("numberValue",),
}


def view_of(tenant: str) -> View:
    """This interface knows no users: it sees all of the tenant's, and nothing public."""
    return View(tenant=tenant, whole=True, public=False)


def selection_of(memory: MemoryResource, asked: dict[str, Any], criteria: dict[str, Any]) -> Selection:
    """Which records are meant: of exactly one namespace, or of all below a path."""
    name, path = asked.get("namespace"), asked.get("namespacePath")
    if (name is None) == (path is None):
        raise ValidationFailed(
            "Give either `namespace`, which is meant exactly, or `namespacePath`, which means all below it."
        )
    return Selection(
        space=memory.id,
        name=name,
        prefix=path,
        kinds=("record",),
        strategy=criteria.get("memoryStrategyId"),
        filters=tuple(one for asked_for in criteria.get("metadataFilters", ()) for one in _filters(asked_for)),
    )


def _filters(condition: dict[str, Any]) -> list[Filter]:
    key, operator = condition["left"]["metadataKey"], condition["operator"]
    op: Any = OPERATORS[operator]
    if operator not in _VALUES:
        return [Filter(key, op)]
    given: dict[str, Any] = condition.get("right", {}).get("metadataValue", {})
    kind, value = next(iter(given.items()), ("", None))
    if kind not in _VALUES[operator]:
        raise ValidationFailed(
            f"{operator} compares {key!r} with {' or '.join(_VALUES[operator])}, not {kind or 'nothing'}."
        )
    return [Filter(key, op, one) for one in (value if isinstance(value, list) else [value])]


def packed(metadata: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Typed values as plain ones."""
    plain = {key: next(iter(value.values())) for key, value in metadata.items()}
    dates = [key for key, value in metadata.items() if "dateTimeValue" in value]
    return {**plain, TYPES: {"dates": dates}} if dates else plain


def unpacked(metadata: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Plain values as typed ones; what has no type of the service's is left out."""
    dates = metadata.get(TYPES, {}).get("dates", ())
    typed: dict[str, dict[str, Any]] = {}
    for key, value in metadata.items():
        if isinstance(value, str):
            typed[key] = {"stringValue": value}
        elif isinstance(value, list):
            typed[key] = {"stringListValue": value}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            typed[key] = {"dateTimeValue" if key in dates else "numberValue": value}
    return typed


def created(memory: MemoryResource, record_id: str, given: dict[str, Any], expiry: dict[str, Any]) -> ItemDraft:
    """A record that somebody writes."""
    strategy = _strategy(memory, given.get("memoryStrategyId", ""))
    days = expiry.get("recordExpiryDurationDays", strategy.expiry_days if strategy else None)
    return record_draft(
        given["content"]["text"],
        id=record_id,
        namespace=Namespace(name=(given["namespaces"] or ["/"])[0], scope="tenant", space=memory.id),
        metadata=packed(given.get("metadata", {})),
        strategy=given.get("memoryStrategyId", ""),
        at=given["timestamp"],
        ttl_s=None if days is None or "action" in expiry else days * _DAY_S,
        version=0,
    )


def updated(memory: MemoryResource, item: Item, given: dict[str, Any], expiry: dict[str, Any], now: float) -> ItemDraft:
    """A record that somebody changes; what is not given stays."""
    _strategy(memory, given.get("memoryStrategyId", ""))
    namespaces = given.get("namespaces")
    namespace = item.namespace
    if namespaces:
        namespace = msgspec.structs.replace(namespace, name=namespaces[0])
    ttl_s = None if item.expires_at is None else max(item.expires_at - now, 0.001)
    if expiry:
        ttl_s = None if "action" in expiry else expiry["recordExpiryDurationDays"] * _DAY_S
    draft = record_draft(
        given.get("content", {}).get("text", item.text),
        id=item.id,
        namespace=namespace,
        metadata=packed(given["metadata"]) if "metadata" in given else item.metadata,
        strategy=given.get("memoryStrategyId", item.strategy),
        events=item.events,
        at=given["timestamp"],
        ttl_s=ttl_s,
        version=item.version,
    )
    # That nothing but its time is another one is a change as well.
    return msgspec.structs.replace(draft, digest=digest_of(draft.digest, str(draft.at), str(ttl_s)))


def _strategy(memory: MemoryResource, strategy_id: str) -> Strategy | None:
    if not strategy_id:
        return None
    strategy = memory.strategy(strategy_id)
    if strategy is None:
        raise ValidationFailed(f"This memory has no strategy {strategy_id}.")
    return strategy


def shown(item: Item, *, score: float | None = None) -> dict[str, Any]:
    """A record as the service answers it."""
    answer: dict[str, Any] = {
        "memoryRecordId": item.id,
        "content": {"text": item.text},
        "memoryStrategyId": item.strategy,
        "namespaces": [item.namespace.name],
        "createdAt": item.created_at,
        "timestamp": item.at,
    }
    metadata = unpacked(item.metadata)
    if metadata:
        answer["metadata"] = metadata
    if score is not None:
        answer["score"] = score
    return answer
