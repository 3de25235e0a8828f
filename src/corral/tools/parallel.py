"""Several calls at once: in any order where they do not need each other, and one that fails does not sink the others."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError
from corral.messages import CallTool, ToolCall, ToolReply
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
        turn = self.begin(call, calls, deadline=deadline)
        try:
            while await turn.next() is not None:
                pass
        finally:
            await turn.close()
        return turn.all

    async def stream(
        self, call: CallTool, calls: Sequence[ToolCall], *, deadline: float | None = None
    ) -> AsyncIterator[ToolReply]:
        """Each reply as it comes. Close the iterator to cancel what still runs."""
        turn = self.begin(call, calls, deadline=deadline)
        try:
            while (reply := await turn.next()) is not None:
                yield reply
        finally:
            await turn.close()

    def begin(
        self,
        call: CallTool,
        calls: Sequence[ToolCall],
        *,
        deadline: float | None = None,
        context: contextvars.Context | None = None,
    ) -> Turn:
        """The calls, under way from the first time that somebody waits for a reply.

        Each runs in a copy of `context`; none: of what is current then.
        """
        return Turn(
            call,
            calls,
            at_once=self._max,
            timeout_s=self._timeout_s,
            deadline=deadline,
            monotonic=self._monotonic,
            context=context,
        )


class Turn:
    """The calls of one turn on their way: `next` until it returns nothing, and `close` whatever happens."""

    __slots__ = (
        "_at_once",
        "_call",
        "_context",
        "_deadline",
        "_due",
        "_ended",
        "_late",
        "_loop",
        "_monotonic",
        "_order",
        "_running",
        "_timeout_s",
        "_timer",
        "_timer_at",
        "_waiter",
    )

    def __init__(
        self,
        call: CallTool,
        calls: Sequence[ToolCall],
        *,
        at_once: int,
        timeout_s: float | None,
        deadline: float | None,
        monotonic: Callable[[], float],
        context: contextvars.Context | None,
    ) -> None:
        """Nothing is called yet."""
        self._call = call
        self._order = _Order(calls)
        self._at_once = at_once
        self._timeout_s = timeout_s
        self._deadline = deadline
        self._monotonic = monotonic
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._ended = deque(self._order.impossible())
        """Numbers of calls that have replies, as they came."""
        self._waiter: asyncio.Future[None] | None = None
        self._due: dict[int, float] = {}
        """Until when each that runs is waited for, on the loop's clock."""
        self._late: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def all(self) -> list[ToolReply]:
        """All replies, in the order of the calls, once no more come."""
        replies = self._order.replies
        return [replies[number] for number in range(len(replies))]

    async def next(self) -> ToolReply | None:
        """The next reply; none: there are no more."""
        order, running = self._order, self._running
        while len(running) < self._at_once and (ready := order.next_ready()) is not None:
            context = None if self._context is None else self._context.copy()
            running[ready] = self._loop.create_task(self._carried_out(ready), context=context)
        if not self._ended:
            if not running:
                return None
            self._waiter = self._loop.create_future()
            await self._waiter
        number = self._ended.popleft()
        if (task := running.pop(number, None)) is not None:
            self._due.pop(number, None)
            task.result()  # raises what is no reply: that it was cancelled from inside
            self._ended.extend(order.hopeless())
        return order.replies[number]

    async def close(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        running, self._running = self._running, {}
        for task in running.values():
            task.cancel()
        if running:
            await asyncio.wait(running.values())

    async def _carried_out(self, number: int) -> None:
        """One call, in a task of its own, which says in its last step that it is over: whoever wakes finds it done."""
        try:
            self._order.replies[number] = await self._replied(number, self._order.calls[number])
        finally:
            self._ended.append(number)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    async def _replied(self, number: int, asked: ToolCall) -> ToolReply:
        now = self._monotonic()
        until = self._deadline
        if self._timeout_s is not None:
            until = now + self._timeout_s if until is None else min(until, now + self._timeout_s)
        if asked.deadline is not None:
            until = asked.deadline if until is None else min(until, asked.deadline)
        if until is None:
            return await _answered(self._call, asked)
        if until <= now:
            return failed(asked, "timeout", f"There was no time left for {asked.name}.", retryable=True)
        if until != asked.deadline:
            asked = msgspec.structs.replace(asked, deadline=until)
        self._watch(number, until - now + _GRACE_S)
        try:
            return await _answered(self._call, asked)
        except asyncio.CancelledError:
            if number not in self._late:
                raise
            said = f"{asked.name} was not heard of within {until - now:.3g} s."
            return failed(asked, "timeout", said, retryable=True, attempts=1)

    # -- time: one timer for all calls of the turn

    def _watch(self, number: int, seconds: float) -> None:
        """Wait for this one so long, and no longer."""
        due = self._due[number] = self._loop.time() + seconds
        if self._timer is None:
            self._arm(due)
        elif due < self._timer_at:
            self._timer.cancel()
            self._arm(due)

    def _arm(self, due: float) -> None:
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        for number, due in list(self._due.items()):
            if due <= now:
                del self._due[number]
                if self._running[number].cancel():
                    self._late.add(number)
        if self._due:
            self._arm(min(self._due.values()))


async def _answered(call: CallTool, asked: ToolCall) -> ToolReply:
    try:
        return await call(asked)
    except Exception as error:  # noqa: BLE001 - others' code may answer calls: what it raises must not sink the rest
        code = error.code if isinstance(error, CorralError) else "failed"
        fault = msgspec.structs.replace(fault_of(asked.name, error), code=code)
        return failed_with(asked, fault, attempts=1)


class _Order:
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

    def _failed(self, number: int) -> bool:
        reply = self.replies.get(number)
        return reply is not None and reply.fault is not None

    def _fail(self, number: int, code: str, said: str) -> None:
        self._waiting.pop(number, None)
        self.replies.setdefault(number, failed(self.calls[number], code, said))
