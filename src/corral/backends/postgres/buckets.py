"""Buckets and their objects, in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.map_run_rows import object_of, object_row
from corral.backends.queries import read_queries
from corral.workflows.bucket_store import BucketNotFound, StoredBucket

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine
    from corral.workflows.bucket_store import StoredObject

_SQL = read_queries(Path(__file__).with_name("buckets.sql"))


class PostgresBuckets:
    """One row per bucket and per object."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, tenant: str, name: str, *, now: float) -> bool:
        """Make a bucket."""
        check_id("tenant", tenant)
        check_id("bucket", name)
        return await self._engine.fetch_one(_SQL["create"], tenant, name, now) is not None

    async def buckets(self, tenant: str, *, name: str | None = None) -> list[StoredBucket]:
        """Buckets by name."""
        if not findable(tenant, name):
            return []
        rows = await self._engine.fetch(_SQL["buckets"], tenant, name)
        return [StoredBucket(name=row[0], created_at=row[1]) for row in rows]

    async def drop(self, tenant: str, name: str) -> bool:
        """Remove a bucket."""
        if not findable(tenant, name):
            raise BucketNotFound
        if await self._engine.fetch_one(_SQL["drop_bucket"], tenant, name) is not None:
            return True
        if not await self.buckets(tenant, name=name):
            raise BucketNotFound
        return False

    async def put(self, tenant: str, one: StoredObject) -> StoredObject | None:
        """Keep an object."""
        row = await self._engine.fetch_one(_SQL["put"], *object_row(tenant, one))
        if row is None:
            raise BucketNotFound
        return None if row[0] is None else object_of(row)

    async def get(self, tenant: str, bucket: str, key: str) -> StoredObject | None:
        """One object."""
        if not findable(tenant, bucket, key):
            return None
        row = await self._engine.fetch_one(_SQL["get"], tenant, bucket, key)
        return None if row is None else object_of(row)

    async def list(self, tenant: str, bucket: str, *, prefix: str, after: str, limit: int) -> list[StoredObject]:
        """Objects by key."""
        if not findable(tenant, bucket, prefix, after):
            return []
        rows = await self._engine.fetch(_SQL["list"], tenant, bucket, prefix, after, limit)
        return [object_of(row) for row in rows]

    async def delete(self, tenant: str, bucket: str, key: str) -> StoredObject | None:
        """Remove an object."""
        if not findable(tenant, bucket, key):
            return None
        row = await self._engine.fetch_one(_SQL["delete"], tenant, bucket, key)
        return None if row is None else object_of(row)
