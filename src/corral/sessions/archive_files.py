"""The archive as files in a folder: for one machine, or many that share it."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from corral.errors import StoreUnavailable

T = TypeVar("T")


class FileArchive:
    """One file for each object. It is there whole or not at all, even after the power was cut."""

    def __init__(self, folder: Path) -> None:
        """The folder is made when something is first written. Where it is, is settled when it is first used."""
        self._folder = folder
        self.url = f"file://{folder}"

    async def put(self, name: str, body: bytes) -> None:
        """Write it beside its place, to the disk, and move it there."""
        await self._in_thread(lambda: _write(self._path(name), body))

    async def get(self, name: str) -> bytes | None:
        """Read it."""

        def read() -> bytes | None:
            try:
                return self._path(name).read_bytes()
            except FileNotFoundError:
                return None

        return await self._in_thread(read)

    async def delete(self, name: str) -> None:
        """Delete it, if it is there."""
        await self._in_thread(lambda: self._path(name).unlink(missing_ok=True))

    async def stop(self) -> None:
        """It holds nothing."""

    def _path(self, name: str) -> Path:
        self._folder = (
            self._folder.absolute()
        )  # whoever changes the working directory later does not change the archive
        return self._folder / name

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StoreUnavailable(
                f"The archive in {self._folder} cannot be used: {reason} (setting `sessions.tiers.archive`)."
            ) from error


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
