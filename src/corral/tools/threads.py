"""Threads for tools that are plain functions. One that hangs is given up: its thread counts no more, and another takes its place."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from corral.tools.failing import ToolFailed


class Errand:
    """One call in a thread: ended, or given up by who waited for it."""

    __slots__ = ("_context", "_fn", "_lock", "_loop", "begun", "given_up", "outcome")

    def __init__(self, fn: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._fn = fn
        self._context = contextvars.copy_context()
        self._loop = loop
        self._lock = threading.Lock()
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self.begun = False
        self.given_up = False

    def begin(self) -> bool:
        """Whether it is still wanted; from here on it is under way."""
        with self._lock:
            self.begun = not self.given_up
            return self.begun

    def give_up(self) -> bool:
        """Nobody waits any more. True: a thread is in the middle of it."""
        with self._lock:
            self.given_up = True
            return self.begun

    def run(self) -> None:
        """Do it, and tell who waits."""
        try:
            result, error = self._context.run(self._fn), None
        except BaseException as raised:  # noqa: BLE001 - carried to who waits
            ours = isinstance(raised, Exception) and not isinstance(raised, StopIteration)
            # The others would mean something else to who waits: that the program ends, that he himself was cancelled.
            result, error = None, raised if ours else RuntimeError(f"The tool raised {raised!r}.")
        if not self.given_up:
            try:
                self._loop.call_soon_threadsafe(self._tell, result, error)
            except RuntimeError:
                return  # the loop has ended: nobody waits any more

    def _tell(self, result: Any, error: BaseException | None) -> None:
        if self.outcome.done():
            return
        if error is None:
            self.outcome.set_result(result)
        else:
            self.outcome.set_exception(error)


class ToolThreads:
    """At most so many threads at work, and at most so many given up. They are daemons: none of them keeps a process alive."""

    def __init__(
        self, threads_max: int = 40, *, given_up_max: int = 100, changed: Callable[[int], None] | None = None
    ) -> None:
        """Threads start when they are needed. `changed` is told how many are given up; any thread may call it."""
        self._changed = changed
        self._threads_max = threads_max
        self._given_up_max = given_up_max
        self._errands: SimpleQueue[Errand | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self.given_up = 0
        """Threads that are still in the middle of a call that nobody waits for."""

    def send(self, fn: Callable[[], Any]) -> Errand:
        """Call `fn` in a thread, with the caller's context variables; await the errand's `outcome`.

        Raises `ToolFailed` when too many threads hang in calls that were given up.
        """
        if self.given_up >= self._given_up_max:
            raise ToolFailed(
                f"{self.given_up} threads hang in tools that never returned, and no more are started: give those tools "
                "timeouts of their own, and restart this worker.",
                code="unavailable",
            )
        errand = Errand(fn, asyncio.get_running_loop())
        with self._lock:
            self._errands.put(errand)
            if self._idle < self._errands.qsize() and self._threads < self._threads_max:
                self._start()
        return errand

    def give_up(self, errand: Errand) -> bool:
        """Nobody waits for this one any more. True: its thread is lost until the function returns."""
        errand.outcome.cancel()
        if not errand.give_up():
            return False
        with self._lock:
            self._count(1)
            self._threads -= 1
            if self._idle < self._errands.qsize():
                self._start()
        return True

    def close(self) -> None:
        """End idle threads; one in the middle of a call is left to itself."""
        with self._lock:
            for _ in range(self._threads):
                self._errands.put(None)

    def _count(self, more: int) -> None:
        self.given_up += more
        if self._changed is not None:
            self._changed(self.given_up)

    def _start(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name="corral-tool", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            errand = self._errands.get()
            with self._lock:
                self._idle -= 1
                if errand is None:
                    self._threads -= 1
                    return
            if errand.begin():
                errand.run()
                with self._lock:
                    if errand.given_up:  # another thread has this one's place
                        self._count(-1)
                        return
            del errand  # an idle thread must not keep the last call's values alive
