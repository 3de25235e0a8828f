"""How long a run waits for its model: to its deadline, and not a moment longer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from corral.agents.failing import TimeExceeded

if TYPE_CHECKING:
    from corral.clock import Clock


class Patience:
    """Whoever waits inside of a block of this is woken at the deadline, and the block raises `TimeExceeded`.

    One timer serves a whole run: `asyncio.timeout` would set one for each question. Blocks come one after the other.
    """

    __slots__ = ("_cancelling", "_clock", "_deadline", "_over", "_timer", "_waiting")

    def __init__(self, clock: Clock, deadline: float) -> None:
        """`deadline` is on the monotonic clock. No timer is set before the first block."""
        self._clock = clock
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._over = False

    def __enter__(self) -> None:
        task = self._waiting = asyncio.current_task()
        self._cancelling = 0 if task is None else task.cancelling()
        self._over = False
        if self._timer is None:
            left = max(0.0, self._deadline - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(left, self._end)

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        task, self._waiting = self._waiting, None
        if self._over and task is not None:
            # Not where somebody else wants the task to end as well.
            if task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
                raise late() from None
        elif isinstance(error, TimeoutError) and self.is_over:
            raise late() from None

    @property
    def is_over(self) -> bool:
        """Whether time is up."""
        return self._clock.monotonic() >= self._deadline

    def close(self) -> None:
        """The run waits for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        self._over = self._waiting is not None and self._waiting.cancel()


def late() -> TimeExceeded:
    """What is raised then."""
    return TimeExceeded("The model took longer than the agent may.")
