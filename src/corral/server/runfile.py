"""`.corral/run/<port>.json`: what runs here, for `corral status`, and the folder where workers share their metrics."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from corral.server.address import url_of
from corral.version import VERSION

_WORKER = "worker-"


class RunFile:
    """The file of this server, written anew whenever something changes and removed at its end."""

    def __init__(self, folder: Path, host: str, port: int, target: str, role: str = "all") -> None:
        """Nothing is written yet; what an earlier server left behind under this port is cleared away.

        Without a port (0) the file is named after the process, and what processes that died left behind goes.
        """
        folder = folder.resolve()
        if not port:
            _clear_after_the_dead(folder)
        name = str(port) if port else f"{_WORKER}{os.getpid()}"
        self._path = folder / f"{name}.json"
        self.folder = folder / name
        self._role = role
        self._host = host
        self._port = port
        self._target = target
        self._started_at = time.time()
        self.remove()

    @property
    def url(self) -> str:
        """Where a person on this machine finds the server; empty: nowhere."""
        if not self._port:
            return ""
        return url_of({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host), self._port)  # noqa: S104 - shown, not bound

    def write(self, state: str, workers: list[int]) -> None:
        """Say how things are, in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {  # as `corral.server.found` reads it
            "pid": os.getpid(),
            "host": self._host,
            "port": self._port,
            "target": self._target,
            "state": state,
            "workers": workers,
            "started_at": self._started_at,
            "version": VERSION,
            "directory": str(Path.cwd()),
            "role": self._role,
        }
        draft = self._path.with_suffix(".tmp")
        draft.write_bytes(json.dumps(content).encode())
        draft.replace(self._path)

    def remove(self) -> None:
        """The server is no more."""
        self._path.unlink(missing_ok=True)
        _clear(self.folder)


def _clear_after_the_dead(folder: Path) -> None:
    """Nobody will take the name of a process that was killed, as the next server takes its port."""
    for path in folder.glob(f"{_WORKER}*.json"):
        pid = path.stem.removeprefix(_WORKER)
        if pid.isdigit() and not is_alive(int(pid)):
            path.unlink(missing_ok=True)
            _clear(folder / path.stem)


def _clear(folder: Path) -> None:
    if folder.is_dir():
        import shutil  # noqa: PLC0415 - with its archives it would be a tenth of a supervisor's memory

        shutil.rmtree(folder, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
