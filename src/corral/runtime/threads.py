"""Where agents run that must not hold up the event loop: threads for synchronous ones, a second loop for the rest."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

from corral.runtime.pool import ThreadPool

_AHEAD_MAX = 64
"""A stream may run this many values ahead of its reader."""
_JOIN_S_MAX = 1.0
"""How long to wait at the end for what runs on the isolated loop."""


class AgentThreads:
    """A bounded pool of threads for synchronous agents, and one loop in its own thread for isolated async ones."""

    def __init__(self, threads_max: int) -> None:
        """Threads start when they are first needed."""
        self._pool = ThreadPool(threads_max, "corral-agent")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._isolated: threading.Thread | None = None
        self._starting = threading.Lock()

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run `fn` in a thread, with the caller's context variables."""
        return await asyncio.wrap_future(self._pool.submit(contextvars.copy_context().run, _call, fn, args))

    def iterate(self, source: Iterator[Any]) -> AsyncIterator[Any]:
        """Read a synchronous iterator in one thread, from first value to last, so that its thread-locals hold."""
        return _Pump(source, self._pool).values()

    async def call_isolated(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run a coroutine function on the loop of its own: what blocks there does not block `/ping`."""
        context = contextvars.copy_context()

        async def run() -> Any:
            # A task made with a context keeps it, which a plain threadsafe call would lose.
            return await asyncio.get_running_loop().create_task(_survived(fn(*args)), context=context)

        ended = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._isolated_loop()))
        if isinstance(ended, _Exit):
            raise ended.error
        return ended

    async def iterate_isolated(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Read an asynchronous iterator on the loop of its own, a bounded number of values ahead."""
        bridge = _Bridge(source, self._isolated_loop())
        try:
            while True:
                is_value, item = await bridge.arrived.get()
                if is_value:
                    bridge.taken()
                    yield item
                elif item is None:
                    return
                else:
                    raise item
        finally:
            bridge.close()

    def _isolated_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._isolated = threading.Thread(target=_run, args=(self._loop,), name="corral-isolated", daemon=True)
                self._isolated.start()
            return self._loop

    async def stop(self) -> None:
        """End idle threads; a thread in the middle of a user's call is left to finish on its own."""
        self._pool.close()
        loop, thread = self._loop, self._isolated
        if loop is not None and thread is not None:
            self._loop = self._isolated = None
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.to_thread(thread.join, _JOIN_S_MAX)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, end what is left on it, and close it."""
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_JOIN_S_MAX))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


class _Exit:
    """`sys.exit()` in an agent, as a value: raised inside of a task it would end the loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _survived(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        return _Exit(error)


def _call(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return fn(*args)
    except StopIteration as error:  # a future cannot carry it, and would hang its waiter
        raise RuntimeError("The agent raised StopIteration.") from error


class _Bridge:
    """Reads an asynchronous iterator on another loop and hands its values home: (is it a value?, value or error).

    One task reads from first value to last, so that an agent never finds itself in another task's context.
    """

    def __init__(self, source: AsyncIterator[Any], away: asyncio.AbstractEventLoop) -> None:
        self.arrived: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()
        self._source = source
        self._home = asyncio.get_running_loop()
        self._away = away
        self._context = contextvars.copy_context()
        self._room = asyncio.Semaphore(_AHEAD_MAX)  # used on the other loop only, so it binds to that one
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        away.call_soon_threadsafe(self._start)

    def taken(self) -> None:
        """Say that a value was taken, so that there is room for another one."""
        self._away.call_soon_threadsafe(self._room.release)

    def close(self) -> None:
        """Stop reading, and have the source closed."""
        self._closed = True
        with suppress(RuntimeError):  # the other loop has ended, and all that ran there with it
            self._away.call_soon_threadsafe(self._cancel)

    def _start(self) -> None:
        self._task = self._away.create_task(self._read(), context=self._context)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _read(self) -> None:
        end: BaseException | None = None
        try:
            try:
                async for value in self._source:
                    await self._room.acquire()
                    if self._closed:
                        break
                    self._hand_over(True, value)
            finally:
                if (close := getattr(self._source, "aclose", None)) is not None:
                    await close()
        except BaseException as error:  # noqa: BLE001 - carried to the reader, who raises it if there still is one
            end = error
        self._hand_over(False, end)

    def _hand_over(self, is_value: bool, item: Any) -> None:
        with suppress(RuntimeError):  # the worker's loop has ended: nobody reads any more
            self._home.call_soon_threadsafe(self.arrived.put_nowait, (is_value, item))


class _Pump:
    """Carries values from a synchronous iterator in a thread to a reader on the loop, several per wake-up."""

    def __init__(self, source: Iterator[Any], pool: ThreadPool) -> None:
        self._source = source
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._values: deque[Any] = deque()
        self._room = threading.Semaphore(_AHEAD_MAX)
        self._arrived = asyncio.Event()
        self._waking = False
        self._stopped = False
        self._done = False
        self._error: BaseException | None = None

    async def values(self) -> AsyncIterator[Any]:
        """Yield what the iterator yields; raise what it raises; close it when the reader leaves."""
        self._pool.submit(contextvars.copy_context().run, self._read)
        try:
            while True:
                while self._values:
                    value = self._values.popleft()
                    self._room.release()
                    yield value
                if self._done and not self._values:
                    break
                await self._arrived.wait()
                self._arrived.clear()
            if self._error is not None:
                raise self._error
        finally:
            self._stopped = True
            self._room.release()

    def _read(self) -> None:
        try:
            for value in self._source:
                self._room.acquire()
                if self._stopped:
                    break
                self._values.append(value)
                self._wake()
        except BaseException as error:  # noqa: BLE001 - carried to the reader, who raises it
            self._error = error
        finally:
            self._close()
            self._done = True
            self._wake()

    def _close(self) -> None:
        if isinstance(self._source, Generator):
            try:
                self._source.close()
            except BaseException as error:  # noqa: BLE001 - carried to the reader, who raises it
                self._error = self._error or error

    def _wake(self) -> None:
        # One wake-up carries all values that came before the loop got round to it.
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._woken)
            except RuntimeError:
                self._stopped = True  # the loop is closed: nobody reads any more

    def _woken(self) -> None:
        self._waking = False
        self._arrived.set()
