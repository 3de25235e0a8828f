"""The layer next to the function: how many at a time, for how long, how often, and how much of the result is told."""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import Callable
from typing import Protocol

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError
from corral.messages import ToolFault, ToolReply
from corral.settings.tool_sections import ToolSettings
from corral.tools.failing import failed, failed_with, fault_of
from corral.tools.results import Artefacts, ToolOutput, beginning, output_of, size_of, whole
from corral.tools.running import Attempts, Late
from corral.tools.slots import Slots
from corral.tools.stack import Use
from corral.tools.threads import ToolThreads
from corral.tools.tool import Tool

_log = logging.getLogger("corral.tools")
_PAUSE_FACTOR = 2.0


class Breaker(Protocol):
    """What leaves a tool alone that fails again and again: `corral.models.breaker.Breaker` is the real one."""

    def enter(self, now: float) -> int | None:
        """A pass for one call; none: leave it alone."""
        ...

    def wait_s(self, now: float) -> float:
        """How long it stays shut."""
        ...

    def succeeded(self, era: int) -> None:
        """It answered."""
        ...

    def failed(self, era: int, now: float, reason: str) -> None:
        """It did not."""
        ...

    def left(self, era: int) -> None:
        """The call ended without saying anything about it."""
        ...


class Watching(Protocol):
    """Who wants to know what happens behind a reply."""

    def retried(self, tool: str) -> None:
        """A tool is called once more."""
        ...

    def lost(self, tool: str) -> None:
        """A call was given up and goes on all the same."""
        ...

    def spilled(self, tool: str) -> None:
        """A result was too long for a conversation."""
        ...


class _State:
    """What one process knows of one tool."""

    __slots__ = ("breaker", "slots")

    def __init__(self, tool: Tool, breaker: Breaker | None) -> None:
        self.slots = None if tool.marks.concurrency is None else Slots(tool.marks.concurrency)
        self.breaker = breaker


class Bounded:
    """Answers a use by calling the function."""

    def __init__(
        self,
        settings: ToolSettings,
        *,
        threads: ToolThreads | None = None,
        new_breaker: Callable[[], Breaker] | None = None,
        artefacts: Artefacts | None = None,
        watching: Watching | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Without `new_breaker`, a tool that fails is called all the same; without `artefacts`, the rest of a long result is lost."""
        self._settings = settings
        self._threads = threads if threads is not None else ToolThreads(settings.threads_max)
        self._new_breaker = new_breaker
        self._artefacts = artefacts
        self._watching = watching
        self._monotonic = clock.monotonic
        self._chance = chance
        self._attempts = Attempts(self._threads, lost=self._lost)
        self._states: weakref.WeakKeyDictionary[Tool, _State] = weakref.WeakKeyDictionary()

    async def __call__(self, use: Use) -> ToolReply:
        """Call the tool."""
        tool, call = use.tool, use.call
        state = self._states.get(tool)
        if state is None:
            state = self._states[tool] = _State(tool, self._new_breaker and self._new_breaker())
        begun = self._monotonic()
        within_s = self._time_for(use, begun)
        if within_s <= 0:
            return failed(call, "timeout", "There is no time left for this call.", retryable=True)
        if state.slots is None:
            return await self._guarded(use, state, begun + within_s, within_s)
        if not await state.slots.take(within_s):
            said = f"{tool.marks.concurrency} calls of {tool.name} run already, and none of them ended within {within_s:g} s."
            return failed(call, "busy", said, retryable=True)
        try:
            # The wait was not the tool's: its own time begins now.
            now = self._monotonic()
            within_s = self._time_for(use, now)
            return await self._guarded(use, state, now + within_s, within_s)
        finally:
            state.slots.give()

    def _time_for(self, use: Use, now: float) -> float:
        """How long it may take."""
        timeout_s = use.tool.marks.timeout_s or self._settings.timeout_s
        deadline = use.call.deadline
        return timeout_s if deadline is None else min(timeout_s, deadline - now)

    def _too_late(self, use: Use, within_s: float) -> str:
        """What is said when it took longer."""
        if within_s < (use.tool.marks.timeout_s or self._settings.timeout_s):
            left = max(0.0, within_s)
            return f"{use.tool.name} was stopped after {left:.3g} s: the time for the whole request is over."
        return f"{use.tool.name} did not answer within {within_s:g} s."

    async def _guarded(self, use: Use, state: _State, until: float, within_s: float) -> ToolReply:
        breaker = state.breaker
        if breaker is None:
            return await self._tried(use, until, within_s)
        now = self._monotonic()
        era = breaker.enter(now)
        if era is None:
            wait_s = breaker.wait_s(now)
            said = f"{use.tool.name} failed again and again, and is left alone for {max(1, round(wait_s))} s more."
            return failed(use.call, "unavailable", said, retryable=True, retry_after_s=wait_s)
        told = False
        try:
            reply = await self._tried(use, until, within_s)
            fault = reply.fault
            if fault is None or not fault.retryable:
                breaker.succeeded(era)  # that it did not like the question is an answer too
            else:
                breaker.failed(era, self._monotonic(), fault.code)
            told = True
            return reply
        finally:
            if not told:
                breaker.left(era)

    async def _tried(self, use: Use, until: float, within_s: float) -> ToolReply:
        """As often as may be, within the time."""
        tool, call = use.tool, use.call
        marks, settings = tool.marks, self._settings
        most = 1
        if marks.repeatable:
            most += settings.retries if marks.retries is None else marks.retries
        pause_s = settings.retry_initial_s
        attempt = 0
        while True:
            attempt += 1
            try:
                result = await self._attempts.once(use, until - self._monotonic())
                output = output_of(result)
                size = size_of(output)
            except Late:
                fault = ToolFault(code="timeout", message=self._too_late(use, within_s), retryable=True)
                return failed_with(call, fault, attempts=attempt, cost_usd=_cost(tool, attempt))
            except Exception as error:  # noqa: BLE001 - a tool may raise anything; a model is told of it
                fault = self._fault(use, error)
                rest_s = max(pause_s * (0.5 + self._chance() / 2), fault.retry_after_s or 0.0)
                if attempt >= most or not fault.retryable or self._monotonic() + rest_s >= until:
                    return failed_with(call, fault, attempts=attempt, cost_usd=_cost(tool, attempt))
                if self._watching is not None:
                    self._watching.retried(tool.name)
                call.notes.setdefault("attempts", []).append(fault.code)
                await asyncio.sleep(rest_s)
                pause_s = min(pause_s * _PAUSE_FACTOR, settings.retry_max_s)
            else:
                return await self._told(use, output, size, attempt)

    def _fault(self, use: Use, error: Exception) -> ToolFault:
        if not isinstance(error, CorralError):
            # The model hears what it needs; where it happened is for who wrote the tool.
            _log.warning("The tool %s failed", use.tool.name, exc_info=error)
        return fault_of(use.tool.name, error)

    async def _told(self, use: Use, output: ToolOutput, size: int, attempts: int) -> ToolReply:
        tool, call = use.tool, use.call
        marks = tool.marks
        artefact = ""
        value = output.value
        bytes_max = marks.output_max_bytes or self._settings.output_max_bytes
        if size > bytes_max:
            artefact = await self._spill(use, output)
            output, value = beginning(output, bytes_max, artefact), None
            if self._watching is not None:
                self._watching.spilled(tool.name)
        tainted = output.tainted
        if marks.untrusted and not tainted:
            tainted = (f"tool:{tool.name}",)
        return ToolReply(
            name=tool.name,
            id=call.id,
            content=output.content,
            value=value,
            tainted=tainted,
            attempts=attempts,
            cost_usd=_cost(tool, attempts),
            artefact=artefact,
        )

    async def _spill(self, use: Use, output: ToolOutput) -> str:
        if self._artefacts is None:
            return ""
        try:
            return await self._artefacts.keep(use.call.caller, whole(output))
        except CorralError as error:
            _log.warning("A long result of %s is not kept: %s", use.tool.name, error)
            return ""

    def _lost(self, use: Use) -> None:
        _log.warning(
            "The tool %s goes on although nobody waits for it any more: give it timeouts of its own.", use.tool.name
        )
        if self._watching is not None:
            self._watching.lost(use.tool.name)

    def close(self) -> None:
        """End idle threads."""
        self._threads.close()


def _cost(tool: Tool, attempts: int) -> float | None:
    each = tool.marks.cost_usd
    return None if each is None else each * attempts
