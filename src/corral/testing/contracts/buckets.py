"""What a `BucketStore` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from corral.errors import ValidationFailed
from corral.testing.contracts.setting import Contract
from corral.workflows.bucket_store import BucketNotFound, StoredObject

if TYPE_CHECKING:
    from corral.backends.stores import Stores

ONE = StoredObject(bucket="b", key="a/1", body="o-1", size=3, pieces=1, etag="e", modified_at=10.0)


class BucketContract(Contract):
    """Objects by bucket and key."""

    async def test_buckets_are_made_once_and_go_when_they_are_empty(self, stores: Stores, other_stores: Stores) -> None:
        assert await stores.buckets.create("acme", "b", now=5.0)
        assert not await other_stores.buckets.create("acme", "b", now=6.0)
        assert await stores.buckets.create("acme", "a", now=7.0)
        assert [one.name for one in await stores.buckets.buckets("acme")] == ["a", "b"]
        assert [one.created_at for one in await stores.buckets.buckets("acme", name="b")] == [5.0]
        assert await stores.buckets.buckets("other") == []
        assert await stores.buckets.buckets("acme", name="\0") == []
        await stores.buckets.put("acme", ONE)
        assert not await stores.buckets.drop("acme", "b")
        await stores.buckets.delete("acme", "b", "a/1")
        assert await stores.buckets.drop("acme", "b")
        for name in ("b", "\0"):
            with pytest.raises(BucketNotFound):
                await stores.buckets.drop("acme", name)

    async def test_an_object_takes_the_place_of_another(self, stores: Stores, other_stores: Stores) -> None:
        with pytest.raises(BucketNotFound):
            await stores.buckets.put("acme", ONE)
        await stores.buckets.create("acme", "b", now=5.0)
        assert await stores.buckets.put("acme", ONE) is None
        newer = msgspec.structs.replace(ONE, body="o-2", size=4)
        assert await other_stores.buckets.put("acme", newer) == ONE
        assert await stores.buckets.get("acme", "b", "a/1") == newer
        assert await stores.buckets.get("other", "b", "a/1") is None
        assert await stores.buckets.get("acme", "b", "\0") is None
        with pytest.raises(ValidationFailed):
            await stores.buckets.put("acme", msgspec.structs.replace(ONE, key="\0"))
        assert await stores.buckets.delete("other", "b", "a/1") is None
        assert await stores.buckets.delete("acme", "b", "a/1") == newer
        assert await stores.buckets.delete("acme", "b", "a/1") is None
        assert await stores.buckets.delete("acme", "b", "\0") is None

    async def test_objects_are_listed_by_key(self, stores: Stores) -> None:
        await stores.buckets.create("acme", "b", now=5.0)
        for key in ("b", "a/2", "a/10", "a/1", "a", "A", "a/\U0010ffff", "ä"):
            await stores.buckets.put("acme", msgspec.structs.replace(ONE, key=key))

        async def keys(prefix: str = "", after: str = "", limit: int = 100) -> list[str]:
            found = await stores.buckets.list("acme", "b", prefix=prefix, after=after, limit=limit)
            return [one.key for one in found]

        assert await keys() == ["A", "a", "a/1", "a/10", "a/2", "a/\U0010ffff", "b", "ä"]
        assert await keys("a/") == ["a/1", "a/10", "a/2", "a/\U0010ffff"]
        assert await keys("a/", "a/10", 1) == ["a/2"]
        assert await keys("x") == []
        assert await keys("\0") == []
