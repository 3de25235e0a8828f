"""Writes the audit down: in groups, off the road of the calls, without a secret, and without ever stopping a call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from corral.messages import AuditEntry
from corral.observability.metrics import Metrics
from corral.observability.redaction import redacted, redacted_text
from corral.security.counting import AuditCounting
from corral.security.store import AuditLog

_log = logging.getLogger("corral.security")

PENDING_MAX = 20_000
"""Entries that wait for the store; more than that go to the log instead."""
DETAILS_MAX = 4_096
"""Bytes of one entry's details, as JSON; of longer ones the beginning is kept as text."""
_REASON_MAX = 1_000
_GROUP_MAX = 500
_EVERY_S = 0.2
_PAUSE_S = 0.25
_PAUSE_MAX_S = 10.0
_DRAIN_S = 10.0
_encoder = msgspec.json.Encoder()


class AuditWriter:
    """A bounded line of entries, and a task that appends them. One event loop; it may be called from any thread.

    An entry that the store cannot take is never silently lost: it stands in the log, and is counted.
    """

    def __init__(
        self,
        log: AuditLog,
        metrics: Metrics | None = None,
        *,
        chance: Callable[[], float] = random.random,
        pending_max: int = PENDING_MAX,
    ) -> None:
        """`chance` gives numbers from 0 to 1: workers that lost one store together come back apart."""
        self._log = log
        self._counting = AuditCounting(metrics or Metrics())
        self._chance = chance
        self._pending_max = pending_max
        self._pending: deque[AuditEntry] = deque()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._writing = asyncio.Lock()
        self._failing = False
        self.written = 0
        self.dropped = 0
        """Entries that went to the log because the store was away for too long."""

    @property
    def pending(self) -> int:
        """Entries that are not written yet."""
        return len(self._pending)

    def __call__(self, entry: AuditEntry) -> None:
        """Write this down, soon. Never waits, and never raises. Secrets are masked here, before anything is kept."""
        entry = _clean(entry)
        self._counting.added(entry.action, entry.decision)
        if len(self._pending) >= self._pending_max:
            self._drop([self._pending.popleft()])
        self._pending.append(entry)
        if len(self._pending) == 1 and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # a loop that is closed writes nothing any more
                self._loop.call_soon_threadsafe(self._some.set)

    # -- life

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        if self._task is None:
            self._hurry.clear()
            self._loop = asyncio.get_running_loop()
            self._some.set()
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Write all that was added until now, as far as the store answers."""
        await self._write_all()

    async def stop(self) -> None:
        """Write what is left, and end. Calling it again does nothing."""
        task, self._task = self._task, None
        if task is None:
            return
        self._hurry.set()
        self._some.set()
        _, late = await asyncio.wait([task], timeout=_DRAIN_S)
        for one in late:
            one.cancel()
            await asyncio.wait([one])
        self._loop = None
        if self._pending:
            self._drop(list(self._pending))
            self._pending.clear()

    # -- inside

    async def _run(self) -> None:
        pause_s = _EVERY_S
        failures = 0
        while True:
            if not self._pending:
                await self._some.wait()
            self._some.clear()
            await self._rest(pause_s)  # others will come meanwhile
            written = await self._write_all()
            if self._hurry.is_set():
                return
            failures = 0 if written else failures + 1
            pause_s = _EVERY_S if written else self._pause_s(failures)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _pause_s(self, failures: int) -> float:
        return min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** min(failures, 10)) * (0.5 + self._chance() / 2)

    async def _write_all(self) -> bool:
        async with self._writing:  # one group at a time: the order is the order of what happened
            while self._pending:
                if not await self._write():
                    return False
            return True

    async def _write(self) -> bool:
        """Write one group; what the store does not take stays first in line."""
        group = [self._pending.popleft() for _ in range(min(_GROUP_MAX, len(self._pending)))]
        try:
            await self._log.append(group)
        except asyncio.CancelledError:
            self._put_back(group)
            raise
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed, and an entry is kept once
            self._put_back(group)
            level = logging.DEBUG if self._failing else logging.WARNING  # one warning per outage
            _log.log(level, "The audit cannot be written, %d entries wait: %s", len(self._pending), error)
            self._failing = True
            return False
        finally:
            self._counting.pending(len(self._pending))
        self.written += len(group)
        if self._failing:
            self._failing = False
            _log.info("The audit is written again.")
        return True

    def _put_back(self, group: list[AuditEntry]) -> None:
        room = max(0, self._pending_max - len(self._pending))
        if room < len(group):
            cut = len(group) - room
            self._drop(group[:cut])
            group = group[cut:]
        self._pending.extendleft(reversed(group))

    def _drop(self, entries: list[AuditEntry]) -> None:
        if not self.dropped:
            _log.error("The audit has no room for more entries: the oldest go to the log until the store answers.")
        self.dropped += len(entries)
        self._counting.dropped(len(entries))
        for entry in entries:
            _log.error("An entry of the audit is not in the store: %s", _encoder.encode(entry).decode())


def _clean(entry: AuditEntry) -> AuditEntry:
    """The entry without secrets, and no longer than entries may be. Never raises."""
    details = redacted(entry.details)
    try:
        raw = _encoder.encode(details)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        details = {"text": redacted_text(repr(details)[:DETAILS_MAX]).encode(errors="replace").decode()}
    else:
        if len(raw) > DETAILS_MAX:
            details = {"beginning": raw[:DETAILS_MAX].decode(errors="replace"), "bytes": len(raw)}
    shown: dict[str, Any] = details if isinstance(details, dict) else {"value": details}
    reason = redacted_text(entry.reason[:_REASON_MAX]).encode(errors="replace").decode()
    return msgspec.structs.replace(entry, details=shown, reason=reason)
