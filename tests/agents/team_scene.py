"""What the tests of roles and teams work with: members that do as they are told, and a model that reads its lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from corral.agents.event import (
    AgentEvent,
    Asked,
    Failed,
    Finished,
    Reasoning,
    Text,
    ToolFinished,
    ToolStarted,
    UsageSeen,
)
from corral.agents.saying import question_of
from corral.messages import Delta, ModelCall, ModelEvent, ModelReply, Usage
from corral.models.connected import Models, using


class Member:
    """Says what it is told to say, one answer after the other, and remembers what it was asked."""

    def __init__(self, name: str, *answers: Any, before: list[AgentEvent] | None = None, description: str = "") -> None:
        self.name = name
        self.description = description
        self.asked: list[Asked] = []
        self.sessions: list[str | None] = []
        self.closed = 0
        self._answers = list(answers) or [f"{name} has answered."]
        self._before = before or []

    async def stream(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> AsyncIterator[AgentEvent]:
        self.asked.append(prompt)
        self.sessions.append(session)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        try:
            for event in self._before:
                yield event
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                answer = f"{self.name} has waited."
            if isinstance(answer, BaseException):
                raise answer
            if isinstance(answer, Finished | Failed):
                yield answer
                return
            for event in answer if isinstance(answer, list) else [answer]:
                if isinstance(event, str):
                    yield Text(agent=self.name, step=1, text=event)
                else:
                    yield event
            said = "".join(piece for piece in answer if isinstance(piece, str)) if isinstance(answer, list) else answer
            used = Usage(input=10, output=2)
            yield UsageSeen(agent=self.name, step=1, model="m", usage=used, cost_usd=0.5)
            yield Finished(
                agent=self.name, run_id=f"run-{self.name}", output=said, usage=used, cost_usd=0.5, steps=1, tool_calls=1
            )
        finally:
            self.closed += 1

    @property
    def questions(self) -> list[str]:
        return [question_of(asked) for asked in self.asked]


def looked_up(tool: str, text: str, *, agent: str = "worker", call: str = "c1", error: str = "") -> list[AgentEvent]:
    """The events of one call of a tool."""
    content = [{"type": "text", "text": text}]
    return [
        ToolStarted(agent=agent, step=1, id=call, name=tool, input={"of": "it"}),
        ToolFinished(agent=agent, step=1, id=call, name=tool, content=content, error=error),
    ]


class Script:
    """A model that says its lines in order (the last one again and again), and remembers what it was asked."""

    def __init__(self, *lines: str | Exception | Callable[[ModelCall], str]) -> None:
        self.lines = list(lines)
        self.calls: list[ModelCall] = []

    async def __call__(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        self.calls.append(call)
        line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        if isinstance(line, Exception):
            raise line
        text = line if isinstance(line, str) else line(call)
        if call.stream:
            for piece in text.split(" "):
                yield Delta("text", piece if piece == text.split(" ", 1)[0] else f" {piece}")
        content = [{"type": "text", "text": text}]
        yield ModelReply(model="scripted", content=content, usage=Usage(input=100, output=10), cost_usd=0.25)

    @property
    def prompts(self) -> list[str]:
        return [call.messages[-1].text for call in self.calls]


@contextmanager
def scripted(*lines: str | Exception | Callable[[ModelCall], str]) -> Iterator[Script]:
    """Models that read these lines, for all that asks one in this block."""
    script = Script(*lines)
    with using(Models(script)):
        yield script


async def all_of(events: AsyncIterator[AgentEvent]) -> list[AgentEvent]:
    """Read to the end."""
    return [event async for event in events]


def written(events: list[AgentEvent], kind: type[Text | Reasoning] = Text) -> str:
    """All text, or all thoughts, in one."""
    return "".join(event.text for event in events if type(event) is kind)
