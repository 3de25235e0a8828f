"""Puts checkpoints outside of the store as well: at the end of a file, or to an address. Who rewrites the store is found by them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from corral.behind import Behind
from corral.errors import CorralError, OutboundFailed
from corral.outbound.client import Outbound
from corral.security.store import Checkpoint
from corral.security.verifying import shown_checkpoint

_log = logging.getLogger("corral.security")

_PENDING_MAX = 1000
_EVERY_S = 0.2
_FINE = range(200, 300)
_encode = msgspec.json.Encoder().encode


class Anchoring:
    """A line of checkpoints on their way out. A place that is away is tried again; what finds no room is in the log."""

    def __init__(self, place: str, *, allow: Sequence[str] = (), chance: Callable[[], float] = random.random) -> None:
        """`place` is a file, or an address; `allow` as `Outbound` takes it. Raises `OutboundRefused` for an address that never will do."""
        self._place = place
        self._outbound = Outbound(allow) if "://" in place else None
        if self._outbound is not None:
            self._outbound.check(place, {})
        self._line: Behind[Checkpoint] = Behind(
            self._write if self._outbound is None else self._send,
            name=f"Checkpoints of the audit to {place.partition('?')[0]}",
            log=_log,
            every_s=_EVERY_S,
            pending_max=_PENDING_MAX,
            lost=_lost,
            chance=chance,
        )

    def add(self, one: Checkpoint) -> None:
        """Put it there, soon. Never waits, and never raises."""
        self._line.add(one)

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        await self._line.start()

    async def drain(self) -> None:
        """Put there what was added until now, as far as the place answers."""
        await self._line.drain()

    async def stop(self) -> None:
        """Put there what is left, and end. Calling it again does nothing."""
        await self._line.stop()
        if self._outbound is not None:
            await self._outbound.stop()

    async def _write(self, checkpoints: list[Checkpoint]) -> None:
        lines = b"".join(_line_of(one) for one in checkpoints)
        await asyncio.to_thread(_append, Path(self._place), lines)

    async def _send(self, checkpoints: list[Checkpoint]) -> None:
        assert self._outbound is not None  # noqa: S101 - made for an address
        headers = {"content-type": "application/x-ndjson"}
        try:
            answer = await self._outbound.post(self._place, b"".join(_line_of(one) for one in checkpoints), headers)
        except CorralError as error:
            raise OutboundFailed(f"{type(error).__name__}: {error}") from error
        if answer.status not in _FINE:
            raise OutboundFailed(f"it answered {answer.status}")


def _line_of(checkpoint: Checkpoint) -> bytes:
    return _encode(shown_checkpoint(checkpoint)) + b"\n"


def _append(path: Path, lines: bytes) -> None:
    """In one write, so that lines of several processes do not mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, lines)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lost(checkpoints: list[Checkpoint]) -> None:
    for one in checkpoints:
        _log.error("A checkpoint of the audit is in the store alone: %s", _line_of(one).decode().strip())
