"""An execution from start to end in this process: its tasks are called directly, its waits pass on the loop, nothing is stored."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.workflows.failing import RUNTIME, TASK_FAILED, StateFailed
from corral.workflows.language.definition import Machine
from corral.workflows.machine.happening import MapRunEnded, Message, Started, TaskFailed, Woken
from corral.workflows.machine.moves import tell
from corral.workflows.machine.order import CancelTask, StartMapRun, StartTask
from corral.workflows.machine.run import Ended, Facts, Frames, HistoryEvent, Run

LIMIT_S = 300.0
"""How long an express execution may take."""

AT_ONCE_S = 0.02
"""How long one execution keeps the loop from everybody else, but for a single expression that takes longer."""

HISTORY_KEPT = 25_000
"""Events of one execution that are kept in memory: its first ones, and its end."""

CallTask = Callable[[StartTask, Facts], Awaitable[Message]]
"""Does a task, and says how it ended; it may as well raise `StateFailed`."""

_log = logging.getLogger("corral.workflows")


async def run(
    machine: Machine,
    facts: Facts,
    call_task: CallTask,
    *,
    clock: Clock = SYSTEM_CLOCK,
    limit_s: float = LIMIT_S,
    threads: Executor | None = None,
    new_secret: Callable[[], str] = secrets.token_urlsafe,
    chance: Callable[[], float] = random.random,
) -> tuple[Ended, list[HistoryEvent]]:
    """Run a machine, and tell how it ended and what happened. Cancelled, it stops its tasks and leaves nothing behind.

    `threads` think about expressions that may take long; none: this thread does.
    """
    limit_s = min(limit_s, machine.timeout_seconds or limit_s)
    bounded = msgspec.structs.replace(machine, timeout_seconds=limit_s)
    one = Run(facts, Frames(), new_secret=new_secret, chance=chance)
    express = _Express(one, bounded, call_task, clock, threads)
    try:
        return await express.run(), express.history
    finally:
        await express.close()


class _Express:
    """One of them while it runs."""

    def __init__(self, run: Run, machine: Machine, call_task: CallTask, clock: Clock, threads: Executor | None) -> None:
        self._run = run
        self._machine = machine
        self._call_task = call_task
        self._clock = clock
        self._threads = threads
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._news: deque[Message] = deque([Started()])
        self._heard = asyncio.Event()
        self._due: list[tuple[float, str]] = []
        self.history: list[HistoryEvent] = []

    async def run(self) -> Ended:
        """From start to end."""
        while True:
            while self._news:
                message = self._news.popleft()
                if self._threads is None:
                    self._tell(message)
                else:
                    await asyncio.get_running_loop().run_in_executor(self._threads, self._tell, message)
                self._heed()
                if self._run.ended is not None:
                    return self._run.ended
                if self._run.unfinished:
                    self._news.append(Woken())
                    await asyncio.sleep(0)
            await self._wait()

    def _tell(self, message: Message) -> None:
        run = self._run
        until = time.monotonic() + AT_ONCE_S
        run.is_tired = lambda: time.monotonic() > until
        tell(run, self._machine, message, now=self._clock.now())

    def _heed(self) -> None:
        """Keep what happened, and have done what is wanted."""
        run = self._run
        room = HISTORY_KEPT - len(self.history)
        self.history += run.history[:room]
        if run.ended is not None and len(run.history) > room:
            self.history.append(run.history[-1])
        for frame_id in run.frames.changed:
            frame = run.frames.get(frame_id)
            if frame is not None and frame.wake_at is not None:
                heapq.heappush(self._due, (frame.wake_at, frame_id))
        for order in run.orders:
            if isinstance(order, StartTask):
                self._tasks[order.token] = asyncio.create_task(self._call(order))
            elif isinstance(order, CancelTask):
                self._cancel(order.token)
            elif isinstance(order, StartMapRun):
                cause = "A distributed Map needs a STANDARD execution."
                self._news.append(MapRunEnded(frame=order.frame, error=RUNTIME, cause=cause, arn=order.arn))
        run.history.clear()
        run.orders.clear()
        run.frames.changed.clear()
        run.frames.removed.clear()

    async def _call(self, order: StartTask) -> None:
        try:
            message = await self._call_task(order, self._run.facts)
        except StateFailed as failure:
            message = TaskFailed(token=order.token, error=failure.error, cause=failure.cause or "")
        except Exception as error:  # noqa: BLE001 - whatever it was, the execution hears of it
            _log.exception("The task %r of an express execution broke off", order.state)
            message = TaskFailed(token=order.token, error=TASK_FAILED, cause=f"{type(error).__name__}: {error}")
        self._tasks.pop(order.token, None)
        self._news.append(message)
        self._heard.set()

    def _cancel(self, token: str) -> None:
        task = self._tasks.get(token)
        if task is not None:
            task.cancel()

    async def _wait(self) -> None:
        """Until a task has ended, or the time of a frame has come."""
        self._heard.clear()
        while self._due:
            at, frame_id = self._due[0]
            frame = self._run.frames.get(frame_id)
            if frame is not None and frame.wake_at == at:
                break
            heapq.heappop(self._due)
        if not self._due:
            await self._heard.wait()
            return
        late = self._due[0][0] - self._clock.now()
        try:
            async with asyncio.timeout(max(late, 0)):
                await self._heard.wait()
        except TimeoutError:
            self._news.append(Woken())

    async def close(self) -> None:
        """Stop what still runs."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
