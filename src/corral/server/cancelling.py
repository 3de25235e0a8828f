"""Cancel an invocation that runs in another worker of the same server.

A balancer, or the kernel, gives the request to cancel to any worker. The one that has it leaves a note in the server's run folder;
the one that runs the invocation takes the note away. Notes are looked for only while something runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path

from corral.runtime.invocation import Invocations

_LOOK_S = 0.1
_TAKEN_S_MAX = 1.0


class CancelNotes:
    """The notes of one worker's server."""

    def __init__(self, run_folder: Path | None, invocations: Invocations) -> None:
        """Without a run folder there is no other worker."""
        self._folder = None if run_folder is None else run_folder / "cancel"
        self._invocations = invocations
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for notes. Calling it again does nothing."""
        if self._folder is not None and self._task is None:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look no longer. Calling it again does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def ask(self, tenant: str, request_id: str) -> bool:
        """Leave a note. True: a worker took it, and cancels the invocation."""
        if self._folder is None:
            return False
        note = self._folder / _name(tenant, request_id)
        await asyncio.to_thread(note.touch)
        for _ in range(int(_TAKEN_S_MAX / _LOOK_S * 2)):
            await asyncio.sleep(_LOOK_S / 2)
            if not await asyncio.to_thread(note.exists):
                return True
        await asyncio.to_thread(note.unlink, missing_ok=True)
        return False

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if len(self._invocations):
                with contextlib.suppress(OSError):  # the folder goes with the server
                    await self._take(await asyncio.to_thread(self._names))

    def _names(self) -> set[str]:
        assert self._folder is not None  # noqa: S101 - looked for only with a folder
        return {path.name for path in self._folder.iterdir()}

    async def _take(self, names: set[str]) -> None:
        if not names:
            return
        assert self._folder is not None  # noqa: S101 - as above
        for call in self._invocations:
            name = _name(call.context.tenant, call.context.request_id)
            if name in names:
                call.cancel("request")
                await asyncio.to_thread((self._folder / name).unlink, missing_ok=True)


def _name(tenant: str, request_id: str) -> str:
    return hashlib.blake2b(f"{tenant}\0{request_id}".encode(), digest_size=20).hexdigest()
