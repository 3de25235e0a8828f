"""Metrics of several workers as those of one server, through files in the server's run folder.

Each worker leaves its numbers there, about once a second; whichever worker is asked adds the others' to its own. The sums never
fall from one answer to the next, whoever gives it, because Prometheus would take that for a restart:

- who answers leaves its own numbers first, so that the next one to answer knows them;
- the counters of workers that ended stay. The next worker to start puts them together into one file, which also lists what it
  contains: killed in between, it counts nothing twice. Who reads meanwhile waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from corral.clock import new_span_id
from corral.observability.families import Family, added_up, counters, decode, encode, to_text
from corral.observability.metrics import Metrics

_PERIOD_S = 1.0
_SUFFIX = ".metrics"


class Ended(msgspec.Struct, array_like=True):
    """What workers left behind that are no more."""

    workers: list[str] = []
    """Whose numbers are in here, as long as their files may still be there."""
    families: list[Family] = []


_decode_ended = msgspec.msgpack.Decoder(Ended).decode


class SharedMetrics:
    """This worker's metrics, and a way to see everybody's."""

    def __init__(self, metrics: Metrics, folder: Path | None, refresh: Callable[[], None]) -> None:
        """Without a folder there is only this process. `refresh` brings gauges up to date before they are read."""
        self._metrics = metrics
        self._refresh = refresh
        self._folder = folder
        self._name = f"{os.getpid()}-{new_span_id()}"
        self._alive: int | None = None
        self._leaving = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to leave numbers for others. Calling it again does nothing."""
        if self._folder is not None and self._thread is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Held as long as this worker lives: a process id alone may be another process's by tomorrow.
            self._alive = os.open(self._folder / f"{self._name}.alive", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX)
            self._put_ended_together(self._folder)
            self._leave(self._folder)
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, args=(self._folder,), name="corral-metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Leave the counters behind, and end. Calling it again does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None and self._folder is not None and self._alive is not None:
            self._stopping.set()
            thread.join()
            self._leave(self._folder)
            os.close(self._alive)
            self._alive = None

    def render(self) -> bytes:
        """All workers' metrics. Reads and writes files: not on the event loop."""
        if self._folder is None or self._thread is None:
            self._refresh()
            return self._metrics.render()
        mine = self._leave(self._folder)
        others: list[list[Family]] = []
        with contextlib.suppress(OSError), _locked(self._folder, fcntl.LOCK_SH):  # without a folder: mine alone
            others = list(self._others(self._folder))
        return to_text(added_up([mine, *others]))

    def _run(self, folder: Path) -> None:
        while not self._stopping.wait(_PERIOD_S):
            self._leave(folder)

    def _leave(self, folder: Path) -> list[Family]:
        with self._leaving:
            self._refresh()
            families = self._metrics.families()
            with contextlib.suppress(OSError):  # the disk is full, or the folder gone: the next one may be written
                _write(folder / f"{self._name}{_SUFFIX}", encode(families))
            return families

    def _others(self, folder: Path) -> Iterator[list[Family]]:
        ended = _read_ended(folder)
        yield ended.families
        for path in folder.glob(f"*-*{_SUFFIX}"):
            if path.stem != self._name and path.stem not in ended.workers:
                families = _read(path)
                yield families if _lives(path) else counters(families)

    def _put_ended_together(self, folder: Path) -> None:
        with _locked(folder, fcntl.LOCK_EX):
            ended = _read_ended(folder)
            paths = [path for path in folder.glob(f"*-*{_SUFFIX}") if path.stem != self._name and not _lives(path)]
            new = [path for path in paths if path.stem not in ended.workers]
            if new:
                families = added_up([ended.families, *(counters(_read(path)) for path in new)])
                _write(folder / "ended", encode(Ended([path.stem for path in paths], families)))
            for path in paths:
                path.unlink(missing_ok=True)
                path.with_suffix(".alive").unlink(missing_ok=True)


def _read(path: Path) -> list[Family]:
    try:
        return decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):  # of another version: its numbers cannot be read
        return []


def _read_ended(folder: Path) -> Ended:
    try:
        return _decode_ended((folder / "ended").read_bytes())
    except (OSError, msgspec.MsgspecError):  # nobody has ended yet, or under another version
        return Ended()


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_bytes(data)
    draft.replace(path)


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, how)
        yield


def _lives(path: Path) -> bool:
    """Whether the worker that wrote this still holds its lock."""
    try:
        with path.with_suffix(".alive").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
