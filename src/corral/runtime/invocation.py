"""One invocation that is going on, and the list of all of them in this worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from corral.clock import SYSTEM_CLOCK, Clock, new_span_id
from corral.context import Context
from corral.errors import Cancelled, CorralError, DeadlineExceeded, Draining, Interrupted

if TYPE_CHECKING:
    from corral.runtime.registry import Agent
    from corral.sessions.record import Transcript
    from corral.sessions.store import TurnPolicy

Outcome = Literal["ok", "degraded", "error", "rejected", "cancelled", "timeout"]
CancelReason = Literal["deadline", "client", "request", "interrupted", "draining"]
Ending = Callable[["Invocation"], Awaitable[None]]

_LAST_REASONS = frozenset({"deadline", "draining"})
_REASONS: dict[CancelReason, type[CorralError]] = {
    "deadline": DeadlineExceeded,
    "client": Cancelled,
    "request": Cancelled,
    "interrupted": Interrupted,
    "draining": Draining,
}


class Invocation:
    """What runs, for whom, since when, and what must happen at its end.

    A stage that needs something done at the end says so with `at_end`; endings run in reverse order, exactly once,
    whether the reply is a value or a stream, and whether it succeeded or not.
    """

    __slots__ = (
        "_endings",
        "agent",
        "cancel_reason",
        "client_may_leave",
        "context",
        "error",
        "first_at",
        "now",
        "on_conflict",
        "outcome",
        "payload",
        "sent",
        "started_at",
        "strict",
        "task",
        "told",
        "transcript",
    )

    def __init__(self, agent: Agent, payload: Any, context: Context, started_at: float) -> None:
        """`started_at` is on the monotonic clock."""
        self.agent = agent
        self.payload = payload
        self.context = context
        self.started_at = started_at
        self.first_at: float | None = None
        """When the first piece of a stream was there."""
        self.on_conflict: TurnPolicy | None = None
        self.strict = True
        """Whether the plain limits on prompts apply (AgentCore's contract knows none)."""
        self.client_may_leave = False
        """Whether the run goes on when its client has gone."""
        self.task: asyncio.Task[Any] | None = None
        self.cancel_reason: CancelReason | None = None
        self.outcome: Outcome = "ok"
        self.error: BaseException | None = None
        self.now = SYSTEM_CLOCK.monotonic
        self.sent: Any = None
        """The payload as it was sent, where it was converted to a type of the agent's."""
        self.transcript: Transcript | None = None
        self.told: Sequence[tuple[bytes, bytes]] = ()
        """Headers that say how the caller's limits stand."""
        self._endings: list[Ending] = []
        if context.traces is not None and not context.agent_span_id:
            context.agent_span_id = new_span_id()

    def at_end(self, ending: Ending) -> None:
        """Have `ending` awaited when the invocation is over, before what was registered earlier."""
        self._endings.append(ending)

    async def end(self) -> None:
        """Run the endings. Called again, it finds none left. The first error is raised after all of them ran."""
        failure: BaseException | None = None
        while self._endings:
            try:
                await self._endings.pop()(self)
            except BaseException as error:  # noqa: BLE001 - every ending must run; the first error is raised below
                failure = failure or error
        if failure is not None:
            raise failure

    def cancel(self, reason: CancelReason) -> None:
        """Stop the run: its task is cancelled, and a synchronous agent finds `context.cancelled` true.

        Asked again, it does nothing, unless time is up for an agent that takes long over its end.
        """
        if self.cancel_reason is None:
            self.cancel_reason = reason
            self.context.cancelled = True
        elif reason in _LAST_REASONS and self.cancel_reason not in _LAST_REASONS:
            self.cancel_reason = reason
        else:
            return
        if self.task is not None:
            self.task.cancel()

    def check(self) -> None:
        """Raise the reason if this run was to be stopped before it began."""
        if self.cancel_reason is not None:
            raise self.cancelled_error()

    def cancelled_error(self) -> CorralError:
        """The error that says why this run was stopped."""
        return _REASONS[self.cancel_reason or "request"]()


class Invocations:
    """All invocations of this worker: for limits, for cancelling by id, for deadlines and for the drain."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start with none; `clock` tells when a deadline has passed."""
        self._clock = clock
        self._running: dict[Invocation, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Invocation]:
        return iter(list(self._running))

    def find(self, tenant: str, request_id: str) -> list[Invocation]:
        """The running invocations of this tenant with this request id: callers choose it, so there may be several."""
        return [c for c in self._running if c.context.request_id == request_id and c.context.tenant == tenant]

    def add(self, call: Invocation) -> None:
        """Watch over an invocation until `remove`."""
        self._running[call] = None
        if call.context.deadline is not None:
            self._watch(call.context.deadline)
        self._idle.clear()

    def remove(self, call: Invocation) -> None:
        """Forget an invocation that ended."""
        self._running.pop(call, None)
        if not self._running:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Return once nothing runs."""
        await self._idle.wait()

    def cancel_all(self, reason: CancelReason) -> None:
        """Stop everything."""
        for call in self:
            call.cancel(reason)

    def close(self) -> None:
        """Stop watching deadlines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # One timer for the nearest deadline, instead of one timer per request: most requests end long before.

    def _watch(self, deadline: float) -> None:
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer_at = deadline
        self._timer = loop.call_at(loop.time() + max(0.0, deadline - self._clock.monotonic()), self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        nearest: float | None = None
        for call in self:
            deadline = call.context.deadline
            if deadline is None:
                continue
            if deadline <= now:
                call.cancel("deadline")
            elif nearest is None or deadline < nearest:
                nearest = deadline
        if nearest is not None:
            self._watch(nearest)
