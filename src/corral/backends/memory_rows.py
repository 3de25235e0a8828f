"""What is remembered as all engines keep it: the words of a namespace, JSON as text, filters on metadata."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.encoding import check_id, decode, encode, findable
from corral.errors import MemoryForbidden, ValidationFailed
from corral.memory.store import PUBLIC, Chunk, Found, Item, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from corral.memory.store import Filter, ItemDraft, Selection, View

NAMESPACES_MAX = 2000
"""So many namespaces are searched or listed at once: those last changed."""

ONCE, TWICE, OFTEN = "x", "y", "z"
"""A word stands in a chunk at least once, twice, four times: engines keep who has it, and this is as much as ranking needs."""
_OFTEN = 4


def token(namespace: int | str, term: str, level: str = ONCE) -> str:
    """A word as it stands in the index."""
    return f"{namespace}{level}{term}"


def tokens_of(namespace: int | str, terms: Iterable[str]) -> list[str]:
    """The words of a chunk as they stand in the index; an engine that puts the number before them itself gives none."""
    counted = Counter(terms)
    tokens = [token(namespace, term) for term in counted]
    tokens += [token(namespace, term, TWICE) for term, count in counted.items() if count > 1]
    return tokens + [token(namespace, term, OFTEN) for term, count in counted.items() if count >= _OFTEN]


class ItemRow(msgspec.Struct, frozen=True):
    """An item's own columns, checked and encoded on the caller's side."""

    tenant: str
    metadata: str
    events: str


def row_of(view: View, draft: ItemDraft) -> ItemRow:
    """Check what the view may do, and that the engine can keep it."""
    namespace = draft.namespace
    for what, value in (("tenant", view.tenant), ("item's id", draft.id), ("namespace", namespace.name)):
        check_id(what, value)
    for what, value in (("space", namespace.space), ("owner", namespace.owner), ("strategy", draft.strategy)):
        check_id(what, value, empty=True)
    if (namespace.scope in {"team", "user", "session"}) != bool(namespace.owner):
        raise ValidationFailed(f"A namespace of scope {namespace.scope} has {'no' if namespace.owner else 'an'} owner.")
    if not view.writes(namespace):
        raise MemoryForbidden(f"You may not write to the namespace {namespace.name!r} of scope {namespace.scope}.")
    for text in (draft.title, draft.source, *(part for chunk in draft.chunks for part in (chunk.text, chunk.place))):
        if not findable(text):
            raise ValidationFailed("What is to be remembered contains a NUL character or half a surrogate pair.")
    metadata = encode(draft.metadata, "Metadata").decode()
    return ItemRow(tenant_of(view, namespace), metadata, encode(list(draft.events), "Events").decode())


def tenant_of(view: View, namespace: Namespace) -> str:
    """Under which tenant a namespace is kept."""
    return PUBLIC if namespace.scope == "public" else view.tenant


def bound_of(view: View, selection: Selection, *, limit: int = NAMESPACES_MAX) -> dict[str, Any]:
    """What a query for namespaces is told."""
    return {
        **seen_by(view),
        "space": selection.space,
        "name": selection.name,
        "prefix": selection.prefix or None,
        "scopes": encode(selection.scopes, "Scopes").decode() if selection.scopes else None,
        "limit": limit,
    }


def seen_by(view: View) -> dict[str, Any]:
    """What a query is told of who asks."""
    return {
        "tenant": view.tenant,
        "whole": view.whole,
        "public": view.public,
        "audiences": encode(view.audiences, "Audiences").decode(),
    }


def askable(view: View, selection: Selection) -> bool:
    """Whether such a thing could have been kept at all."""
    asked = (selection.space, selection.name, selection.prefix, selection.strategy, selection.source)
    return bool(view.tenant) and findable(view.tenant, *view.audiences, *asked)


def item_of(row: Sequence[Any]) -> Item:
    """An item out of its columns, without its number."""
    tenant, space, scope, owner, name, item_id, kind, title, source, metadata, strategy, events = row[:12]
    at, created_at, updated_at, expires_at, version, chunks, digest, text = row[12:]
    return Item(
        id=item_id,
        kind=kind,
        namespace=Namespace(name=name, scope=scope, owner=owner, space=space),
        tenant=tenant,
        title=title,
        source=source,
        text=text,
        metadata=decode(metadata),
        strategy=strategy,
        events=decode(events),
        at=at,
        created_at=created_at,
        updated_at=updated_at,
        expires_at=expires_at,
        version=version,
        chunks=chunks,
        digest=digest,
    )


def found_of(row: Sequence[Any]) -> Found:
    """A chunk and its item out of their columns."""
    number, chunk_id, ordinal, text, place, start = row[:6]
    item = item_of(row[7:])
    chunk = Chunk(id=chunk_id, item=item.id, ordinal=ordinal, text=text, place=place, start=start)
    return Found(number=number, chunk=chunk, item=item)


def holds(filters: Sequence[Filter], metadata: dict[str, Any]) -> bool:
    """Whether metadata fulfils all conditions."""
    return all(_holds(one, metadata) for one in filters)


def _holds(one: Filter, metadata: dict[str, Any]) -> bool:
    if one.op in {"exists", "absent"}:
        return (one.key in metadata) == (one.op == "exists")
    return one.key in metadata and _COMPARED[one.op](metadata[one.key], one.value)


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, str):
        return isinstance(wanted, str) and wanted in value
    return isinstance(value, list) and any(_equal(element, wanted) for element in value)


def _alike(value: object, other: object) -> bool:
    numbers = _is_number(value) and _is_number(other)
    return numbers or (isinstance(value, str) and isinstance(other, str))


def _equal(value: object, other: object) -> bool:
    return (_alike(value, other) or type(value) is type(other)) and value == other


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": _equal,
    "!=": lambda value, wanted: not _equal(value, wanted),
    "<": lambda value, wanted: _alike(value, wanted) and value < wanted,
    "<=": lambda value, wanted: _alike(value, wanted) and value <= wanted,
    ">": lambda value, wanted: _alike(value, wanted) and value > wanted,
    ">=": lambda value, wanted: _alike(value, wanted) and value >= wanted,
    "contains": _contains,
}
