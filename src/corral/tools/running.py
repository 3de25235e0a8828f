"""The innermost part: one attempt to call the function, for as long as it may take and no longer."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from corral.tools.failing import ToolFailed
from corral.tools.stack import Use
from corral.tools.threads import Errand, ToolThreads

_GRACE_S = 0.5
"""Who is cancelled waits this long for a tool to clean up after itself."""


class Attempts:
    """Calls functions: asynchronous ones in a task of their own, plain ones in a thread."""

    def __init__(self, threads: ToolThreads, *, lost: Callable[[Use], None]) -> None:
        """`lost` is told of a call that was given up and goes on all the same."""
        self._threads = threads
        self._lost = lost
        self._going_on: set[asyncio.Task[Any]] = set()

    def once(self, use: Use, within_s: float) -> Awaitable[Any]:
        """The result. Raises what the tool raised, and `TimeoutError` once the time is over, whatever the tool does then."""
        if use.tool.blocking:
            return self._in_thread(use, within_s)
        return self._in_task(use, functools.partial(use.tool.invoke, use.arguments, use.call), within_s)

    async def _in_task(self, use: Use, begin: Callable[[], Awaitable[Any]], within_s: float) -> Any:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[bool] = loop.create_future()
        task: asyncio.Task[Any] = loop.create_task(_carried_out(begin, over))
        timer = loop.call_later(max(0.0, within_s), _settle, over, True)
        try:
            too_late = await over
        except BaseException:
            task.cancel()
            await asyncio.wait({task}, timeout=_GRACE_S)
            self._leave(use, task)
            raise
        finally:
            timer.cancel()
        if too_late:
            task.cancel()
            self._leave(use, task)
            raise Late
        if task.cancelled():
            raise ToolFailed(f"{use.tool.name} was cancelled from inside.", code="cancelled", retryable=True)
        return task.result()

    def _leave(self, use: Use, task: asyncio.Task[Any]) -> None:
        """It goes on, or cleans up: kept from being forgotten in the middle of that, and counted if it does not end."""
        if task.done():
            _seen(task)
            return
        self._going_on.add(task)
        loop = asyncio.get_running_loop()
        check = loop.call_later(_GRACE_S, lambda: task.done() or self._lost(use))

        def ended(_: asyncio.Task[Any]) -> None:
            check.cancel()
            self._going_on.discard(task)
            _seen(task)

        task.add_done_callback(ended)

    async def _in_thread(self, use: Use, within_s: float) -> Any:
        loop = asyncio.get_running_loop()
        tool = use.tool
        arguments, call = use.arguments, use.call
        errand = self._threads.send(lambda: tool.invoke(arguments, call))
        until = loop.time() + within_s

        def over() -> None:
            if not errand.outcome.done():
                errand.outcome.set_exception(Late())
                self._give_up(use, errand)

        timer = loop.call_later(max(0.0, within_s), over)
        try:
            result = await errand.outcome
        except asyncio.CancelledError:
            self._give_up(use, errand)
            raise
        finally:
            timer.cancel()
        if inspect.isawaitable(result):  # a plain function that hands on a coroutine
            return await self._in_task(use, lambda: result, until - loop.time())
        return result

    def _give_up(self, use: Use, errand: Errand) -> None:
        if self._threads.give_up(errand):
            self._lost(use)


class Late(TimeoutError):
    """Our own clock ended the call: not an error of the tool's."""


async def _carried_out(begin: Callable[[], Awaitable[Any]], over: asyncio.Future[bool]) -> Any:
    """Begin, and say in the last step that it is over: who waits wakes when the task has just ended."""
    try:
        return await begin()
    except SystemExit as error:  # raised inside of a task it would end the loop
        raise RuntimeError(f"The tool wanted to end the program: {error!r}") from error
    finally:
        _settle(over, False)


def _settle(over: asyncio.Future[bool], too_late: bool) -> None:
    if not over.done():
        over.set_result(too_late)


def _seen(task: asyncio.Task[Any]) -> None:
    """Look at its error, so that nobody is warned of one that nobody waited for any more."""
    if not task.cancelled():
        task.exception()
