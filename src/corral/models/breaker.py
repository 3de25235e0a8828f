"""A breaker: who fails again and again is left alone for a while, then tried by one call."""

from __future__ import annotations

from typing import Literal

State = Literal["closed", "open", "half_open"]

_RATE = 0.5
_RATE_CALLS = 20
"""Of the last so many calls, this share may fail before the deployment is left alone."""
_LAST_CALLS = (1 << _RATE_CALLS) - 1


class Breaker:
    """Closed, it lets every call pass. Open, none. Half open, one at a time, whose end decides.

    Who asks takes a pass with `enter`, and says with it how it went. Passes from before the last change of state change
    nothing any more: a slow failure from yesterday does not open a breaker that a probe has just closed.
    """

    __slots__ = (
        "_era",
        "_in_a_row",
        "_most",
        "_pause_s",
        "_probing",
        "_recent",
        "_recent_count",
        "opened_at",
        "reason",
    )

    def __init__(self, *, failures: int, pause_s: float) -> None:
        """Opens after `failures` in a row, or when half of the last twenty failed; for `pause_s`."""
        self._most = failures
        self._pause_s = pause_s
        self._era = 0
        self._in_a_row = 0
        self._recent = 0
        """The last calls, one bit each: 1 for a failure."""
        self._recent_count = 0
        self._probing = False
        self.opened_at: float | None = None
        """When it opened; none: it is closed."""
        self.reason = ""

    def state(self, now: float) -> State:
        """What it does with the next call."""
        if self.opened_at is None:
            return "closed"
        return "half_open" if now - self.opened_at >= self._pause_s else "open"

    def allows(self, now: float) -> bool:
        """Whether `enter` would let a call pass. Changes nothing."""
        if self.opened_at is None:
            return True
        return not self._probing and now - self.opened_at >= self._pause_s

    def wait_s(self, now: float) -> float:
        """How long it stays shut; 0: it does not, or a probe is under way."""
        return 0.0 if self.opened_at is None else max(0.0, self._pause_s - (now - self.opened_at))

    def enter(self, now: float) -> int | None:
        """A pass for one call, to be handed to exactly one of the three below; none: leave it alone."""
        if self.opened_at is None:
            return self._era
        if not self.allows(now):
            return None
        self._probing = True
        self._era += 1
        return self._era

    def succeeded(self, era: int) -> None:
        """It answered: that it did not like the question is an answer too."""
        if era != self._era:
            return
        if self.opened_at is not None:
            self._close()
            return
        self._in_a_row = 0
        if (
            self._recent or self._recent_count < _RATE_CALLS
        ):  # else the last calls went well, and one more changes nothing
            self._note(0)

    def failed(self, era: int, now: float, reason: str) -> None:
        """It did not answer."""
        if era != self._era:
            return
        self.reason = reason
        if self.opened_at is not None:
            self._open(now)
            return
        self._in_a_row += 1
        self._note(1)
        if self._in_a_row >= self._most or (
            self._recent_count >= _RATE_CALLS and self._recent.bit_count() >= _RATE * _RATE_CALLS
        ):
            self._open(now)

    def left(self, era: int) -> None:
        """The call ended without saying anything about the deployment: the next one may try."""
        if era == self._era:
            self._probing = False

    def _note(self, bit: int) -> None:
        self._recent = (self._recent << 1 | bit) & _LAST_CALLS
        if self._recent_count < _RATE_CALLS:
            self._recent_count += 1

    def _open(self, now: float) -> None:
        self.opened_at = now
        self._probing = False
        self._era += 1

    def _close(self) -> None:
        self.opened_at = None
        self.reason = ""
        self._probing = False
        self._in_a_row = self._recent = self._recent_count = 0
        self._era += 1
