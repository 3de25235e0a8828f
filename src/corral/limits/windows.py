"""The arithmetic of a limit per window of time: what all workers know together, and what one of them may take of it.

What was taken lies in cells of time, of which a window has many. A cell counts until the last moment of it is a whole window
ago; so in no window, wherever it begins, is more taken than the limit allows, and at most one cell's worth less.
"""

from __future__ import annotations

import math

import msgspec

CELLS = 128
"""Of a window: a limit is kept to within the 128th part of its time."""

_encode = msgspec.msgpack.Encoder().encode


class Window(msgspec.Struct, array_like=True):
    """What was taken of one limit by whom it is counted for."""

    cells: list[tuple[int, float]] = []
    """Number of a cell of time, and what was taken in it; the oldest first. What is below zero was given back late."""

    def encoded(self) -> bytes:
        """As it is kept."""
        return _encode(self)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker wants of a window."""

    need: float = 0.0
    """For what waits now: this, or nothing."""
    want: float = 0.0
    """With what will come soon. Not less than `need`."""
    back: float = 0.0
    """Taken before, and not used; below zero: used, and not taken."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What it gets."""

    amount: float = 0.0
    used: float = 0.0
    """Taken by all, with this."""
    wait_s: float | None = None
    """What is needed is free after so long; none: it was granted, or it is more than the limit ever allows."""
    reset_s: float = 0.0
    """Until nothing counts any more of what counts now."""


decode_window = msgspec.msgpack.Decoder(Window).decode


def taken(window: Window, ask: Ask, *, limit: float, window_s: float, now: float) -> tuple[Window, Grant]:
    """A window after an ask, and what came of it. `now` is the store's."""
    cell_s = window_s / CELLS
    number = math.floor(now / cell_s)
    oldest = number - CELLS
    # A clock that was set back a little forgets nothing; one that was set back by windows begins anew.
    cells = [(at, amount) for at, amount in window.cells if oldest <= at <= number + CELLS]
    if cells:
        number = max(number, cells[-1][0])
    if ask.back:
        _add(cells, number, -ask.back)
    used = max(0.0, sum(amount for _, amount in cells))
    free = limit - used
    if ask.need > free:
        wait_s = _free_after(cells, ask.need - free, cell_s, now) if ask.need <= limit else None
        return Window(cells), Grant(used=used, wait_s=wait_s, reset_s=_reset_s(cells, cell_s, now))
    amount = min(max(ask.want, ask.need), free)
    if amount > 0:
        _add(cells, number, amount)
    return Window(cells), Grant(amount=amount, used=used + amount, reset_s=_reset_s(cells, cell_s, now))


def _add(cells: list[tuple[int, float]], number: int, amount: float) -> None:
    """What is given back is taken off the newest cells: it was taken a moment ago."""
    while amount < 0 and cells and cells[-1][1] > 0:
        at, there = cells[-1]
        if there > -amount:
            cells[-1] = (at, there + amount)
            return
        amount += there
        cells.pop()
    if amount > 0:
        if cells and cells[-1][0] == number:
            amount += cells.pop()[1]
        cells.append((number, amount))


def _free_after(cells: list[tuple[int, float]], missing: float, cell_s: float, now: float) -> float:
    """How long until so much more is free, if nobody takes anything."""
    for at, amount in cells:
        missing -= amount
        if missing <= 0:
            return max(0.0, _counts_until(at, cell_s) - now)
    return 0.0


def _reset_s(cells: list[tuple[int, float]], cell_s: float, now: float) -> float:
    return max(0.0, _counts_until(cells[-1][0], cell_s) - now) if cells else 0.0


def _counts_until(at: int, cell_s: float) -> float:
    return (at + CELLS + 1) * cell_s
