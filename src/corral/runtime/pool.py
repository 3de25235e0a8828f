"""A pool of threads that does not keep a process alive: a synchronous agent that never returns must not stop an exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

_Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class ThreadPool:
    """At most so many daemon threads, started when they are needed. Has of an executor what asyncio asks of one."""

    def __init__(self, threads_max: int, name: str) -> None:
        """`name` is what the threads are called in a debugger."""
        self._threads_max = threads_max
        self._name = name
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Run `fn(*args)` in a thread, as soon as one is free."""
        with self._starting:
            if self._closed:
                raise RuntimeError("The pool is closed: this worker is on its way out.")
            future: Future[Any] = Future()
            self._tasks.put((future, fn, args))
            if self._idle < self._tasks.qsize() and self._threads < self._threads_max:
                self._threads += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        return future

    def close(self) -> None:
        """Take nothing more. What waits is cancelled; what runs is left to itself."""
        with self._starting:
            self._closed = True
            waiting = []
            while not self._tasks.empty():
                waiting.append(self._tasks.get())
            for _ in range(self._threads):
                self._tasks.put(None)
        for task in waiting:
            if task is not None:
                task[0].cancel()

    def _work(self) -> None:
        while True:
            with self._starting:
                self._idle += 1
            task = self._tasks.get()
            with self._starting:
                self._idle -= 1
            if task is None:
                return
            future, fn, args = task
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args)
                except BaseException as error:  # noqa: BLE001 - carried to whoever waits
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del task, future, fn, args  # an idle thread must not keep the last call's values alive
