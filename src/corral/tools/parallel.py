"""Several calls at once: in any order where they do not need each other, and one that fails does not sink the others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError
from corral.messages import CallTool, ToolCall, ToolReply, closing
from corral.tools.failing import failed, failed_with, fault_of

_GRACE_S = 0.25
"""Whoever answers calls keeps their deadlines; one that does not is left alone this long after."""


class ParallelToolExecutor:
    """Runs the calls of one turn.

        executor = ParallelToolExecutor(max_concurrent=5, timeout_per_tool=30)
        replies = await executor.run(box.call, calls)          # in the order of the calls
        async for reply in executor.stream(box.call, calls):   # as they come
            ...

    A call whose `after` names others of the turn starts when their replies are there; if one of those failed, it is not made, and
    its reply says so. It holds nothing between runs: one executor serves any number of turns at once.
    """

    def __init__(
        self, max_concurrent: int = 5, timeout_per_tool: float | None = 30.0, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`timeout_per_tool`: none, as each tool says."""
        if max_concurrent < 1:
            raise ValueError(f"max_concurrent is {max_concurrent}; at least one call must run.")
        self._max = max_concurrent
        self._timeout_s = timeout_per_tool
        self._monotonic = clock.monotonic

    async def run(self, call: CallTool, calls: Sequence[ToolCall], *, deadline: float | None = None) -> list[ToolReply]:
        """All replies, in the order of the calls. What is not done by `deadline` (on the monotonic clock) fails."""
        turn = _Turn(calls)
        if len(calls) == 1 and not calls[0].after:
            return [await self._one(call, calls[0], deadline)]
        async with closing(self._replies(call, turn, deadline)) as numbers:
            async for _ in numbers:
                pass
        return [turn.replies[number] for number in range(len(calls))]

    async def stream(
        self, call: CallTool, calls: Sequence[ToolCall], *, deadline: float | None = None
    ) -> AsyncIterator[ToolReply]:
        """Each reply as it comes. Close the iterator to cancel what still runs."""
        if len(calls) == 1 and not calls[0].after:
            yield await self._one(call, calls[0], deadline)
            return
        turn = _Turn(calls)
        async with closing(self._replies(call, turn, deadline)) as numbers:
            async for number in numbers:
                yield turn.replies[number]

    async def _replies(self, call: CallTool, turn: _Turn, deadline: float | None) -> AsyncIterator[int]:
        """The numbers of calls, as their replies come."""
        loop = asyncio.get_running_loop()
        running: dict[int, asyncio.Task[ToolReply]] = {}
        ended = _Ended(loop)
        try:
            for number in turn.impossible():
                yield number
            while True:
                while len(running) < self._max and (ready := turn.next_ready()) is not None:
                    running[ready] = loop.create_task(self._noted(call, turn.calls[ready], deadline, ready, ended))
                if not running:
                    return
                number = await ended.next()
                yield turn.over(number, running.pop(number).result())
                for hopeless in turn.hopeless():
                    yield hopeless
        finally:
            for task in running.values():
                task.cancel()
            if running:
                await asyncio.wait(running.values())

    async def _noted(
        self, call: CallTool, asked: ToolCall, deadline: float | None, number: int, ended: _Ended
    ) -> ToolReply:
        try:
            return await self._one(call, asked, deadline)
        finally:
            ended.add(number)

    async def _one(self, call: CallTool, asked: ToolCall, deadline: float | None) -> ToolReply:
        now = self._monotonic()
        until = deadline
        if self._timeout_s is not None:
            until = now + self._timeout_s if until is None else min(until, now + self._timeout_s)
        if asked.deadline is not None:
            until = asked.deadline if until is None else min(until, asked.deadline)
        if until is None:
            return await _answered(call, asked)
        if until <= now:
            return failed(asked, "timeout", f"There was no time left for {asked.name}.", retryable=True)
        if until != asked.deadline:
            asked = msgspec.structs.replace(asked, deadline=until)
        try:
            async with asyncio.timeout(until - now + _GRACE_S):
                return await _answered(call, asked)
        except TimeoutError:
            said = f"{asked.name} was not heard of within {until - now:.3g} s."
            return failed(asked, "timeout", said, retryable=True, attempts=1)


async def _answered(call: CallTool, asked: ToolCall) -> ToolReply:
    try:
        return await call(asked)
    except Exception as error:  # noqa: BLE001 - others' code may answer calls: what it raises must not sink the rest
        code = error.code if isinstance(error, CorralError) else "failed"
        fault = msgspec.structs.replace(fault_of(asked.name, error), code=code)
        return failed_with(asked, fault, attempts=1)


class _Ended:
    """Numbers of calls in the order in which they end, for the one who waits for the next."""

    __slots__ = ("_loop", "_numbers", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._numbers: deque[int] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def add(self, number: int) -> None:
        """The call's task says this in its last step: whoever wakes finds it done."""
        self._numbers.append(number)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> int:
        """The next one."""
        if not self._numbers:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._numbers.popleft()


class _Turn:
    """The calls of one turn: which may start, and which never will."""

    def __init__(self, calls: Sequence[ToolCall]) -> None:
        self.calls = calls
        self.replies: dict[int, ToolReply] = {}
        by_id = {call.id: number for number, call in enumerate(calls) if call.id}
        self._needs: dict[int, set[int]] = {}
        self._unknown: dict[int, list[str]] = {}
        for number, call in enumerate(calls):
            self._needs[number] = {by_id[one] for one in call.after if one in by_id}
            if missing := [one for one in call.after if one not in by_id]:
                self._unknown[number] = missing
        self._waiting = dict.fromkeys(range(len(calls)))
        self._free = not any(self._needs.values()) and not self._unknown
        """No call needs another one, as in nearly every turn."""

    def impossible(self) -> list[int]:
        """Settle what can never start: a call that needs one that is not there, itself, or one that needs it."""
        if self._free:
            return []
        for number, missing in self._unknown.items():
            said = f"It comes after {', '.join(missing)}, and no call of this turn has that id."
            self._fail(number, "invalid_input", said)
        left = set(self._waiting)
        while free := {number for number in left if not self._needs[number] & left}:
            left -= free
        for number in sorted(left):
            self._fail(number, "invalid_input", "It waits for calls that wait for it: there is a cycle in `after`.")
        return [*sorted(set(self.replies)), *self.hopeless()]

    def hopeless(self) -> list[int]:
        """Settle what needs a call that failed, and what needs that."""
        found: list[int] = []
        while not self._free:
            lost = [number for number in self._waiting if any(self._failed(one) for one in self._needs[number])]
            if not lost:
                return found
            for number in lost:
                needed = ", ".join(sorted(self.calls[n].name for n in self._needs[number] if self._failed(n)))
                self._fail(number, "dependency_failed", f"It was not called: it needs {needed}, which failed.")
            found += lost
        return found

    def next_ready(self) -> int | None:
        """The first call that may start now; it counts as started."""
        for number in self._waiting:
            if all(one in self.replies for one in self._needs[number]):
                del self._waiting[number]
                return number
        return None

    def over(self, number: int, reply: ToolReply) -> int:
        """Note a reply."""
        self.replies[number] = reply
        return number

    def _failed(self, number: int) -> bool:
        reply = self.replies.get(number)
        return reply is not None and reply.fault is not None

    def _fail(self, number: int, code: str, said: str) -> None:
        self._waiting.pop(number, None)
        self.replies.setdefault(number, failed(self.calls[number], code, said))
