"""Who did what, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.audit_rows import (
    bound,
    canonical_row,
    checkpoint_of,
    head_of,
    is_findable,
    link_of,
    page,
    prefixes,
    row_of,
    row_of_checkpoint,
)
from corral.backends.queries import read_queries
from corral.backends.sqlite.many_rows import ManyRows
from corral.messages import Page
from corral.security.chain import BEGINNING, link
from corral.security.store import AuditStretch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction
    from corral.messages import AuditEntry
    from corral.security.store import AuditHead, AuditLink, AuditPrefix, AuditQuery, AuditRecord, Checkpoint

_SQL = read_queries(Path(__file__).with_name("audit.sql"))
_APPEND = ManyRows(_SQL["append"])
_encode = msgspec.json.Encoder().encode


class SqliteAudit:
    """One row per entry; the one writer of the file numbers and chains them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def append(self, entries: Sequence[AuditEntry]) -> list[AuditStretch]:
        """Keep entries."""
        if not entries:
            return []
        rows = [row_of(entry) for entry in entries]
        return await self._engine.write(lambda transaction: _append(transaction, rows))

    async def entries(self, tenant: str, query: AuditQuery) -> Page[AuditRecord]:
        """A tenant's, the latest first."""
        asked = bound(tenant, query)
        if not is_findable(tenant, query):
            return Page([])
        return page(await self._rows("entries_of_run" if query.run_id else "entries", asked), query.limit)

    async def head(self, tenant: str) -> AuditHead | None:
        """Where a tenant stands."""
        rows = await self._rows("head", (tenant,))
        return head_of(rows[0]) if rows else None

    async def heads(self, *, after: str = "", limit: int = 1000) -> list[AuditHead]:
        """Where all stand."""
        return [head_of(row) for row in await self._rows("heads", (after, limit))]

    async def chain(self, tenant: str, *, after: int, limit: int = 1000) -> list[AuditLink]:
        """Entries as they are kept."""
        return [link_of(row) for row in await self._rows("chain", (tenant, after, limit))]

    async def seal(self, limit: int = 1000) -> int:
        """Chain what was there before."""
        return await self._engine.write(lambda transaction: _seal(transaction, limit))

    async def expired(self, *, before: float, limit: int = 1000) -> list[AuditPrefix]:
        """What may go."""
        return prefixes(await self._rows("old", (before, limit)), before)

    async def sweep(self, prefix: AuditPrefix, stub: Checkpoint | None) -> int:
        """Let it go."""

        def run(transaction: Transaction) -> int:
            if stub is not None:
                place = (stub.tenant, stub.number, stub.hash)
                if not transaction.execute(_SQL["place_stub"], place).rowcount:
                    return 0
                transaction.execute(_SQL["keep"], row_of_checkpoint(stub))
                transaction.execute(_SQL["sweep_checkpoints"], (stub.tenant, stub.number))
            return transaction.execute(_SQL["sweep"], (prefix.tenant, prefix.number)).rowcount

        return await self._engine.write(run)

    async def keep(self, checkpoint: Checkpoint) -> bool:
        """Keep one."""
        row = row_of_checkpoint(checkpoint)
        return bool(await self._engine.write(lambda transaction: transaction.execute(_SQL["keep"], row).rowcount))

    async def checkpoints(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[Checkpoint]:
        """What keys said."""
        return [checkpoint_of(row) for row in await self._rows("checkpoints", (tenant, after, limit))]

    async def _rows(self, name: str, asked: dict[str, Any] | tuple[Any, ...]) -> list[tuple[Any, ...]]:
        def run(view: View) -> list[tuple[Any, ...]]:
            return view.execute(_SQL[name], asked).fetchall()

        return await self._engine.read(run)


def _append(transaction: Transaction, rows: list[tuple[Any, ...]]) -> list[AuditStretch]:
    execute = transaction.execute
    begun: dict[str, tuple[int, bytes, int]] = {}
    heads: dict[str, tuple[int, bytes, int]] = {}
    chained_rows: list[tuple[Any, ...]] = []
    for row in _unknown(transaction, rows):
        tenant, digest = row[0], row[13]
        before = heads.get(tenant)
        if before is None:
            before = begun[tenant] = execute(_SQL["standing"], (tenant,)).fetchone() or (0, BEGINNING, 0)
        last, own, chained = before
        number, in_chain = last + 1, chained == last
        if in_chain:
            own, chained = link(own, number, digest), number
        chained_rows.append((*row[:13], number, own if in_chain else b""))
        heads[tenant] = (number, own, chained)
    _APPEND.insert(transaction.connection, chained_rows)
    for tenant, head in heads.items():
        execute(_SQL["stand"], (tenant, *head))
    return [_stretch(tenant, begun[tenant], head) for tenant, head in heads.items() if head[0] == head[2]]


def _stretch(tenant: str, begun: tuple[int, bytes, int], head: tuple[int, bytes, int]) -> AuditStretch:
    """What was chained here: from where the tenant stood to where it stands now."""
    (after, before, _), (number, own, _) = begun, head
    return AuditStretch(tenant=tenant, after=after, before=before, number=number, hash=own)


def _unknown(transaction: Transaction, rows: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Those that are not kept yet, each once: a group whose answer was lost comes again."""
    asked: dict[str, dict[str, None]] = {}
    for tenant, entry_id, *_ in rows:
        asked.setdefault(tenant, {})[entry_id] = None
    seen: set[tuple[str, str]] = set()
    for tenant, ids in asked.items():
        found = transaction.execute(_SQL["known"], (tenant, _encode(list(ids)).decode()))
        seen.update((tenant, entry_id) for (entry_id,) in found)
    for row in rows:
        if row[:2] not in seen:
            seen.add(row[:2])
            yield row


def _seal(transaction: Transaction, limit: int) -> int:
    execute = transaction.execute
    head = execute(_SQL["unsealed"]).fetchone()
    if head is None:
        return 0
    tenant, chained, own = head
    rows = execute(_SQL["to_seal"], (tenant, chained, limit)).fetchall()
    for number, *kept in rows:
        details, digest = canonical_row(kept)
        own, chained = link(own, number, digest), number
        execute(_SQL["seal"], (tenant, number, details, own))
    execute(_SQL["sealed"], (tenant, chained, own))
    return len(rows)
