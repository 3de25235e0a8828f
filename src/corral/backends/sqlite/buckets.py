"""Buckets and their objects, in SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.encoding import check_id, findable
from corral.backends.map_run_rows import object_of, object_row
from corral.backends.queries import read_queries
from corral.workflows.bucket_store import BucketNotFound, StoredBucket

if TYPE_CHECKING:
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.writer import Transaction
    from corral.workflows.bucket_store import StoredObject

_SQL = read_queries(Path(__file__).with_name("buckets.sql"))


class SqliteBuckets:
    """One row per bucket and per object."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, tenant: str, name: str, *, now: float) -> bool:
        """Make a bucket."""
        check_id("tenant", tenant)
        check_id("bucket", name)
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["create"], (tenant, name, now)).rowcount > 0
        )

    async def buckets(self, tenant: str, *, name: str | None = None) -> list[StoredBucket]:
        """Buckets by name."""
        if not findable(tenant, name):
            return []
        rows = await self._engine.read(lambda view: view.execute(_SQL["buckets"], (tenant, name)).fetchall())
        return [StoredBucket(name=row[0], created_at=row[1]) for row in rows]

    async def drop(self, tenant: str, name: str) -> bool:
        """Remove a bucket."""

        def write(transaction: Transaction) -> bool:
            if transaction.execute(_SQL["drop_bucket"], (tenant, name)).rowcount:
                return True
            _check_there(transaction, tenant, name)
            return False

        return await self._engine.write(write)

    async def put(self, tenant: str, one: StoredObject) -> StoredObject | None:
        """Keep an object."""
        row = object_row(tenant, one)

        def write(transaction: Transaction) -> StoredObject | None:
            _check_there(transaction, tenant, one.bucket)
            before = transaction.execute(_SQL["get"], (tenant, one.bucket, one.key)).fetchone()
            transaction.execute(_SQL["put"], row)
            return None if before is None else object_of(before)

        return await self._engine.write(write)

    async def get(self, tenant: str, bucket: str, key: str) -> StoredObject | None:
        """One object."""
        if not findable(tenant, bucket, key):
            return None
        bound = (tenant, bucket, key)
        row = await self._engine.read(lambda view: view.execute(_SQL["get"], bound).fetchone())
        return None if row is None else object_of(row)

    async def list(self, tenant: str, bucket: str, *, prefix: str, after: str, limit: int) -> list[StoredObject]:
        """Objects by key."""
        if not findable(tenant, bucket, prefix, after):
            return []
        bound = (tenant, bucket, prefix, after, limit)
        rows = await self._engine.read(lambda view: view.execute(_SQL["list"], bound).fetchall())
        return [object_of(row) for row in rows]

    async def delete(self, tenant: str, bucket: str, key: str) -> StoredObject | None:
        """Remove an object."""
        if not findable(tenant, bucket, key):
            return None

        def write(transaction: Transaction) -> StoredObject | None:
            bound = (tenant, bucket, key)
            before = transaction.execute(_SQL["get"], bound).fetchone()
            transaction.execute(_SQL["delete"], bound)
            return None if before is None else object_of(before)

        return await self._engine.write(write)


def _check_there(transaction: Transaction, tenant: str, name: str) -> None:
    if transaction.execute(_SQL["buckets"], (tenant, name)).fetchone() is None:
        raise BucketNotFound
