"""Writes the audit down: in groups, off the road of the calls, without a secret, and without ever stopping a call."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from corral.behind import Behind
from corral.messages import AuditEntry
from corral.observability.metrics import Metrics
from corral.observability.redaction import redacted, redacted_text
from corral.security.counting import AuditCounting
from corral.security.store import AuditLog, AuditStretch

_log = logging.getLogger("corral.security")

PENDING_MAX = 20_000
"""Entries that wait for the store; more than that go to the log instead."""
DETAILS_MAX = 4_096
"""Bytes of one entry's details, as JSON; of longer ones the beginning is kept as text."""
_REASON_MAX = 1_000
_EVERY_S = 0.2
_encoder = msgspec.json.Encoder()


class AuditWriter:
    """The line in which entries stand until the store has them. May be called from any thread.

    An entry that the store cannot take is never silently lost: it stands in the log, and is counted.
    """

    def __init__(
        self,
        log: AuditLog,
        metrics: Metrics | None = None,
        *,
        written: Callable[[list[AuditEntry], Sequence[AuditStretch]], None] | None = None,
        chance: Callable[[], float] = random.random,
        pending_max: int = PENDING_MAX,
    ) -> None:
        """`written` is told what the store has, and what it says of the chain. `chance` gives numbers from 0 to 1: workers that lost one store together come back apart."""
        self._log = log
        self._written = written
        self._counting = AuditCounting(metrics or Metrics())
        self.line: Behind[AuditEntry] = Behind(
            self._write,
            name="The audit",
            log=_log,
            every_s=_EVERY_S,
            pending_max=pending_max,
            lost=self._lost,
            moved=self._counting.pending,
            chance=chance,
        )

    def __call__(self, entry: AuditEntry) -> None:
        """Write this down, soon. Never waits, and never raises. Secrets are masked here, before anything is kept."""
        entry = _clean(entry)
        self._counting.added(entry.action, entry.decision)
        self.line.add(entry)

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        await self.line.start()

    async def drain(self) -> None:
        """Write all that was added until now, as far as the store answers."""
        await self.line.drain()

    async def stop(self) -> None:
        """Write what is left, and end. Calling it again does nothing."""
        await self.line.stop()

    async def _write(self, entries: list[AuditEntry]) -> None:
        chained = await self._log.append(entries)
        if self._written is not None:
            self._written(entries, chained)

    def _lost(self, entries: list[AuditEntry]) -> None:
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
    reason = redacted_text(entry.reason[:_REASON_MAX]).encode(errors="replace").decode() if entry.reason else ""
    return msgspec.structs.replace(entry, details=shown, reason=reason)
