"""What is remembered, in SQLite: a row per item and per chunk, and one full text index for the words of all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import decode, encode, findable
from corral.backends.memory_rows import askable, bound_of, holds, item_of, row_of, seen_by, tokens_of
from corral.backends.queries import read_queries
from corral.backends.sqlite.memory_search import SqliteMemorySearch
from corral.errors import MemoryConflict, ValidationFailed
from corral.memory.store import Bare, Chunk, Kept, Namespace, NamespaceInfo
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.backends.memory_rows import ItemRow
    from corral.backends.sqlite.reader import View as Reading
    from corral.backends.sqlite.writer import Transaction
    from corral.memory.store import ChunkDraft, Item, ItemDraft, Selection, View

_SQL = read_queries(Path(__file__).with_name("memory.sql"))


class SqliteMemory(SqliteMemorySearch):
    """One writer, so that what is counted of a namespace is what is in it; what an item owns goes with it, by triggers."""

    async def put(self, view: View, drafts: Sequence[ItemDraft]) -> list[Kept]:
        """Keep."""
        rows = [row_of(view, draft) for draft in drafts]
        return await self._engine.write(
            lambda transaction: [_put(transaction, view, draft, row) for draft, row in zip(drafts, rows, strict=True)]
        )

    async def append(self, view: View, draft: ItemDraft) -> Kept:
        """Add to a log."""
        row = row_of(view, draft)
        if draft.kind != "log":
            raise ValidationFailed(f"Chunks are appended to a log, and this is a {draft.kind}: put it instead.")

        def run(transaction: Transaction) -> Kept:
            known = _known(transaction, view, draft, row)
            if known is None:
                return _put(transaction, view, draft, row)
            if known.kind != "log" or known.namespace != draft.namespace:
                raise MemoryConflict(f"{draft.id!r} is no log in this namespace.")
            space = _use(transaction, row.tenant, draft.namespace)
            (first,) = transaction.execute(_SQL["end_of"], (known.number,)).fetchone()
            _add(transaction, space, known.number, enumerate(draft.chunks, first))
            life = None if draft.ttl_s is None else transaction.now + draft.ttl_s
            bound = (known.number, len(draft.chunks), transaction.now, life)
            (version,) = transaction.execute(_SQL["lengthen"], bound).fetchone()
            return Kept(id=draft.id, outcome="changed", version=version, added=len(draft.chunks))

        return await self._engine.write(run)

    async def get(self, view: View, item_id: str, *, space: str = "") -> Item | None:
        """One item."""
        if not findable(view.tenant, *view.audiences, item_id, space):
            return None
        row = await self._engine.read(lambda reading: _row(reading, view, item_id, space))
        return None if row is None else item_of(row[1:])

    async def chunks(
        self, view: View, item_id: str, *, space: str = "", first: int = 0, limit: int = 100
    ) -> list[Chunk]:
        """Chunks of an item."""
        if not findable(view.tenant, *view.audiences, item_id, space):
            return []

        def run(reading: Reading) -> list[Any]:
            row = _row(reading, view, item_id, space)
            return [] if row is None else reading.execute(_SQL["chunks"], (row[0], first, limit)).fetchall()

        return [
            Chunk(id=chunk_id, item=item_id, ordinal=ordinal, text=text, place=place, start=start)
            for chunk_id, ordinal, text, place, start in await self._engine.read(run)
        ]

    async def items(
        self, view: View, selection: Selection, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Item]:
        """Items."""
        check_limit(limit)
        before = read_cursor(cursor, tuple[float, int])
        if not askable(view, selection):
            return Page([])
        rows = await self._engine.read(lambda reading: _listed(reading, view, selection, limit + 1, before))
        page = page_of(rows, lambda last: (last[15], last[0]), limit)
        return Page([item_of(row[1:]) for row in page.items], page.next_cursor)

    async def namespaces(self, view: View, selection: Selection, *, limit: int = 1000) -> list[NamespaceInfo]:
        """Namespaces."""
        if not askable(view, selection):
            return []
        bound = bound_of(view, selection, limit=limit)
        rows = await self._engine.read(lambda reading: reading.execute(_SQL["listed_namespaces"], bound).fetchall())
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

        def run(transaction: Transaction) -> list[str]:
            gone = []
            for item_id in known:
                row = _row(transaction, view, item_id, space)
                if row is not None and view.writes(item_of(row[1:]).namespace):
                    transaction.execute(_SQL["drop_item"], (row[0],))
                    gone.append(item_id)
            return gone

        return await self._engine.write(run)

    async def erase(self, tenant: str, *, audience: str | None = None, space: str | None = None) -> int:
        """Forget everything."""
        if not findable(tenant, audience, space):
            return 0

        def run(transaction: Transaction) -> int:
            gone = transaction.execute(_SQL["erase"], (tenant, audience, space)).rowcount
            transaction.execute(_SQL["drop_namespaces"], (tenant, audience, space))
            return gone

        return await self._engine.write(run)

    async def bare(
        self, tenant: str, model: str, *, item_id: str | None = None, space: str = "", limit: int = 100
    ) -> list[Bare]:
        """Chunks without vectors."""
        if not findable(tenant, model, item_id, space):
            return []
        bound = (tenant, space, item_id, model, limit)
        rows = await self._engine.read(lambda reading: reading.execute(_SQL["bare"], bound).fetchall())
        return [Bare(*row) for row in rows]

    async def embed(self, tenant: str, model: str, vectors: Sequence[tuple[int, bytes]]) -> int:
        """Keep vectors."""

        def run(transaction: Transaction) -> int:
            return sum(
                transaction.execute(_SQL["embed"], (model, number, vector, tenant)).rowcount
                for number, vector in vectors
            )

        return await self._engine.write(run)

    async def forget_vectors(self, tenant: str, *, keep: str | None = None) -> int:
        """Throw vectors away."""

        def run(transaction: Transaction) -> int:
            transaction.execute(_SQL["vectors_dropped"], (tenant,))
            return transaction.execute(_SQL["forget_vectors"], (tenant, keep)).rowcount

        return await self._engine.write(run)

    async def sweep(self, *, limit: int = 1000) -> int:
        """Forget what has expired."""

        def run(transaction: Transaction) -> int:
            numbers = transaction.execute(_SQL["expired"], (transaction.now, limit)).fetchall()
            for number in numbers:
                transaction.execute(_SQL["drop_item"], number)
            return len(numbers)

        return await self._engine.write(run)


class _Known:
    """What has a draft's id already."""

    __slots__ = ("chunks", "digest", "kind", "namespace", "number", "place", "version")

    def __init__(self, row: Sequence[Any], space: str) -> None:
        self.number, self.place, self.version, self.digest, self.chunks, self.kind, scope, owner, name = row[:9]
        self.namespace = Namespace(name=name, scope=scope, owner=owner, space=space)


def _known(transaction: Transaction, view: View, draft: ItemDraft, row: ItemRow) -> _Known | None:
    """What is there, if the view may change it; what has expired makes room."""
    found = transaction.execute(
        _SQL["item_of"], (row.tenant, draft.namespace.space, draft.id, transaction.now)
    ).fetchone()
    if found is not None and found[9]:
        transaction.execute(_SQL["drop_item"], (found[0],))
        found = None
    version = 0 if found is None else found[2]
    if draft.version is not None and draft.version != version:
        raise MemoryConflict(f"{draft.id!r} has version {version}, not {draft.version}: read it again.")
    if found is None:
        return None
    known = _Known(found, draft.namespace.space)
    if not view.writes(known.namespace):
        raise MemoryConflict
    return known


def _put(transaction: Transaction, view: View, draft: ItemDraft, row: ItemRow) -> Kept:
    known = _known(transaction, view, draft, row)
    life = None if draft.ttl_s is None else transaction.now + draft.ttl_s
    if known is not None and draft.digest and known.digest == draft.digest and known.namespace == draft.namespace:
        if life is not None:
            transaction.execute(_SQL["longer_life"], (known.number, life))
        return Kept(id=draft.id, outcome="same", version=known.version)
    place = _use(transaction, row.tenant, draft.namespace)
    bound = {
        "tenant": row.tenant,
        "space": draft.namespace.space,
        "id": draft.id,
        "namespace": place,
        "kind": draft.kind,
        "title": draft.title,
        "source": draft.source,
        "metadata": row.metadata,
        "strategy": draft.strategy,
        "events": row.events,
        "at": draft.at,
        "now": transaction.now,
        "expires_at": life,
        "chunks": len(draft.chunks),
        "digest": draft.digest,
    }
    if known is None:
        (number,) = transaction.execute(_SQL["make_item"], bound).fetchone()
        _add(transaction, place, number, enumerate(draft.chunks))
        return Kept(id=draft.id, outcome="new", version=1, added=len(draft.chunks))
    staying = _staying(transaction, known, moves=known.place != place)
    transaction.execute(_SQL["change_item"], {**bound, "number": known.number})
    added = []
    for ordinal, chunk in enumerate(draft.chunks):
        numbers = staying.get(chunk.id)
        if numbers:
            number = numbers.pop()
            transaction.execute(_SQL["place_chunk"], (number, ordinal))
            transaction.execute(_SQL["place_text"], (number, chunk.start))
        else:
            added.append((ordinal, chunk))
    gone = [(number,) for numbers in staying.values() for number in numbers]
    transaction.connection.executemany(_SQL["drop_chunk"], gone)
    _add(transaction, place, known.number, added)
    removed = known.chunks - len(draft.chunks) + len(added)
    return Kept(id=draft.id, outcome="changed", version=known.version + 1, added=len(added), removed=removed)


def _staying(transaction: Transaction, known: _Known, *, moves: bool) -> dict[str, list[int]]:
    """The chunks that are there, the first of each name last; in another namespace none can stay."""
    staying: dict[str, list[int]] = {}
    for chunk_id, number in transaction.execute(_SQL["chunk_ids"], (known.number,)).fetchall():
        if moves:
            transaction.execute(_SQL["drop_chunk"], (number,))
        else:
            staying.setdefault(chunk_id, []).append(number)
    return staying


def _add(transaction: Transaction, namespace: int, item: int, chunks: Iterable[tuple[int, ChunkDraft]]) -> None:
    for ordinal, chunk in chunks:
        bound = (namespace, item, ordinal, len(chunk.terms))
        (number,) = transaction.execute(_SQL["add_chunk"], bound).fetchone()
        terms = " ".join(tokens_of(namespace, chunk.terms))
        transaction.execute(_SQL["add_text"], (number, chunk.id, chunk.text, chunk.place, chunk.start, terms))


def _use(transaction: Transaction, tenant: str, namespace: Namespace) -> int:
    bound = (tenant, namespace.space, namespace.scope, namespace.owner, namespace.audience, namespace.name)
    (number,) = transaction.execute(_SQL["use_namespace"], (*bound, transaction.now)).fetchone()
    return int(number)


def _row(reading: Reading | Transaction, view: View, item_id: str, space: str) -> Any:
    bound = {**seen_by(view), "id": item_id, "space": space, "now": reading.now}
    return reading.execute(_SQL["items_of"], bound).fetchone()


def _listed(
    reading: Reading, view: View, selection: Selection, limit: int, before: tuple[float, int] | None
) -> list[Any]:
    """The latest of each namespace, and of these the latest."""
    kinds = encode(selection.kinds, "Kinds").decode() if selection.kinds else None
    bound = {"kinds": kinds, "strategy": selection.strategy, "source": selection.source, "now": reading.now}
    found: list[Any] = []
    for namespace in reading.execute(_SQL["namespaces"], bound_of(view, selection)).fetchall():
        found += _listed_of(reading, {**bound, "namespace": namespace[0], "limit": limit}, selection, before)
        if len(found) > limit:
            found.sort(key=lambda row: (row[15], row[0]), reverse=True)
            del found[limit:]
    found.sort(key=lambda row: (row[15], row[0]), reverse=True)
    return found


def _listed_of(
    reading: Reading, bound: dict[str, Any], selection: Selection, before: tuple[float, int] | None
) -> list[Any]:
    found: list[Any] = []
    while True:
        at, number = before or (None, None)
        rows = reading.execute(_SQL["listed"], {**bound, "before_at": at, "before_number": number}).fetchall()
        found += [row for row in rows if not selection.filters or holds(selection.filters, decode(row[10]))]
        if len(rows) < bound["limit"] or len(found) >= bound["limit"]:
            return found
        before = rows[-1][15], rows[-1][0]
