"""The port of buckets: which objects there are, and under which name of the large values their bodies lie.

Implemented once per engine in `backends/<engine>/`, and proved by `corral.testing.contracts.buckets`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from corral.errors import NotFound


class BucketNotFound(NotFound):
    """The specified bucket does not exist"""  # noqa: D415 - S3's own words

    code = "no_such_bucket"


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it is kept: all but its body."""

    bucket: str
    key: str
    body: str
    """How the names of its pieces begin."""
    size: int
    pieces: int
    etag: str
    content_type: str = "binary/octet-stream"
    modified_at: float = 0.0


class StoredBucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket."""

    name: str
    created_at: float


class BucketStore(Protocol):
    """Buckets and their objects, by tenant. Every method may be called from many tasks at once."""

    async def create(self, tenant: str, name: str, *, now: float) -> bool:
        """Make a bucket; False: there is one of that name already."""
        ...

    async def buckets(self, tenant: str, *, name: str | None = None) -> list[StoredBucket]:
        """All buckets by name, or the one of that name."""
        ...

    async def drop(self, tenant: str, name: str) -> bool:
        """Remove a bucket; False: it has objects. Raises `BucketNotFound`."""
        ...

    async def put(self, tenant: str, one: StoredObject) -> StoredObject | None:
        """Keep an object; the one it takes the place of. Raises `BucketNotFound`."""
        ...

    async def get(self, tenant: str, bucket: str, key: str) -> StoredObject | None:
        """One object."""
        ...

    async def list(self, tenant: str, bucket: str, *, prefix: str, after: str, limit: int) -> list[StoredObject]:
        """Objects whose keys begin so and come behind `after`, by key."""
        ...

    async def delete(self, tenant: str, bucket: str, key: str) -> StoredObject | None:
        """Remove an object; what it was."""
        ...
