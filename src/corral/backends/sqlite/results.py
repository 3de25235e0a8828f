"""Carry what a database thread found out back to the event loops that wait for it, one wake-up per loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from corral.backends.lines import call_on

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Iterable

    from corral.sessions.event import SessionKey


class Job:
    """Something a loop asked a database thread to do, and what came of it."""

    __slots__ = ("abandoned", "error", "future", "loop", "result", "run", "woken")

    def __init__(self, run: Callable[[Any], Any], loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.future: Future[Any] = loop.create_future()
        self.run = run
        self.result: Any = None
        self.error: Exception | None = None
        self.woken: list[SessionKey] = []
        self.abandoned = False

    def give_up(self, error: Callable[[], Exception]) -> None:
        """Its caller waits no longer (called on its loop): if it has not begun by now, it never will."""
        self.abandoned = True
        if not self.future.done():
            self.future.set_exception(error())

    def fail(self, error: Exception) -> None:
        """It came to nothing; its caller is told why, and nobody is woken."""
        self.error = error
        self.woken = []


class Errand(Job):
    """Something that no loop asked for: nobody waits for what comes of it."""

    __slots__ = ()

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.run = run
        self.result = self.error = None
        self.woken = []
        self.abandoned = False


def deliver(jobs: Iterable[Job]) -> None:
    """Settle the futures of finished jobs, each on its own loop."""
    by_loop: dict[AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        if not isinstance(job, Errand):
            by_loop.setdefault(job.loop, []).append(job)
    for loop, finished in by_loop.items():
        call_on(loop, _settle, finished)


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future.done():  # Its caller was cancelled; what it asked for was done all the same.
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)
