"""Files that verbs write: whole or not at all, and never over somebody's work unasked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from corral.cli.failure import Failure


def write_file(path: Path, text: str) -> None:
    """Write a file in one step, and its folders."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        draft.write_text(text, encoding="utf-8")
        if path.exists():
            draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    except OSError as error:
        raise Failure(
            f"{path} cannot be written: {error.strerror}.", "Choose a place you may write to.", code="not_written"
        ) from None


def refuse_to_overwrite(paths: Iterable[Path], hint: str) -> None:
    """Raise when any of these is there already."""
    there = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if there:
        raise Failure(f"Nothing was written, because this is there already: {', '.join(there)}.", hint, code="exists")
