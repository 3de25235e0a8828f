"""Metrics of several workers as those of one server, through files in the server's run folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from corral.observability.metrics import Metrics

_PERIOD_S = 1.0
_ENDED = "ended.metrics"


class SharedMetrics:
    """This worker's metrics, and a way to see everybody's."""

    def __init__(self, metrics: Metrics, folder: Path | None, refresh: Callable[[], None]) -> None:
        """Without a folder there is only this process. `refresh` brings gauges up to date before each snapshot."""
        self._metrics = metrics
        self._refresh = refresh
        self._folder = folder
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to leave snapshots. Calling it again does nothing."""
        if self._folder is not None and self._thread is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._fold_ended()
            self._thread = threading.Thread(target=self._run, name="corral-metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Leave the counters behind, and end. Calling it again does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            thread.join()
            self._leave(counters_only=True)

    def render(self) -> bytes:
        """All workers' metrics."""
        if self._folder is None or self._thread is None:
            return self._metrics.render()
        everybody = self._metrics.empty_copy()
        everybody.add(self._metrics.snapshot())
        for path in self._others():
            self._add(everybody, path)
        return everybody.render()

    def _add(self, metrics: Metrics, path: Path) -> None:
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # removed meanwhile, or of another version
            metrics.add(path.read_bytes(), counters_only=not _alive(path))

    def _run(self) -> None:
        while not self._stopping.wait(_PERIOD_S):
            with contextlib.suppress(OSError):  # the disk is full: the next one may fit
                self._leave()

    def _leave(self, *, counters_only: bool = False) -> None:
        assert self._folder is not None  # noqa: S101 - the thread runs only with a folder
        self._refresh()
        draft = self._folder / f"{os.getpid()}.tmp"
        draft.write_bytes(self._metrics.snapshot(counters_only=counters_only))
        draft.replace(self._folder / f"{os.getpid()}.metrics")

    def _others(self) -> list[Path]:
        assert self._folder is not None  # noqa: S101 - as above
        own = f"{os.getpid()}.metrics"
        return [path for path in self._folder.glob("*.metrics") if path.name != own]

    def _fold_ended(self) -> None:
        """Put the counters of workers that ended into one file, so that files do not pile up."""
        assert self._folder is not None  # noqa: S101 - as above
        with _locked(self._folder / "lock"):
            ended = [path for path in self._others() if path.name != _ENDED and not _alive(path)]
            if not ended:
                return
            total = self._metrics.empty_copy()
            for path in [self._folder / _ENDED, *ended]:
                self._add(total, path)
            draft = self._folder / "ended.tmp"
            draft.write_bytes(total.snapshot(counters_only=True))
            draft.replace(self._folder / _ENDED)
            for path in ended:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _alive(path: Path) -> bool:
    try:
        os.kill(int(path.stem), 0)
    except (ValueError, OSError):
        return False
    return True
