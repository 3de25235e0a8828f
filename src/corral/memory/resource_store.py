"""The port of what is declared: memories with their strategies, runtimes with versions and endpoints, as small documents.

Implemented once per engine in `backends/<engine>/resources.py`, and proved by `corral.testing.contracts.resources`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from corral.errors import CorralError, NotFound
from corral.messages import Page


class ResourceNotFound(NotFound):
    """There is no such resource."""

    code = "resource_not_found"


class ResourceExists(CorralError):
    """A resource with this id or name exists already."""

    status = 409
    code = "resource_exists"


class ResourceConflict(CorralError):
    """The resource was changed by somebody else since it was read."""

    status = 409
    code = "resource_conflict"
    retryable = True


class ResourceDraft(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be declared."""

    kind: str
    """`memory`, `runtime`, `runtime-version`, …: ids are unique within a tenant's kind."""
    id: str
    body: Any
    """JSON."""
    parent: str = ""
    """The id of what it belongs to, and goes with."""
    name: str = ""
    """Taken once within a kind and a parent; empty: it has none."""
    ttl_s: float | None = None


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """Something declared."""

    kind: str
    id: str
    body: Any
    parent: str
    name: str
    revision: int
    """1 when it is created, and one more with each change."""
    created_at: float
    updated_at: float


class ResourceStore(Protocol):
    """Documents by tenant, kind and id. What has expired is not there, swept or not. Raises `StoreUnavailable`."""

    async def create(self, tenant: str, drafts: Sequence[ResourceDraft]) -> list[Resource]:
        """Declare all or none; durable when it returns. Raises `ResourceExists` for an id or a name that is taken."""
        ...

    async def save(self, tenant: str, draft: ResourceDraft) -> Resource:
        """Declare, or replace the body (and the time to live) of what has this id."""
        ...

    async def change(
        self, tenant: str, kind: str, resource_id: str, body: Any, *, revision: int, also: Sequence[ResourceDraft] = ()
    ) -> Resource:
        """Replace the body if the revision is still this one, and declare others in the same transaction.

        Raises `ResourceConflict` when somebody changed it meanwhile, `ResourceNotFound` when it is gone, and
        `ResourceExists` as `create` does; nothing was changed then.
        """
        ...

    async def get(self, tenant: str, kind: str, resource_id: str) -> Resource | None:
        """One of them."""
        ...

    async def find(
        self, tenant: str, kind: str, *, parent: str = "", limit: int = 100, cursor: str | None = None
    ) -> Page[Resource]:
        """Those of a kind that belong to `parent`, the latest created first."""
        ...

    async def delete(self, tenant: str, kind: str, resource_id: str) -> bool:
        """Remove it, and all whose parent it is. False: it was not there."""
        ...

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep at most `limit` that are past their time; returns how many went."""
        ...
