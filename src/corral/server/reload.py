"""Notices that a file of the project changed, for `corral dev`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_SUFFIXES = (".py", ".yaml", ".yml", ".md", ".env")
_SKIPPED = frozenset({".git", ".venv", "venv", ".corral", "__pycache__", "node_modules", ".mypy_cache", ".ruff_cache"})
_FILES_MAX = 20_000
_PAUSE_S = 0.25
_QUIET_S = 0.05
"""Editors and `git checkout` write in several steps: a change counts when nothing more has happened for this long."""
_QUIET_ROUNDS_MAX = 20
_SHARE_MAX = 20
"""Looking takes at most one part in this many of the time."""


class FileWatch:
    """Compares the project's files with how they were when last asked."""

    def __init__(self, folder: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        """Remember how things are now. `sleep` is called between looks while files are being written."""
        self._folder = folder
        self._sleep = sleep
        self.pause_s = _PAUSE_S
        """How long to wait before the next look: longer where there is much to look at."""
        self._seen = self._look()

    def changed(self) -> str:
        """The name of a file that changed, came or went since the last call; empty when none did."""
        found = self._difference()
        if found:
            for _ in range(_QUIET_ROUNDS_MAX):
                self._sleep(_QUIET_S)
                if not self._difference():
                    break
        return found

    def _difference(self) -> str:
        before, self._seen = self._seen, self._look()
        for path in self._seen.keys() | before.keys():
            if self._seen.get(path) != before.get(path):
                return os.path.relpath(path, self._folder)
        return ""

    def _look(self) -> dict[str, tuple[int, int]]:
        started = time.perf_counter()
        found = dict(self._files())
        self.pause_s = max(_PAUSE_S, (time.perf_counter() - started) * _SHARE_MAX)
        return found

    def _files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        count = 0
        folders = [str(self._folder)]
        while folders:
            try:
                entries = list(os.scandir(folders.pop()))
            except OSError:
                continue  # removed while we looked
            for entry in entries:
                if entry.name in _SKIPPED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.name.endswith(_SUFFIXES):
                    count += 1
                    if count > _FILES_MAX:
                        return
                    try:
                        status = entry.stat()
                    except OSError:
                        continue  # as above
                    yield entry.path, (status.st_mtime_ns, status.st_size)
