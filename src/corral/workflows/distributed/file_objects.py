"""Objects that are files of one folder: its folders are buckets. Nothing outside of it is reached, by dots or by links."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from corral.workflows.distributed.faults import ObjectFailed
from corral.workflows.distributed.objects import ObjectInfo

PIECE = 256 * 1024
_PAGE = 1000


class FileObjects:
    """Files under a folder. A bucket is a folder in it, `.` the folder itself; a key is a path, with `/` on any system."""

    def __init__(self, folder: Path) -> None:
        """The folder need not exist yet."""
        self._folder = folder

    async def read(self, bucket: str, key: str, *, version: str = "", owner: str = "") -> AsyncIterator[bytes]:
        """The file, in pieces. It has no versions and no owner."""
        if version:
            raise ObjectFailed("Files have no versions: leave VersionId away.")
        del owner
        file = await asyncio.to_thread(self._open, bucket, key)
        try:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece
        finally:
            file.close()

    async def list(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """All files whose paths begin so."""
        found = await asyncio.to_thread(self._walk, bucket, prefix, start_after)
        while page := await asyncio.to_thread(lambda: list(itertools.islice(found, _PAGE))):
            for one in page:
                yield one

    async def write(self, bucket: str, key: str, body: bytes, *, content_type: str) -> None:
        """Write a file: it is whole or not there."""
        del content_type
        await asyncio.to_thread(self._write, bucket, key, body)

    def _place(self, bucket: str, key: str = "") -> Path:
        home = Path(os.path.realpath(self._folder))
        if not bucket or "\0" in bucket + key or Path(bucket).is_absolute() or Path(key).is_absolute():
            raise ObjectFailed(f"{bucket}/{key} is no place in the folder of workflows' files.")
        place = Path(os.path.realpath(home / bucket / key))
        if place != home and home not in place.parents:
            raise ObjectFailed(f"{bucket}/{key} lies outside of the folder of workflows' files.")
        return place

    def _open(self, bucket: str, key: str) -> IO[bytes]:
        place = self._place(bucket, key)
        try:
            return place.open("rb")
        except OSError as error:
            raise ObjectFailed(f"The file {bucket}/{key} cannot be read: {error.strerror}.") from error

    def _walk(self, bucket: str, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        home = self._place(bucket)
        if not home.is_dir():
            raise ObjectFailed(f"There is no folder {bucket!r} among workflows' files.")
        found: list[tuple[str, Path]] = []
        for folder, _, names in os.walk(home):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(home).as_posix()
                if key.startswith(prefix) and key > start_after and not path.is_symlink():
                    found.append((key, path))
        for key, path in sorted(found):
            try:
                seen = path.stat()
            except OSError:
                continue  # it went meanwhile
            yield ObjectInfo(key=key, size=seen.st_size, modified_at=seen.st_mtime)

    def _write(self, bucket: str, key: str, body: bytes) -> None:
        place = self._place(bucket, key)
        beside = place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(body)
            beside.replace(place)
        except OSError as error:
            raise ObjectFailed(f"The file {bucket}/{key} cannot be written: {error.strerror}.") from error
