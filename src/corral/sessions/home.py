"""The loop a session's store lives on, reached from wherever the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from corral.errors import CorralError, StoreUnavailable

T = TypeVar("T")

_ANSWER_S_MAX = 60.0
"""A loop that does not answer for so long is not running any more."""


class Home:
    """Runs store calls on one loop: directly from that loop, bridged from any other loop or thread."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        """The running loop is home."""
        self._loop = asyncio.get_running_loop()

    def run(self, call: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Await `call`, from any loop."""
        return call if asyncio.get_running_loop() is self._loop else self._bridged(call)

    async def _bridged(self, call: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._submit(call))

    def run_blocking(self, call: Coroutine[Any, Any, T]) -> T:
        """Wait for `call` in a thread. On the loop's own thread it would wait for itself, so there it is refused."""
        if _running_loop() is self._loop:
            call.close()
            raise CorralError(
                "`session.sync` blocks, and this is the event loop's own thread: in async code await the session's own "
                "methods (`await context.session.messages()`)."
            )
        future = self._submit(call)
        try:
            return future.result(_ANSWER_S_MAX)
        except TimeoutError:
            if not future.cancel():
                raise
            raise StoreUnavailable("The event loop of this worker does not answer.") from None

    def _submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(call, self._loop)
        except RuntimeError:
            call.close()
            raise StoreUnavailable("The worker has stopped; its sessions cannot be reached any more.") from None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
