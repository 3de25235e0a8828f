"""Notices that a file of the project changed, for `corral dev`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_SUFFIXES = (".py", ".yaml", ".yml", ".md", ".env")
_SKIPPED = frozenset({".git", ".venv", "venv", ".corral", "__pycache__", "node_modules", ".mypy_cache", ".ruff_cache"})
_FILES_MAX = 20_000


class FileWatch:
    """Compares the project's files with how they were when last asked."""

    def __init__(self, folder: Path) -> None:
        """Remember how things are now."""
        self._folder = folder
        self._seen = dict(self._files())

    def changed(self) -> str:
        """The name of a file that changed, came or went since the last call; empty when none did."""
        now = dict(self._files())
        before, self._seen = self._seen, now
        for path in now.keys() | before.keys():
            if now.get(path) != before.get(path):
                return os.path.relpath(path, self._folder)
        return ""

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
