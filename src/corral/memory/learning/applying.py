"""What was learnt becomes records: new ones, others in the place of known ones, and nothing lost on the way.

A record that is replaced or removed leaves its words in the memory's history, written in the same transaction. The id of a
new record comes from its words: learning the same twice changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from corral.memory.drafting import record_draft
from corral.memory.learning.prompting import Learnt, LearntItem, PromptKind, Turn, name_of
from corral.memory.resources import HISTORY, MemoryResource, Strategy
from corral.memory.store import Item, ItemDraft, MemoryStore, Namespace, Selection, View, WordQuery
from corral.memory.words import terms_of

TEXT_CHARS_MAX = 16_000
"""Of one record."""
KNOWN_MAX = 12
"""Known records that a model is shown."""
_DAY_S = 86_400.0
_HISTORY_S = 365 * _DAY_S
_TERMS_MAX = 64


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing to be done, by the ids of records: what a job writes down before it does it."""

    op: Literal["add", "update", "remove"]
    record: str
    text: str = ""
    events: list[str] = []


def view_of(tenant: str) -> View:
    """Who learns sees all of the tenant's, and nothing public."""
    return View(tenant=tenant, whole=True, public=False)


def record_id(memory_id: str, strategy_id: str, namespace: str, text: str) -> str:
    """The id of a record with these words: case and white space make no difference."""
    plain = " ".join(text.casefold().split()).strip(" .!")
    raw = msgspec.json.encode([memory_id, strategy_id, namespace, plain])
    digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
    return f"mem-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


class Shelf:
    """The records of one strategy in one namespace."""

    def __init__(
        self, store: MemoryStore, tenant: str, memory: MemoryResource, strategy: Strategy, namespace: Namespace
    ) -> None:
        """`namespace` is filled in, and belongs to whoever the records are about."""
        self._store = store
        self._view = view_of(tenant)
        self._memory = memory
        self._strategy = strategy
        self.namespace = namespace

    async def related(self, turns: Sequence[Turn]) -> list[Item]:
        """The records that have most to do with these turns, and the latest ones."""
        selection = Selection(
            space=self._memory.id, name=self.namespace.name, kinds=("record",), strategy=self._strategy.id
        )
        counted: dict[str, int] = {}
        for turn in turns:
            for term in terms_of(turn.text):
                counted[term] = counted.get(term, 0) + 1
        terms = tuple(sorted(counted, key=counted.__getitem__, reverse=True)[:_TERMS_MAX])
        hits = await self._store.search(self._view, WordQuery(terms=terms, limit=KNOWN_MAX, selection=selection))
        found = {one.item.id: one.item for one in await self._store.open(self._view, [hit.number for hit in hits])}
        latest = await self._store.items(self._view, selection, limit=KNOWN_MAX)
        for item in latest.items:
            if len(found) < KNOWN_MAX:
                found.setdefault(item.id, item)
        return list(found.values())

    def changes(self, kind: PromptKind, learnt: Learnt, known: Sequence[Item], turns: Sequence[Turn]) -> list[Change]:
        """What a model answered, by the ids of records. Numbers that stand for nothing make a new record, or nothing."""
        found: dict[str, Change] = {}
        for item in learnt.items:
            change = self._change(kind, item, known, turns)
            if change is not None:
                found[change.record] = change
        return list(found.values())

    def _change(
        self, kind: PromptKind, item: LearntItem, known: Sequence[Item], turns: Sequence[Turn]
    ) -> Change | None:
        text = item.text.strip()[:TEXT_CHARS_MAX]
        meant = known[item.number - 1] if 0 < item.number <= len(known) else None
        numbers = [number for number in item.turns if 0 < number <= len(turns)]
        events = list(dict.fromkeys(turns[number - 1].event for number in numbers)) or [turn.event for turn in turns]
        if item.op == "remove":
            return None if meant is None else Change("remove", meant.id, events=events)
        if not text:
            return None
        if kind == "summary":
            return Change("update", self._id(name_of(kind)), text, events)
        if item.op == "update" and meant is not None:
            return Change("update", meant.id, text, events)
        return Change("add", self._id(text), text, events)

    def _id(self, text: str) -> str:
        return record_id(self._memory.id, self._strategy.id, self.namespace.name, text)

    async def apply(self, kind: PromptKind, changes: Sequence[Change], *, at: float) -> int:
        """Do them; doing them twice is doing them once. Returns how many records are different now."""
        different = 0
        for change in changes:
            item = await self._store.get(self._view, change.record, space=self._memory.id)
            if change.op == "remove":
                different += await self._removed(item, change)
            elif item is None or (change.op == "update" and item.text != change.text):
                kept = [] if item is None or kind == "summary" else [self._past(item, change)]
                await self._store.put(self._view, [*kept, self._draft(kind, change, item, at)])
                different += 1
        return different

    async def _removed(self, item: Item | None, change: Change) -> bool:
        if item is None:
            return False
        await self._store.put(self._view, [self._past(item, change)])
        await self._store.delete(self._view, [item.id], space=self._memory.id)
        return True

    def _draft(self, kind: PromptKind, change: Change, before: Item | None, at: float) -> ItemDraft:
        events = list(dict.fromkeys([*(before.events if before else ()), *change.events]))
        days = self._strategy.expiry_days
        return record_draft(
            change.text,
            id=change.record,
            namespace=self.namespace if before is None else before.namespace,
            metadata={**(before.metadata if before else {}), "#prompt": name_of(kind)},
            strategy=self._strategy.id,
            events=events,
            at=at,
            ttl_s=None if days is None else days * _DAY_S,
            version=0 if before is None else before.version,
        )

    def _past(self, item: Item, change: Change) -> ItemDraft:
        """The record as it was, in the history."""
        aside: dict[str, Any] = {"#record": item.id, "#until": change.op, "#events": change.events}
        return record_draft(
            item.text,
            id=f"{item.id}.v{item.version}",
            namespace=msgspec.structs.replace(item.namespace, space=f"{self._memory.id}{HISTORY}"),
            metadata={**item.metadata, **aside},
            strategy=item.strategy,
            events=item.events,
            at=item.at,
            ttl_s=_HISTORY_S,
        )
