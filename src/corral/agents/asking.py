"""A question to an agent's model: the conversation as it reads it, and the answer as events."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from corral.agents.connected import Fitted, Window
from corral.agents.event import AgentEvent, Reasoning, Text, UsageSeen
from corral.agents.journal import RunState
from corral.agents.patience import Patience, late
from corral.agents.steps import Steps
from corral.clock import Clock
from corral.errors import ModelStreamBroken
from corral.messages import CallModel, Message, ModelCall, ModelReply, closing


class Asking:
    """Asks the model of one run."""

    __slots__ = (
        "_agent",
        "_ask",
        "_fitted",
        "_keeps_time",
        "_patience",
        "_silent",
        "_steps",
        "_template",
        "_window",
        "reply",
        "report",
    )

    def __init__(  # noqa: PLR0913 - whom, with what, for whom and until when
        self,
        agent: str,
        ask: CallModel,
        template: ModelCall,
        *,
        window: Window | None,
        silent: bool,
        steps: Steps,
        clock: Clock,
        deadline: float,
        keeps_time: bool,
    ) -> None:
        """`template` is the call without its messages; `silent`: no text goes out before a guard has seen all of it.

        `keeps_time`: who is asked obeys the call's deadline by itself.
        """
        self._agent = agent
        self._ask = ask
        self._template = template
        self._window = window
        self._fitted: Fitted | None = None
        self._silent = silent
        self._steps = steps
        self._patience = Patience(clock, deadline)
        self._keeps_time = keeps_time
        self.reply = ModelReply()
        """The last answer; its calls of tools have ids that are not empty and not the same."""
        self.report: Any = None
        """What the window left out, and why."""

    async def ask(self, step: int, state: RunState, history: Sequence[Message]) -> AsyncIterator[AgentEvent]:
        """The answer as it comes; it is in `reply` afterwards."""
        call = await self._call(state, history)
        reply: ModelReply | None = None
        async with closing(self._ask(call)) as events:
            # What happens before the first piece (routing, waiting for limits, the request itself) stands below this step.
            first = await self._first(events)
            while first is not None:
                event, first = first, None
                if type(event) is ModelReply:
                    reply = event
                    break
                for happened in self._happening(step, event):
                    yield happened
                if self._patience.is_over:
                    raise late()
                first = await anext(events, None)
        if reply is None:
            raise ModelStreamBroken("The model's answer ended without a reply.", model=call.model)
        self.reply = _named(reply, step)
        if not call.stream and not self._silent and reply.text:
            yield Text(agent=self._agent, step=step, text=reply.text)

    async def _first(self, events: Any) -> Any:
        if self._keeps_time:
            with self._steps.below():
                return await anext(events, None)
        with self._steps.below(), self._patience:
            return await anext(events, None)

    def close(self) -> None:
        """Nothing is asked any more."""
        self._patience.close()

    def usage(self, step: int) -> UsageSeen:
        """What the last answer took."""
        reply = self.reply
        return UsageSeen(
            agent=self._agent,
            step=step,
            model=reply.model,
            usage=reply.usage,
            cost_usd=reply.cost_usd,
            cached=reply.cached,
        )

    async def _call(self, state: RunState, history: Sequence[Message]) -> ModelCall:
        messages = _conversation(state.messages, history)
        if self._window is not None:
            template = self._template
            fitted = self._fitted = await self._window.fit(
                messages,
                model=template.model,
                caller=template.caller,
                tools=template.tools,
                reserve=template.max_tokens or 0,
                before=self._fitted,
            )
            if len(fitted.messages) != len(messages) or any(map(operator.is_not, fitted.messages, messages)):
                messages, self.report = fitted.messages, fitted.report
        return msgspec.structs.replace(self._template, messages=messages, notes={})

    def _happening(self, step: int, delta: Any) -> Sequence[AgentEvent]:
        if self._silent or not delta.text:
            return ()
        if delta.kind == "text":
            return [Text(agent=self._agent, step=step, text=text) for text in delta.pieces or (delta.text,)]
        return (Reasoning(agent=self._agent, step=step, text=delta.text),) if delta.kind == "reasoning" else ()


def _conversation(own: list[Message], history: Sequence[Message]) -> list[Message]:
    """Instructions, what was said before, and the run itself."""
    if not history:
        return list(own)
    begins = next((index for index, message in enumerate(own) if message.role != "system"), len(own))
    return [*own[:begins], *history, *own[begins:]]


def _named(reply: ModelReply, step: int) -> ModelReply:
    """Calls of tools by ids of their own: a provider may leave them out, or give the same twice."""
    seen: set[str] = set()
    content: list[dict[str, Any]] | None = None
    for index, part in enumerate(reply.content):
        if part.get("type") != "tool_use":
            continue
        call_id = part.get("id")
        if not call_id or not isinstance(call_id, str) or call_id in seen:
            call_id = f"call_{step}_{index}"
            content = content if content is not None else list(reply.content)
            content[index] = {**part, "id": call_id}
        seen.add(call_id)
    return reply if content is None else msgspec.structs.replace(reply, content=content)
