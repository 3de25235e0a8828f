"""Buckets of our own: where workflows find items and leave results when no other storage is named."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable

from corral.clock import Clock
from corral.errors import CorralError, PayloadTooLarge
from corral.workflows.bucket_store import BucketNotFound, BucketStore, StoredBucket, StoredObject
from corral.workflows.distributed.children import Keep
from corral.workflows.distributed.faults import ObjectFailed
from corral.workflows.distributed.objects import ObjectInfo

PIECE = 1024 * 1024
_PAGE = 500


class BucketNotEmpty(CorralError):
    """The bucket you tried to delete is not empty"""  # noqa: D415 - S3's own words

    status = 409
    code = "bucket_not_empty"


class ObjectNotFound(CorralError):
    """The specified key does not exist."""

    status = 404
    code = "no_such_key"


class Buckets:
    """All buckets, by tenant. Bodies are kept in pieces, and an object is there as soon as all of them are."""

    def __init__(
        self, store: BucketStore, keep: Keep, *, object_max: int, clock: Clock, new_name: Callable[[], str]
    ) -> None:
        """`new_name` gives a name that nothing else has."""
        self._store = store
        self._keep = keep
        self._object_max = object_max
        self._clock = clock
        self._new_name = new_name

    async def create(self, tenant: str, name: str) -> bool:
        """Make a bucket; False: it is there."""
        return await self._store.create(tenant, name, now=self._clock.now())

    async def listed(self, tenant: str) -> list[StoredBucket]:
        """All buckets of a tenant."""
        return await self._store.buckets(tenant)

    async def check(self, tenant: str, name: str) -> None:
        """Raises `BucketNotFound`."""
        if not await self._store.buckets(tenant, name=name):
            raise BucketNotFound

    async def drop(self, tenant: str, name: str) -> None:
        """Remove a bucket. Raises `BucketNotFound`, `BucketNotEmpty`."""
        if not await self._store.drop(tenant, name):
            raise BucketNotEmpty

    async def put(self, tenant: str, bucket: str, key: str, body: bytes, *, content_type: str) -> StoredObject:
        """Write an object, in place of the one that was there. Raises `BucketNotFound`, `PayloadTooLarge`."""
        if len(body) > self._object_max:
            raise PayloadTooLarge(
                f"An object may have {self._object_max} bytes (`workflows.bucket_object_max_bytes`), not {len(body)}."
            )
        await self.check(tenant, bucket)
        name = f"bucket/{self._new_name()}/"
        pieces = max(1, -(-len(body) // PIECE))
        for number in range(pieces):
            await self._keep.put(tenant, f"{name}{number}", body[number * PIECE : (number + 1) * PIECE])
        one = StoredObject(
            bucket=bucket,
            key=key,
            body=name,
            size=len(body),
            pieces=pieces,
            etag=hashlib.md5(body, usedforsecurity=False).hexdigest(),
            content_type=content_type,
            modified_at=self._clock.now(),
        )
        try:
            before = await self._store.put(tenant, one)
        except CorralError:
            await self._keep.delete(tenant, name)
            raise
        if before is not None:
            await self._keep.delete(tenant, before.body)
        return one

    async def get(self, tenant: str, bucket: str, key: str) -> StoredObject:
        """An object without its body. Raises `BucketNotFound`, `ObjectNotFound`."""
        found = await self._store.get(tenant, bucket, key)
        if found is None:
            await self.check(tenant, bucket)
            raise ObjectNotFound
        return found

    async def body(self, tenant: str, one: StoredObject) -> AsyncIterator[bytes]:
        """Its body, in pieces. Raises `ObjectNotFound` where somebody wrote it anew meanwhile."""
        for number in range(one.pieces):
            piece = await self._keep.get(tenant, f"{one.body}{number}")
            if piece is None:
                raise ObjectNotFound
            yield piece

    async def page(self, tenant: str, bucket: str, *, prefix: str, after: str, limit: int) -> list[StoredObject]:
        """Objects by key. Raises `BucketNotFound`."""
        found = await self._store.list(tenant, bucket, prefix=prefix, after=after, limit=limit)
        if not found:
            await self.check(tenant, bucket)
        return found

    async def delete(self, tenant: str, bucket: str, key: str) -> None:
        """Remove an object; one that is not there is gone already."""
        gone = await self._store.delete(tenant, bucket, key)
        if gone is not None:
            await self._keep.delete(tenant, gone.body)

    def of(self, tenant: str) -> TenantObjects:
        """A tenant's objects, for items and results."""
        return TenantObjects(self, tenant)


class TenantObjects:
    """The objects of one tenant, as map runs read and write them."""

    def __init__(self, buckets: Buckets, tenant: str) -> None:
        """Nothing is asked before something is read."""
        self._buckets = buckets
        self._tenant = tenant

    async def read(self, bucket: str, key: str, *, version: str = "", owner: str = "") -> AsyncIterator[bytes]:
        """The object, in pieces. It has no versions, and its owner is the tenant."""
        del version, owner
        try:
            one = await self._buckets.get(self._tenant, bucket, key)
            async for piece in self._buckets.body(self._tenant, one):
                yield piece
        except (BucketNotFound, ObjectNotFound) as error:
            raise ObjectFailed(f"{error.message} ({bucket}/{key})") from error

    async def list(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """All objects whose keys begin so."""
        after = start_after
        try:
            while page := await self._buckets.page(self._tenant, bucket, prefix=prefix, after=after, limit=_PAGE):
                for one in page:
                    yield ObjectInfo(key=one.key, size=one.size, etag=one.etag, modified_at=one.modified_at)
                after = page[-1].key
        except BucketNotFound as error:
            raise ObjectFailed(f"{error.message} ({bucket})") from error

    async def write(self, bucket: str, key: str, body: bytes, *, content_type: str) -> None:
        """Write an object."""
        try:
            await self._buckets.put(self._tenant, bucket, key, body, content_type=content_type)
        except CorralError as error:
            raise ObjectFailed(f"{error.message} ({bucket}/{key})") from error
