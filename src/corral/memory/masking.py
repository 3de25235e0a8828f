"""Nothing personal is kept: what is about to be remembered is masked on its way to the store, whoever brings it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from corral.memory.drafting import digest_of
from corral.memory.store import ChunkDraft, ItemDraft, Kept, MemoryStore, View
from corral.memory.words import terms_of
from corral.observability.personal import masked, masked_text


class MaskedMemory:
    """A store to which only masked drafts are given; all else is the store's own."""

    def __init__(self, store: MemoryStore) -> None:
        """What lies there already stays as it is."""
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, view: View, drafts: Sequence[ItemDraft]) -> list[Kept]:
        """Keep, masked."""
        return await self._store.put(view, [masked_draft(draft) for draft in drafts])

    async def append(self, view: View, draft: ItemDraft) -> Kept:
        """Add to a log, masked."""
        return await self._store.append(view, masked_draft(draft))


def masked_memory(store: MemoryStore) -> MemoryStore:
    """The same store, and nothing personal comes into it."""
    return cast("MemoryStore", MaskedMemory(store))


def masked_draft(draft: ItemDraft) -> ItemDraft:
    """A draft as it is kept. Where nothing was to be masked, it is the very same; else its digest and its chunks' ids are others."""
    title, metadata = masked_text(draft.title), masked(draft.metadata)
    chunks = tuple(_masked_chunk(chunk, title) for chunk in draft.chunks)
    if (title, metadata, chunks) == (draft.title, draft.metadata, draft.chunks):
        return draft
    return msgspec.structs.replace(
        draft, title=title, metadata=metadata, chunks=chunks, digest=draft.digest and digest_of(draft.digest, "masked")
    )


def _masked_chunk(chunk: ChunkDraft, title: str) -> ChunkDraft:
    text, place = masked_text(chunk.text), masked_text(chunk.place)
    if (text, place) == (chunk.text, chunk.place):
        return chunk
    return msgspec.structs.replace(
        chunk, id=digest_of(chunk.id, "masked"), text=text, place=place, terms=terms_of(f"{place} {title} {text}")
    )
