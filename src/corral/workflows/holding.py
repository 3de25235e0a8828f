"""Executions as this process wrote them last: it need not load one when it is the next to move it.

A memory and nothing more: somebody else may have moved the execution since. The revision finds that out when it is written, and
what is remembered is never believed where it says that a message changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

import msgspec

from corral.workflows.keeping import KeptFacts
from corral.workflows.machine.run import Facts, Frames
from corral.workflows.store import ExecutionRow

Key: TypeAlias = tuple[str, str]
"""Tenant and execution."""

_HELD_MAX = 4096
_HELD_BYTES_MAX = 64_000_000
_HELD_ONE_MAX = 1_000_000


class Held(msgspec.Struct, kw_only=True):
    """An execution as it was written last."""

    row: ExecutionRow
    kept: KeptFacts
    facts: Facts
    frames: Frames
    size: int
    """About how many bytes it takes."""
    weights: dict[str, int] = {}
    """How many of these each frame takes, by its id."""

    def weigh(self, frame: str, weight: int) -> None:
        """A frame takes so much now; 0: it is gone."""
        self.size += weight - self.weights.pop(frame, 0)
        if weight:
            self.weights[frame] = weight


class HeldExecutions:
    """The ones that were moved last, as many as there is room for."""

    def __init__(self) -> None:
        """None yet."""
        self._held: OrderedDict[Key, Held] = OrderedDict()
        self._bytes = 0

    def keep(self, key: Key, held: Held) -> None:
        """Remember it so."""
        self.take(key)
        if held.size > _HELD_ONE_MAX:
            return
        self._held[key] = held
        self._bytes += held.size
        while len(self._held) > _HELD_MAX or self._bytes > _HELD_BYTES_MAX:
            _, gone = self._held.popitem(last=False)
            self._bytes -= gone.size

    def take(self, key: Key) -> Held | None:
        """What is remembered, which is forgotten: whoever takes it is about to change it."""
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held.size
        return held

    def seen(self, row: ExecutionRow) -> None:
        """It stands so in the store: an older memory is of no use."""
        key = (row.tenant, row.id)
        held = self._held.get(key)
        if held is not None and held.row.revision < row.revision:
            self.take(key)
