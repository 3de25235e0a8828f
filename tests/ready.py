"""Files of SQLite with the schema in them: copied, because forty tests a second would each migrate one of their own."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from corral.backends.open import open_stores

_files: list[bytes] = []


def prepare() -> None:
    """Make the file that is copied. Called before any loop runs."""

    async def migrate(path: Path) -> None:
        stores = open_stores(f"sqlite:///{path}")
        await stores.start()
        await stores.stop()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ready.db"
        asyncio.run(migrate(path))
        _files[:] = [path.read_bytes()]


def ready_url(folder: Any, name: str = "corral.db") -> str:
    """The address of a store in this folder that is there, or that is empty and ready."""
    path = Path(folder) / name
    if not path.exists():
        path.write_bytes(_files[0])
    return f"sqlite:///{path}"
