"""Notice that the client has gone, without a task per request where the server tells us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from corral.server.http import ClientGone, Receive, Request


class ClientWatch:
    """Calls back once when the client leaves before `close`."""

    __slots__ = ("_callback", "_connection", "_task", "gone")

    def __init__(self, request: Request, callback: Callable[[], object]) -> None:
        """Start to watch. The request's body has been read by now."""
        self.gone = False
        self._callback = callback
        connection = self._connection = request.scope.get("corral.connection")
        if connection is not None:
            connection.on_lost(self._lost)
        else:  # another ASGI server: the only way to know is to wait for its message
            self._task: asyncio.Task[None] | None = asyncio.create_task(self._wait(request.receive))

    def _lost(self) -> None:
        self.gone = True
        self._callback()

    async def _wait(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._task = None
                self._lost()
                return

    def close(self) -> None:
        """Watch no longer."""
        self._callback = _nobody  # who is called back usually holds this: a request's memory is free at once, not when cycles are looked for
        if self._connection is not None:
            self._connection.forget()
        elif self._task is not None:
            self._task.cancel()
            self._task = None


def _nobody() -> None:
    """Watched no longer."""


@contextmanager
def while_there(request: Request) -> Iterator[None]:
    """The block ends when the client leaves, without a word but to who counts."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs is run by a task

    def end() -> None:
        task.cancel()

    watch = ClientWatch(request, end)
    try:
        yield
    except asyncio.CancelledError:
        if not watch.gone:
            raise
        request.failure = ClientGone()
    finally:
        watch.close()
