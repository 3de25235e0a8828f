"""What is declared, in PostgreSQL."""

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

    from corral.backends.postgres.engine import Engine
    from corral.errors import CorralError
    from corral.memory.resource_store import Resource, ResourceDraft

_SQL = read_queries(Path(__file__).with_name("resources.sql"))

_LAST = 2**63 - 1
_REFUSALS: dict[str, type[CorralError]] = {
    "gone": ResourceNotFound,
    "changed": ResourceConflict,
    "taken": ResourceExists,
}
_COLUMNS = ("kind", "id", "parent", "name", "body", "ttl_s")


class PostgresResources:
    """One row per document."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, tenant: str, drafts: Sequence[ResourceDraft]) -> list[Resource]:
        """Declare all or none."""
        (done,) = await self._engine.fetch_one(_SQL["create"], tenant, *_columns(tenant, drafts), again=False)
        if not done:
            raise ResourceExists
        return await self._made(tenant, drafts)

    async def save(self, tenant: str, draft: ResourceDraft) -> Resource:
        """Declare or replace."""
        bound = bound_of(tenant, draft)
        row = await self._engine.fetch_one(_SQL["save"], tenant, *(bound[name] for name in _COLUMNS))
        return resource_of(row)

    async def change(
        self, tenant: str, kind: str, resource_id: str, body: Any, *, revision: int, also: Sequence[ResourceDraft] = ()
    ) -> Resource:
        """Replace a body."""
        if not findable(tenant, kind, resource_id):
            raise ResourceNotFound
        known = (tenant, kind, resource_id, revision, encode(body, "The resource"))
        (refused,) = await self._engine.fetch_one(_SQL["change"], *known, *_columns(tenant, also), again=False)
        if refused:
            raise _REFUSALS[refused]
        changed = await self.get(tenant, kind, resource_id)
        if changed is None:  # it was removed in this very moment
            raise ResourceNotFound
        return changed

    async def get(self, tenant: str, kind: str, resource_id: str) -> Resource | None:
        """One of them."""
        if not findable(tenant, kind, resource_id):
            return None
        row = await self._engine.fetch_one(_SQL["get"], tenant, kind, resource_id)
        return None if row is None else resource_of(row)

    async def find(
        self, tenant: str, kind: str, *, parent: str = "", limit: int = 100, cursor: str | None = None
    ) -> Page[Resource]:
        """Those of a kind."""
        check_limit(limit)
        before = read_cursor(cursor, int)
        if not findable(tenant, kind, parent):
            return Page([])
        last = _LAST if before is None else max(min(before, _LAST), 0)
        rows = await self._engine.fetch(_SQL["list"], tenant, parent, kind, last, limit + 1)
        page = page_of([tuple(row) for row in rows], lambda row: row[-1], limit)
        return Page([resource_of(row) for row in page.items], page.next_cursor)

    async def delete(self, tenant: str, kind: str, resource_id: str) -> bool:
        """Remove."""
        if not findable(tenant, kind, resource_id):
            return False
        (gone,) = await self._engine.fetch_one(_SQL["delete"], tenant, kind, resource_id)
        return bool(gone)

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""
        (gone,) = await self._engine.fetch_one(_SQL["expire"], limit)
        return int(gone)

    async def _made(self, tenant: str, drafts: Sequence[ResourceDraft]) -> list[Resource]:
        kinds = list({draft.kind for draft in drafts})
        rows = await self._engine.fetch(_SQL["made"], tenant, kinds, [draft.id for draft in drafts])
        found = {(one.kind, one.id): one for one in (resource_of(row) for row in rows)}
        return [found[key] for draft in drafts if (key := (draft.kind, draft.id)) in found]


def _columns(tenant: str, drafts: Sequence[ResourceDraft]) -> list[list[Any]]:
    bounds = [bound_of(tenant, draft) for draft in drafts]
    return [[bound[name] for bound in bounds] for name in _COLUMNS]
