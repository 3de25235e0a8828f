"""The loop: ask the model, call the tools it wants, ask again, until it has answered or may not go on.

It goes on from any state that a journal's entries fold to, and acts on nothing that was not written down before. One entry is
the smallest step: who stops after any of them and goes on later, elsewhere, neither asks nor calls twice.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from corral.agents.asking import Asking
from corral.agents.board import Board
from corral.agents.calling import Calling
from corral.agents.event import (
    AgentEvent,
    ApprovalAsked,
    Failed,
    Finished,
    HandOff,
    Text,
)
from corral.agents.failing import GuardRefused, OutputMisfit, TimeExceeded
from corral.agents.guards import Guarded, Guards, Verdict, name_of
from corral.agents.handing import handed_on
from corral.agents.history import History
from corral.agents.journal import (
    TAINTED,
    Answered,
    AnyEntry,
    ApprovalWanted,
    Asked,
    Ended,
    HandedOff,
    Keeper,
    RunState,
    Told,
    ToolDone,
    approval_id,
)
from corral.agents.limits import Bounds
from corral.agents.output import Output, as_json
from corral.agents.steps import Steps
from corral.clock import Clock
from corral.errors import AgentFailed, Cancelled, CorralError, ModelTimeout, error_of
from corral.messages import Caller, Message, ModelReply, ToolCall, ToolReply, as_parts, closing


class Loop:
    """One go at one run."""

    def __init__(  # noqa: PLR0913 - what a run consists of
        self,
        agent: str,
        *,
        keeper: Keeper,
        state: RunState,
        asking: Asking,
        calling: Calling,
        bounds: Bounds,
        output: Output,
        guards: Guards,
        history: History,
        record_tools: bool,
        caller: Caller,
        steps: Steps,
        board: Board,
        clock: Clock,
        wasted: Callable[[], float] | None = None,
    ) -> None:
        """`state` is what the keeper's entries fold to; `wasted` says what calls ahead have cost in vain since it was last asked."""
        self.agent = agent
        self.state = state
        self.followed = True
        """Somebody follows the work; else tools and usage are not told of, but what people are asked, and the end."""
        self.failure: BaseException | None = None
        """What a run that failed raises, for who awaits it."""
        self.outcome = ""
        """`done`, `paused`, `cancelled`, or the code of what it failed for; empty: it was left before its end."""
        self._keeper = keeper
        self._asking = asking
        self._calling = calling
        self._bounds = bounds
        self._output = output
        self._guards = guards
        self._history = history
        self._record_tools = record_tools
        self._caller = caller
        self._steps = steps
        self._board = board
        self._wasted = wasted
        self._clock = clock
        self._notes: dict[str, Any] = {}
        self._value: Any = None

    async def events(self, asked: Asked | None = None) -> AsyncIterator[AgentEvent]:  # noqa: C901 - the list of what may come next
        """All that happens, ending with one `Finished` or `Failed`. Close it to stop the model and the tools.

        `asked` is what a new run begins with.
        """
        state, bounds = self.state, self._bounds
        try:
            if asked is not None:
                await self._begin(asked)
            while not state.over:
                if state.pending:
                    bounds.check_calls(state)
                    self._check()
                    async with closing(self._call_tools()) as events:
                        async for event in events:
                            yield event
                    if state.waits_for and not await self._decided():
                        self.outcome = "paused"
                        break
                elif (hand := handed_on(state)) is not None:
                    yield await self._hand_on(hand)
                elif state.answer is None:
                    bounds.check_step(state)
                    self._check()
                    step = state.step + 1
                    self._steps.open(step)
                    async with closing(self._asking.ask(step, state, self._history.messages)) as events:
                        async for event in events:
                            yield event
                    await self._answered(step)
                    if self.followed:
                        yield self._asking.usage(step)
                elif (text := await self._conclude(state.answer)) is not None:
                    yield text
            last = self._finished("paused", None) if self.outcome == "paused" else self._ending()
        except CorralError as error:
            last = await self._failed(error)
        except Exception as error:  # noqa: BLE001 - a guard, a window or a type of the user's own may raise anything
            failure = AgentFailed(f"{type(error).__name__}: {error}", original=error)
            failure.__cause__ = error
            last = await self._failed(failure)
        yield last

    def close(self) -> None:
        """The go is over, however it ended."""
        self._asking.close()

    def _check(self) -> None:
        self._bounds.check_time(self._clock.monotonic())
        self._bounds.check_spent(self.state)

    async def _append(self, entry: AnyEntry) -> None:
        """Written down first, believed afterwards."""
        await self._keeper.append(entry)
        self.state.apply(entry)

    async def _begin(self, asked: Asked) -> None:
        """The first entry, and what the guards of the input say to it."""
        verdict = None
        for guard in self._guards.of_input:
            about = Guarded(agent=self.agent, run_id=self._keeper.run_id, caller=self._caller)
            verdict = await guard.check_input(asked.messages, about)
            if verdict is None:
                continue
            self._note(guard, verdict)
            if verdict.action != "replace":
                break
            asked = msgspec.structs.replace(asked, messages=_reworded(asked.messages, verdict.text))
        await self._append(asked)
        if verdict is None or verdict.action == "replace":
            return
        if verdict.action == "refuse":
            raise GuardRefused(verdict.text or "A guard refused what was asked.")
        said = Message(role="assistant", content=as_parts(verdict.text))
        await self._append(Told(step=0, messages=[said], why="guard", at=self._clock.now()))
        await self._end(verdict.text)

    def _note(self, guard: Any, verdict: Verdict) -> None:
        self._notes.setdefault("guards", []).append(
            {"guard": name_of(guard), "action": verdict.action, "rule": verdict.rule}
        )

    # -- the model

    async def _answered(self, step: int) -> None:
        """The model has said all it has to say in this step."""
        asking = self._asking
        reply = asking.reply
        if asking.report is not None:
            self._notes["window"] = asking.report
        if reply.degraded:
            self._notes["degraded"] = list(dict.fromkeys((*self._notes.get("degraded", ()), *reply.degraded)))
        wasted_usd = 0.0 if self._wasted is None else self._wasted()
        await self._append(Answered(step=step, reply=reply, wasted_usd=wasted_usd, at=self._clock.now()))
        self._steps.answered(reply)
        if not self.state.pending:
            self._steps.close()

    # -- the tools

    async def _call_tools(self) -> AsyncIterator[AgentEvent]:
        state, calling = self.state, self._calling
        self._steps.open(state.step)
        lasting_id = self._keeper.run_id if self._keeper.lasts else ""
        calls = calling.ready(state, lasting_id, self._bounds.deadline)
        if self.followed:
            for call in calls:
                yield calling.started(state.step, call)
        made, settled = calling.settled(state, calls)
        for reply in settled:
            await self._tool_done(reply)
            if self.followed:
                yield calling.finished(state.step, reply)
        if made:
            by_id = {call.id: call for call in made}
            turn = calling.begin(made, self._place())
            try:
                while (replied := await turn.next()) is not None:
                    if _wants_approval(replied) and replied.id not in state.decisions:
                        yield await self._approval_wanted(by_id[replied.id], replied)
                        continue
                    await self._tool_done(replied)
                    if self.followed:
                        yield calling.finished(state.step, replied)
            finally:
                await turn.close()
        if not state.pending:
            self._steps.close()

    def _place(self) -> contextvars.Context:
        """Where tools run: below their step in the trace, with the run's working memory."""
        place = contextvars.copy_context()
        self._steps.enter(place)
        self._board.enter(place)
        return place

    async def _tool_done(self, reply: ToolReply) -> None:
        await self._append(ToolDone(step=self.state.step, reply=_kept(reply), at=self._clock.now()))

    async def _approval_wanted(self, call: ToolCall, reply: ToolReply) -> ApprovalAsked:
        step = self.state.step
        wanted = ApprovalWanted(
            step=step,
            approval=approval_id(self._keeper.run_id, step, call.id),
            call=call.id,
            tool=call.name,
            input=call.input,
            message=reply.fault.message if reply.fault else "",
            rule=str(call.notes.get("rule", "")),
            at=self._clock.now(),
        )
        await self._append(wanted)
        return self._asked(wanted)

    def _asked(self, wanted: ApprovalWanted) -> ApprovalAsked:
        return ApprovalAsked(
            agent=self.agent,
            step=wanted.step,
            approval=wanted.approval,
            message=wanted.message,
            tool=wanted.tool,
            input=wanted.input,
            rule=wanted.rule,
        )

    async def _decided(self) -> bool:
        """Whether people have said something to go on with."""
        said = await self._keeper.decisions(self.state.waits_for)
        for decision in said:
            await self._append(decision if decision.at else msgspec.structs.replace(decision, at=self._clock.now()))
        return bool(said)

    # -- the end

    async def _conclude(self, reply: ModelReply) -> Text | None:
        """The model has answered: take it, have it mended, or refuse it. Returns the text that was held back for a guard."""
        state = self.state
        try:
            output = self._output.read(reply)
        except ValueError as error:
            if state.repairs >= self._bounds.repairs:
                raise OutputMisfit(f"The answer of {self.agent!r} does not fit: {error}") from error
            told = self._output.repair(reply, error)
            await self._append(Told(step=state.step, messages=told, why="repair", at=self._clock.now()))
            return None
        if self._guards.of_output:
            output = await self._guarded(output)
        if reply.stop_reason != "end":
            self._notes["stop_reason"] = reply.stop_reason
        await self._end(output)
        if not self._guards.of_output:
            return None
        return Text(agent=self.agent, step=state.step, text=output if isinstance(output, str) else reply.text)

    async def _end(self, output: Any) -> None:
        self._value = output
        await self._history.record(self._keeper.run_id, self.state, with_tools=self._record_tools)
        await self._append(Ended(outcome="done", output=as_json(output), at=self._clock.now()))

    async def _hand_on(self, hand: HandedOff) -> HandOff:
        """Somebody else answers: this run is over, without an output."""
        await self._append(msgspec.structs.replace(hand, at=self._clock.now()))
        await self._end(None)
        return HandOff(agent=self.agent, step=hand.step, to=hand.to, reason=hand.reason)

    async def _guarded(self, output: Any) -> Any:
        about = Guarded(
            agent=self.agent, run_id=self._keeper.run_id, caller=self._caller, messages=tuple(self.state.messages)
        )
        for guard in self._guards.of_output:
            verdict = await guard.check_output(output, about)
            if verdict is None:
                continue
            self._note(guard, verdict)
            if verdict.action == "refuse":
                raise GuardRefused(verdict.text or f"The guard {name_of(guard)!r} refused the answer.")
            said = Message(role="assistant", content=as_parts(verdict.text))
            await self._append(Told(step=self.state.step, messages=[said], why="guard", at=self._clock.now()))
            output = verdict.text
        return output

    def _finished(self, reason: Any, output: Any) -> Finished:
        state = self.state
        self._steps.close()
        hand = handed_on(state)
        if hand is not None:
            self._notes["hand_off"] = {"to": hand.to, "reason": hand.reason}
        if state.tainted or self._history.tainted:
            self._notes[TAINTED] = list(dict.fromkeys((*self._history.tainted, *state.tainted)))
        return Finished(
            agent=self.agent,
            step=state.step,
            run_id=self._keeper.run_id,
            reason=reason,
            output=output,
            usage=state.usage,
            cost_usd=state.cost,
            steps=state.step,
            tool_calls=state.tool_calls,
            notes=self._notes,
        )

    def _ending(self) -> AgentEvent:
        """How it ended: now, or before this go began."""
        ended = self.state.ended
        assert ended is not None  # noqa: S101 - the state says that it is over
        if ended.outcome == "done":
            self.outcome = "done"
            return self._finished("done", self._read_again(ended.output) if self._value is None else self._value)
        self.failure = Cancelled(ended.message) if ended.outcome == "cancelled" else error_of(ended.code, ended.message)
        return self._failure_event(ended.code, ended.message, retryable=False)

    def _read_again(self, output: Any) -> Any:
        """The value of a run that ended earlier, in its type."""
        answer = self.state.answer
        if self._output.is_text or answer is None:
            return output
        try:
            return self._output.read(answer)
        except ValueError:  # a guard had something else to say
            return output

    async def _failed(self, error: CorralError) -> Failed:
        """Say why, and write it down as far as the keeper still takes it."""
        if isinstance(error, ModelTimeout) and self._clock.monotonic() >= self._bounds.deadline:
            error = TimeExceeded(error.message)
        self.failure = error
        outcome: Any = "cancelled" if isinstance(error, Cancelled) else "failed"
        entry = Ended(
            outcome=outcome, code=error.code, message=error.message, retryable=error.retryable, at=self._clock.now()
        )
        with contextlib.suppress(
            CorralError
        ):  # the run may not be ours any more: what is said below stands all the same
            await self._append(entry)
        self._steps.close(failed=error.code)
        return self._failure_event(error.code, error.message, retryable=error.retryable)

    def _failure_event(self, code: str, message: str, *, retryable: bool) -> Failed:
        state = self.state
        self.outcome = "cancelled" if isinstance(self.failure, Cancelled) else code
        return Failed(
            agent=self.agent,
            step=state.step,
            run_id=self._keeper.run_id,
            code=code,
            message=message,
            retryable=retryable,
            usage=state.usage,
            cost_usd=state.cost,
            steps=state.step,
            tool_calls=state.tool_calls,
        )


def _wants_approval(reply: ToolReply) -> bool:
    return reply.fault is not None and reply.fault.code == "approval_required"


def _reworded(messages: list[Message], text: str) -> list[Message]:
    """The same, with the last thing that was asked said in other words; its pictures and files stay."""
    last = messages[-1]
    others = [part for part in last.content if part.get("type") != "text"]
    return [*messages[:-1], msgspec.structs.replace(last, content=[*as_parts(text), *others])]


def _kept(reply: ToolReply) -> ToolReply:
    """Without the value itself, which stands in the content as well."""
    return reply if reply.value is None else msgspec.structs.replace(reply, value=None)
