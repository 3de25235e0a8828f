"""What a running job says: pieces of its stream and its progress, as few events as the store's pace asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from corral.jobs.job import EventKind, JobEventDraft

if TYPE_CHECKING:
    from corral.jobs.grouping import Grouping
    from corral.jobs.running import RunningJob

_log = logging.getLogger("corral.jobs")

_TEXT_MAX_BYTES = 65_536
"""Text is joined into events of up to about this size."""
_AHEAD_MAX_BYTES = 1_048_576
"""A job may be this far ahead of the store."""
_PROGRESS_S = 0.1
"""Progress is written about so often; what is said in between and not last is never seen."""


class _Progress(msgspec.Struct):
    fraction: float
    message: str


class Pieces:
    """The events of one run that are not written yet."""

    def __init__(self, job: RunningJob, events: Grouping[Pieces, bool]) -> None:
        """`events` writes what `take` gives it."""
        self._job = job
        self._events = events
        self._texts: list[bytes] = []
        self._texts_bytes = 0
        self._waiting: list[JobEventDraft] = []
        self._waiting_bytes = 0
        self._sending: list[JobEventDraft] = []
        self._is_queued = False
        self._progress: _Progress | None = None
        self._progress_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._announced = job.claimed.attempt == 1
        self._room: asyncio.Event | None = None
        self._then: Callable[[], None] | None = None

    async def say(self, data: bytes) -> None:
        """Append a piece, JSON text. Texts are joined while the store is busy. Waits only when it is far behind."""
        if data[:1] == b'"':
            if self._texts_bytes + len(data) > _TEXT_MAX_BYTES:
                self._seal()
            self._texts.append(data[1:-1])
            self._texts_bytes += len(data)
        else:
            self._append("piece", data)
        self._queue()
        while self._waiting_bytes > _AHEAD_MAX_BYTES:
            if self._room is None:
                self._room = asyncio.Event()
            self._room.clear()
            await self._room.wait()

    def emit(self, kind: EventKind, data: bytes) -> None:
        """Append an event of another kind."""
        self._append(kind, data)
        self._queue()

    def progress(self, fraction: float, message: str) -> None:
        """Note how far the job is."""
        self._progress = _Progress(min(1.0, max(0.0, float(fraction))), message)
        if self._timer is None:
            rest = self._progress_at + _PROGRESS_S - self._job.now()
            if rest <= 0:
                self._progress_due()
            else:
                self._timer = asyncio.get_running_loop().call_later(rest, self._progress_due)

    def close(self, then: Callable[[], None]) -> None:
        """Call `then` once everything is written: at once where nothing is left."""
        if self._progress is not None:
            self._progress_due()
        if self._is_queued:
            self._then = then
        else:
            then()

    # -- for the writer ----------------------------------------------------------------------------------------------

    def take(self) -> list[JobEventDraft]:
        """All that is to be written now. Taken again before it was answered, it is the same and what came since."""
        self._seal()
        self._sending += self._waiting
        self._waiting.clear()
        return self._sending

    def _answered(self, answer: bool | Exception) -> None:
        self._is_queued = False
        self._sending = []
        self._waiting_bytes = sum(len(draft.data) for draft in self._waiting)
        if self._room is not None:
            self._room.set()
        if isinstance(answer, Exception):
            _log.warning("Job %s said what the store does not take: %s", self._job.id, answer)
        elif not answer:
            self._job.lose()
        if self._waiting or self._texts:
            self._queue()
        elif self._then is not None:
            then, self._then = self._then, None
            then()

    def _progress_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        said, self._progress = self._progress, None
        if said is not None:
            self._progress_at = self._job.now()
            self.emit("progress", msgspec.json.encode(said))

    def _seal(self) -> None:
        """Make one event of the texts so far."""
        if self._texts:
            data = b'"' + b"".join(self._texts) + b'"'
            self._texts.clear()
            self._texts_bytes = 0
            self._append("piece", data)

    def _append(self, kind: EventKind, data: bytes) -> None:
        if self._texts:
            self._seal()
        claim = self._job.claim
        if not self._announced:
            # Readers of earlier pieces start afresh here. Whether there were any is not worth asking the store for.
            self._announced = True
            self._waiting.append(JobEventDraft(claim, "attempt", b'{"attempt":%d}' % self._job.claimed.attempt))
        self._waiting.append(JobEventDraft(claim, kind, data))
        self._waiting_bytes += len(data)

    def _queue(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            self._events.put(self, self._answered)
