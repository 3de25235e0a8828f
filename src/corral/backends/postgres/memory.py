"""What is remembered, in PostgreSQL: a row per item and per chunk, and one full text index for the words of all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import decode, encode, findable
from corral.backends.memory_rows import askable, holds, item_of, row_of, tokens_of
from corral.backends.postgres.memory_search import PostgresMemorySearch, namespaces_of, numbers_text, seen_by
from corral.backends.queries import read_queries
from corral.errors import MemoryConflict, ValidationFailed
from corral.memory.store import Bare, Chunk, Kept, Namespace, NamespaceInfo
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.memory.store import Item, ItemDraft, Selection, View

_SQL = read_queries(Path(__file__).with_name("memory.sql"))
_CONFLICT = "CR409"


class PostgresMemory(PostgresMemorySearch):
    """Each change is one call of a function, which locks the tenant's space first."""

    async def put(self, view: View, drafts: Sequence[ItemDraft]) -> list[Kept]:
        """Keep."""
        return await self._put(view, drafts, append=False) if drafts else []

    async def append(self, view: View, draft: ItemDraft) -> Kept:
        """Add to a log."""
        if draft.kind != "log":
            row_of(view, draft)
            raise ValidationFailed(f"Chunks are appended to a log, and this is a {draft.kind}: put it instead.")
        (kept,) = await self._put(view, [draft], append=True)
        return kept

    async def _put(self, view: View, drafts: Sequence[ItemDraft], *, append: bool) -> list[Kept]:
        packed = encode([_packed(view, draft) for draft in drafts], "What is to be remembered").decode()
        again = not append and all(draft.version is None and draft.digest for draft in drafts)
        try:
            rows = await self._engine.fetch(_SQL["put"], packed, list(view.audiences), view.whole, append, again=again)
        except asyncpg.PostgresError as error:
            if error.sqlstate == _CONFLICT:
                raise MemoryConflict(str(error) or None) from None
            raise
        return [
            Kept(id=draft.id, outcome=outcome, version=version, added=added, removed=removed)
            for draft, (outcome, version, added, removed) in zip(drafts, rows, strict=True)
        ]

    async def get(self, view: View, item_id: str, *, space: str = "") -> Item | None:
        """One item."""
        row = await self._row(view, item_id, space)
        return None if row is None else item_of(row[1:])

    async def chunks(
        self, view: View, item_id: str, *, space: str = "", first: int = 0, limit: int = 100
    ) -> list[Chunk]:
        """Chunks of an item."""
        row = await self._row(view, item_id, space)
        if row is None:
            return []
        return [
            Chunk(id=chunk_id, item=item_id, ordinal=ordinal, text=text, place=place, start=start)
            for chunk_id, ordinal, text, place, start in await self._engine.fetch(_SQL["chunks"], row[0], first, limit)
        ]

    async def items(
        self, view: View, selection: Selection, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Item]:
        """Items."""
        check_limit(limit)
        before = read_cursor(cursor, tuple[float, int])
        if not askable(view, selection):
            return Page([])
        numbers = [row[0] for row in await namespaces_of(self._engine, view, selection)]
        chosen = (list(selection.kinds) or None, selection.strategy, selection.source)
        found: list[Any] = []
        while True:
            at, number = before or (None, None)
            rows = await self._engine.fetch(_SQL["listed"], numbers, at, number, *chosen, limit + 1)
            found += [row for row in rows if not selection.filters or holds(selection.filters, decode(row[10]))]
            if len(rows) <= limit or len(found) > limit:
                break
            before = rows[-1][15], rows[-1][0]
        page = page_of(found, lambda last: (last[15], last[0]), limit)
        return Page([item_of(row[1:]) for row in page.items], page.next_cursor)

    async def namespaces(self, view: View, selection: Selection, *, limit: int = 1000) -> list[NamespaceInfo]:
        """Namespaces."""
        if not askable(view, selection):
            return []
        rows = await namespaces_of(self._engine, view, selection, query=_SQL["listed_namespaces"], limit=limit)
        return [
            NamespaceInfo(
                namespace=Namespace(name=name, scope=scope, owner=owner, space=space),
                items=items,
                chunks=chunks,
                updated_at=updated_at,
            )
            for _, _, space, scope, owner, name, items, chunks, _, _, updated_at in rows
        ]

    async def delete(self, view: View, item_ids: Sequence[str], *, space: str = "") -> list[str]:
        """Forget items."""
        known = [one for one in dict.fromkeys(item_ids) if findable(view.tenant, *view.audiences, one, space)]
        if not known:
            return []
        asked = (list(view.audiences), view.whole, view.public, view.publishes)
        (gone,) = await self._engine.fetch_one(_SQL["delete"], view.tenant, space, known, *asked, again=False)
        return [one for one in known if one in gone]

    async def erase(self, tenant: str, *, audience: str | None = None, space: str | None = None) -> int:
        """Forget everything."""
        if not findable(tenant, audience, space):
            return 0
        (gone,) = await self._engine.fetch_one(_SQL["erase"], tenant, audience, space)
        return int(gone)

    async def bare(
        self, tenant: str, model: str, *, item_id: str | None = None, space: str = "", limit: int = 100
    ) -> list[Bare]:
        """Chunks without vectors."""
        if not findable(tenant, model, item_id, space):
            return []
        rows = await self._engine.fetch(_SQL["bare"], tenant, space, item_id, model, limit)
        return [Bare(*row) for row in rows]

    async def embed(self, tenant: str, model: str, vectors: Sequence[tuple[int, bytes]]) -> int:
        """Keep vectors."""
        numbers = [number for number, _ in vectors]
        texts = [numbers_text(vector) for _, vector in vectors]
        (kept,) = await self._engine.fetch_one(_SQL["embed"], tenant, model, numbers, texts)
        return int(kept)

    async def forget_vectors(self, tenant: str, *, keep: str | None = None) -> int:
        """Throw vectors away."""
        (gone,) = await self._engine.fetch_one(_SQL["forget_vectors"], tenant, keep)
        return int(gone)

    async def sweep(self, *, limit: int = 1000) -> int:
        """Forget what has expired."""
        (gone,) = await self._engine.fetch_one(_SQL["sweep"], limit)
        return int(gone)

    async def _row(self, view: View, item_id: str, space: str) -> Any:
        if not findable(view.tenant, *view.audiences, item_id, space):
            return None
        _, whole, audiences, public = seen_by(view)
        return await self._engine.fetch_one(_SQL["item"], view.tenant, space, item_id, whole, audiences, public)


def _packed(view: View, draft: ItemDraft) -> dict[str, Any]:
    row = row_of(view, draft)
    namespace = draft.namespace
    return {
        "tenant": row.tenant,
        "space": namespace.space,
        "scope": namespace.scope,
        "owner": namespace.owner,
        "audience": namespace.audience,
        "name": namespace.name,
        "id": draft.id,
        "kind": draft.kind,
        "title": draft.title,
        "source": draft.source,
        "metadata": row.metadata,
        "strategy": draft.strategy,
        "events": row.events,
        "at": draft.at,
        "ttl_s": draft.ttl_s,
        "digest": draft.digest,
        "version": draft.version,
        "chunks": [
            {
                "ordinal": ordinal,
                "id": chunk.id,
                "text": chunk.text,
                "place": chunk.place,
                "start": chunk.start,
                "words": len(chunk.terms),
                "terms": tokens_of("", chunk.terms),
            }
            for ordinal, chunk in enumerate(draft.chunks)
        ],
    }
