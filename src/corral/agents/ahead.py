"""One run with speculation: calls that are made while the model still thinks, and given to it when it asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from corral.agents.payback import Outcome
from corral.agents.saying import question_of
from corral.agents.speculating import SpeculationCounting
from corral.agents.transitions import Done, Likely, canonical
from corral.clock import Clock
from corral.messages import (
    Caller,
    CallModel,
    CallTool,
    Delta,
    ModelCall,
    ModelEvent,
    ModelReply,
    ToolCall,
    ToolReply,
    closing,
)
from corral.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from corral.agents.speculation import Speculation

_WRITTEN_MAX = 20_000
"""Characters of arguments that are read while they are written."""


class _Call:
    """A call ahead."""

    __slots__ = ("begun", "ended", "name", "tainted", "task")

    def __init__(self, name: str, task: asyncio.Task[ToolReply], begun: float, tainted: tuple[str, ...]) -> None:
        self.name = name
        self.task = task
        self.begun = begun
        self.ended: float | None = None
        self.tainted = tainted


class Ahead:
    """Stands around a run's way to its model (`ask`) and to its tools (`call`). `close` stops what still runs."""

    def __init__(
        self,
        speculation: Speculation,
        tools: Toolbox,
        *,
        ask: CallModel,
        call: CallTool,
        caller: Caller,
        tainted: tuple[str, ...],
        counting: SpeculationCounting | None,
        clock: Clock,
    ) -> None:
        """`tainted` is what the conversation before the run holds."""
        self._speculation = speculation
        self._tools = tools
        self._ask = ask
        self._call = call
        self._caller = caller
        self._tainted = dict.fromkeys(tainted)
        self._counting = counting
        self._clock = clock
        self._scope = f"{caller.tenant}\0{caller.agent}"
        self._question = ""
        self._before: list[Done] = []
        self._now: list[Done] = []
        self._calls: dict[bytes, _Call] = {}
        self._written: dict[int, list[str]] = {}
        self._deadline: float | None = None
        self._likely: list[Likely] = []
        self._asked = False
        self._expects = True
        self._stopping: set[asyncio.Task[ToolReply]] = set()
        self._wasted = 0.0

    # -- around the model

    async def ask(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        """Ask, with an ear for what is being written, and with what will probably be wanted under way."""
        self._deadline = call.deadline
        self._question = question_of(call.messages)
        self._before, self._now = self._now, []
        self._written.clear()
        self._likely = []
        self._expects = bool(self._before) or not self._asked  # not where it is only to mend what it said
        self._asked = True
        if self._expects:
            self._begin_likely()
        async with closing(self._ask(call)) as events:
            async for event in events:
                if type(event) is Delta:
                    self._heard(event)
                elif type(event) is ModelReply:
                    self._answered(event)
                yield event

    def _begin_likely(self) -> None:
        speculation = self._speculation
        self._likely = speculation.transitions.likely(
            self._scope, self._before, self._question, seen_min=speculation.seen_min
        )
        for one in self._likely:
            if one.chance < speculation.chance_min:
                break
            self._begin(one.name, one.input)

    def _heard(self, delta: Delta) -> None:
        """A name makes its likely arguments likelier; ones that are complete begin their call, although the answer is not."""
        if delta.kind == "tool_use":
            self._written[delta.index] = [delta.name]
            for one in self._likely:
                if one.name == delta.name and one.given >= self._speculation.chance_min:
                    self._begin(one.name, one.input)
        elif delta.kind == "tool_input" and (written := self._written.get(delta.index)) is not None:
            written.append(delta.text)
            if delta.text.rstrip().endswith("}") and sum(map(len, written)) <= _WRITTEN_MAX:
                given = _object("".join(written[1:]))
                if given is not None:
                    del self._written[delta.index]
                    self._begin(written[0], given)

    def _answered(self, reply: ModelReply) -> None:
        """What the model did not ask for is given up; what it did ask for is learned."""
        wanted = [Done(name=str(use.get("name")), input=use.get("input") or {}) for use in reply.tool_uses]
        keys = {canonical(one.name, one.input) for one in wanted}
        self._give_up([key for key in self._calls if key not in keys])
        may = [one for one in wanted if self._safe(one.name)]
        if self._expects:
            self._speculation.transitions.learn(self._scope, self._before, self._question, may)

    def _safe(self, name: str) -> bool:
        tool = self._tools.find(name)
        return tool is not None and tool.marks.read_only and tool.marks.idempotent

    def _begin(self, name: str, given: dict[str, Any]) -> None:
        speculation = self._speculation
        key = canonical(name, given)
        if key in self._calls or len(self._calls) >= speculation.at_once or not speculation.may(self._tools, name):
            return
        tainted = tuple(self._tainted)
        call = ToolCall(
            name=name,
            input=given,
            id="ahead",
            caller=self._caller,
            tainted=tainted,
            deadline=self._deadline,
            notes={"speculated": True},
        )
        task = asyncio.get_running_loop().create_task(self._made(call))
        one = self._calls[key] = _Call(name, task, self._clock.monotonic(), tainted)
        speculation.running += 1
        if self._counting is not None:
            self._counting.began()
        task.add_done_callback(lambda _: self._landed(one))

    async def _made(self, call: ToolCall) -> ToolReply:
        return await self._call(call)

    def _landed(self, one: _Call) -> None:
        one.ended = self._clock.monotonic()
        self._speculation.running -= 1
        if self._counting is not None:
            self._counting.stopped()
        if not one.task.cancelled():
            one.task.exception()  # seen: it is raised where it is waited for, if it is

    # -- around the tools

    async def call(self, call: ToolCall) -> ToolReply:
        """The result that is there or on its way already, if it is of the very same call; else the tool's."""
        self._tainted.update(dict.fromkeys(call.tainted))
        one = self._calls.pop(canonical(call.name, call.input), None)
        reply = None
        if one is not None:
            # Made under other rules than this one would be: with fewer untrusted words, or without a person's yes.
            if set(call.tainted) <= set(one.tainted) and not call.approved_by:
                reply = await self._taken(one)
            else:
                self._over(one)
        if reply is None:
            reply = await self._call(call)
        else:
            reply = msgspec.structs.replace(reply, id=call.id, cached="speculated")
        self._tainted.update(dict.fromkeys(reply.tainted))
        self._now.append(Done(name=call.name, input=call.input, value=_value(reply)))
        return reply

    async def _taken(self, one: _Call) -> ToolReply | None:
        wanted = self._clock.monotonic()
        try:
            await asyncio.wait({one.task})
        except asyncio.CancelledError:
            self._over(one)
            raise
        reply = None if one.task.cancelled() or one.task.exception() is not None else one.task.result()
        if (
            reply is None or reply.fault is not None
        ):  # a failure ahead is no failure of the run: the tool is asked again
            self._over(one)
            return None
        ended = self._clock.monotonic() if one.ended is None else one.ended
        self._say(one, Outcome(hit=True, saved_s=max(0.0, min(wanted, ended) - one.begun)))
        return reply

    # -- the end

    def _give_up(self, keys: list[bytes]) -> None:
        for one in [self._calls.pop(key) for key in keys]:
            self._over(one)

    def _over(self, one: _Call) -> None:
        """It was of no use. Nobody waits until it has stopped, but the end of the run."""
        cost = self._cost(one)
        self._wasted += cost
        if not one.task.done():
            one.task.cancel()
            self._stopping.add(one.task)
            one.task.add_done_callback(self._stopping.discard)
        self._say(one, Outcome(hit=False, wasted_usd=cost))

    def wasted(self) -> float:
        """What calls have cost that were of no use, since this was last asked."""
        cost, self._wasted = self._wasted, 0.0
        return cost

    def _cost(self, one: _Call) -> float:
        """What it cost; one that is stopped half way costs as much as one that is not."""
        done = one.task.done() and not one.task.cancelled() and one.task.exception() is None
        if done and (said := one.task.result().cost_usd) is not None:
            return said
        tool = self._tools.find(one.name)
        return (tool.marks.cost_usd or 0.0) if tool is not None else 0.0

    def _say(self, one: _Call, outcome: Outcome) -> None:
        self._speculation.over(one.name, outcome)
        if self._counting is not None:
            self._counting.over(self._caller.agent, "tool", outcome)

    async def close(self) -> None:
        """The run is over: stop what still runs. May be called twice."""
        self._give_up(list(self._calls))
        if self._stopping:
            await asyncio.wait(set(self._stopping))


def _object(written: str) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(written)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None


def _value(reply: ToolReply) -> Any:
    """The result as JSON, also where only its text is there."""
    if reply.fault is not None:
        return None
    if reply.value is not None:
        return reply.value
    text = "".join(part.get("text", "") for part in reply.content if part.get("type") == "text")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text or None
