"""Where items are read from and results are written to: objects in buckets, whoever keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import msgspec

from corral.workflows.distributed.faults import ObjectFailed


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a listing."""

    key: str
    size: int
    etag: str = ""
    modified_at: float = 0.0
    storage_class: str = "STANDARD"


class Objects(Protocol):
    """Objects by bucket and key. Every method raises `ObjectFailed` with words for the person who wrote the workflow."""

    def read(self, bucket: str, key: str, *, version: str = "", owner: str = "") -> AsyncIterator[bytes]:
        """The object, in pieces of any size, none of them large."""
        ...

    def list(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """All objects whose keys begin so, in order of their keys."""
        ...

    async def write(self, bucket: str, key: str, body: bytes, *, content_type: str) -> None:
        """Write an object, in place of the one that was there."""
        ...


class Shelves:
    """Which objects a `Resource` means: `arn:aws:states:::s3:getObject` those of S3, `corral:files:getObject` files."""

    def __init__(self, shelves: Mapping[str, Objects]) -> None:
        """By service: `s3`, `files`. One that is absent is refused with words."""
        self._shelves = dict(shelves)

    def of(self, resource: str) -> tuple[Objects, str]:
        """The objects, and what to do with them: `getObject`, `listObjectsV2` or `putObject`."""
        service, _, action = resource.rpartition(":")
        name = service.rpartition(":")[2]
        found = self._shelves.get(name)
        if found is None:
            hint = " Set `workflows.files_folder` to a folder." if name == "files" else ""
            raise ObjectFailed(f"Nothing here keeps the objects of {resource!r}.{hint}")
        return found, action
