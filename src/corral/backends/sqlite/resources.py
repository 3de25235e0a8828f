"""What is declared, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import encode, findable
from corral.backends.queries import read_queries
from corral.backends.resource_rows import bound_of, resource_of
from corral.memory.resource_store import ResourceConflict, ResourceExists, ResourceNotFound
from corral.messages import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction
    from corral.memory.resource_store import Resource, ResourceDraft

_SQL = read_queries(Path(__file__).with_name("resources.sql"))

_LAST = 2**63 - 1


class SqliteResources:
    """One row per document."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, tenant: str, drafts: Sequence[ResourceDraft]) -> list[Resource]:
        """Declare all or none."""
        bounds = [bound_of(tenant, draft) for draft in drafts]
        return await self._engine.write(lambda transaction: _create(transaction, bounds))

    async def save(self, tenant: str, draft: ResourceDraft) -> Resource:
        """Declare or replace."""
        bound = bound_of(tenant, draft)

        def run(transaction: Transaction) -> Resource:
            return resource_of(transaction.execute(_SQL["save"], {**bound, "now": transaction.now}).fetchall()[0])

        return await self._engine.write(run)

    async def change(
        self, tenant: str, kind: str, resource_id: str, body: Any, *, revision: int, also: Sequence[ResourceDraft] = ()
    ) -> Resource:
        """Replace a body."""
        if not findable(tenant, kind, resource_id):
            raise ResourceNotFound
        bounds = [bound_of(tenant, draft) for draft in also]
        packed = encode(body, "The resource")

        def run(transaction: Transaction) -> Resource:
            bound = {"tenant": tenant, "kind": kind, "id": resource_id, "now": transaction.now, "body": packed}
            row = transaction.execute(_SQL["get"], bound).fetchone()
            if row is None:
                raise ResourceNotFound
            if resource_of(row).revision != revision:
                raise ResourceConflict
            _create(transaction, bounds)
            return resource_of(transaction.execute(_SQL["change"], bound).fetchall()[0])

        return await self._engine.write(run)

    async def get(self, tenant: str, kind: str, resource_id: str) -> Resource | None:
        """One of them."""
        if not findable(tenant, kind, resource_id):
            return None
        bound = {"tenant": tenant, "kind": kind, "id": resource_id}
        row = await self._engine.read(lambda view: view.execute(_SQL["get"], {**bound, "now": view.now}).fetchone())
        return None if row is None else resource_of(row)

    async def find(
        self, tenant: str, kind: str, *, parent: str = "", limit: int = 100, cursor: str | None = None
    ) -> Page[Resource]:
        """Those of a kind."""
        check_limit(limit)
        before = read_cursor(cursor, int)
        if not findable(tenant, kind, parent):
            return Page([])
        bound = {
            "tenant": tenant,
            "kind": kind,
            "parent": parent,
            "before": _LAST if before is None else max(min(before, _LAST), 0),
            "limit": limit + 1,
        }
        rows = await self._engine.read(lambda view: view.execute(_SQL["list"], {**bound, "now": view.now}).fetchall())
        page = page_of(rows, lambda last: last[-1], limit)
        return Page([resource_of(row) for row in page.items], page.next_cursor)

    async def delete(self, tenant: str, kind: str, resource_id: str) -> bool:
        """Remove."""
        if not findable(tenant, kind, resource_id):
            return False

        def run(transaction: Transaction) -> bool:
            bound = {"tenant": tenant, "kind": kind, "id": resource_id, "now": transaction.now}
            if not transaction.execute(_SQL["delete"], bound).rowcount:
                return False
            transaction.execute(_SQL["delete_children"], bound)
            return True

        return await self._engine.write(run)

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["expire"], {"now": transaction.now, "limit": limit}).rowcount
        )


def _create(transaction: Transaction, bounds: Sequence[dict[str, Any]]) -> list[Resource]:
    made = []
    for bound in bounds:
        full = {**bound, "now": transaction.now}
        transaction.execute(_SQL["drop_expired"], full)
        rows = transaction.execute(_SQL["create"], full).fetchall()
        if not rows:
            raise ResourceExists(f"There is {bound['kind']} {bound['name'] or bound['id']!r} already.")
        made.append(resource_of(rows[0]))
    return made
