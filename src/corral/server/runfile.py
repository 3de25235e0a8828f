"""`.corral/run/<port>.json`: what runs here, for `corral status`, and the folder where workers share their metrics."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import msgspec

from corral.server.listener import url_of
from corral.version import VERSION


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """One server on this machine, as its file says."""

    pid: int
    host: str
    port: int
    target: str
    state: str
    workers: list[int]
    started_at: float
    version: str
    directory: str


class RunFile:
    """The file of this server, written anew whenever something changes and removed at its end."""

    def __init__(self, folder: Path, host: str, port: int, target: str) -> None:
        """Nothing is written yet; what an earlier server left behind under this port is cleared away."""
        self._path = folder.resolve() / f"{port}.json"
        self.folder = folder.resolve() / str(port)
        self._host = host
        self._port = port
        self._target = target
        self._started_at = time.time()
        self.remove()

    @property
    def url(self) -> str:
        """Where a person on this machine finds the server."""
        return url_of({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host), self._port)  # noqa: S104 - shown, not bound

    def write(self, state: str, workers: list[int]) -> None:
        """Say how things are, in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = RunningServer(
            pid=os.getpid(),
            host=self._host,
            port=self._port,
            target=self._target,
            state=state,
            workers=workers,
            started_at=self._started_at,
            version=VERSION,
            directory=str(Path.cwd()),
        )
        draft = self._path.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.encode(content))
        draft.replace(self._path)

    def remove(self) -> None:
        """The server is no more."""
        self._path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
