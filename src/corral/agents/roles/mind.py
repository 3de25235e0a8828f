"""Who makes a role's decisions: a model, code, or anything that works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from corral.agents.event import AgentEvent, Failed, Text, Works
from corral.agents.failing import RoleFailed
from corral.agents.roles.role import CodeRole, Role, as_works
from corral.agents.saying import said
from corral.agents.tally import Tally
from corral.agents.watched import Watched
from corral.messages import ModelReply, closing
from corral.models.llm import LLM
from corral.models.structured import AnswerMisfit, Shape

By: TypeAlias = str | LLM | Role
"""A model's name, an `LLM` with defaults of its own, a function, an agent, a team."""

T = TypeVar("T")


class Mind(Generic[T]):
    """Decides, in one type. Whatever made the decision, it is read and checked the same way.

    In a durable job a model's decision is written down before it is acted on, so a later attempt decides the same.
    """

    def __init__(self, by: By, kind: type[T], *, read: Callable[[Any], Any] | None = None) -> None:
        """`read` makes what code may return in short (`"billing"`) into something that fits `kind`."""
        self._kind = kind
        self._read = read
        self._shape: Shape[T] = Shape(kind)
        self._llm: LLM | None = LLM(by) if isinstance(by, str) else by if isinstance(by, LLM) else None
        self._works: Works | None = None if isinstance(by, str | LLM) else as_works(by)

    @property
    def by(self) -> str:
        """Who decides, for reasons that people read."""
        return "the model" if self._works is None else self._works.name

    async def decide(
        self, prompt: str, tally: Tally, question: str, about: Mapping[str, Any]
    ) -> tuple[T, list[AgentEvent]]:
        """The decision, and what happened on the way.

        Models and agents are given `prompt`; code gets the bare `question`, and what is in `about` under the names of its
        parameters. Raises `RoleFailed`, or what the model raised.
        """
        if self._llm is not None:
            return await self._asked(self._llm, prompt, tally)
        return await self._worked(prompt, tally, question, about)

    async def _asked(self, llm: LLM, prompt: str, tally: Tally) -> tuple[T, list[AgentEvent]]:
        output: Any = self._shape.format  # a format, and not a type: the reply itself is wanted, for what it took
        reply: ModelReply = await llm(prompt, output=output)
        events: list[AgentEvent] = [tally.heard(reply)]
        try:
            return self._shape.read(reply), events
        except ValueError as error:
            repair = self._shape.repair(reply, error)
        reply = await llm([said(prompt), *repair], output=output)
        events.append(tally.heard(reply))
        try:
            return self._shape.read(reply), events
        except ValueError as error:
            raise AnswerMisfit(f"A role's decision does not fit, twice: {error}") from error

    async def _worked(
        self, prompt: str, tally: Tally, question: str, about: Mapping[str, Any]
    ) -> tuple[T, list[AgentEvent]]:
        works = self._works
        assert works is not None  # noqa: S101 - the other kind was asked for
        events: list[AgentEvent] = []
        is_code = isinstance(works, CodeRole)
        run = Watched(works.name, works.stream(question, **about) if is_code else works.stream(prompt))
        async with closing(run.events()) as happenings:
            async for event in happenings:
                if isinstance(event, Text):
                    continue  # the decision itself, which is no part of an answer
                events.append(event)
        tally.add(run.end)
        if isinstance(run.end, Failed):
            raise RoleFailed(f"{works.name} could not decide: {run.end.message}")
        return self._fitted(run.end.output, works.name), events

    def _fitted(self, output: Any, name: str) -> T:
        if isinstance(output, self._kind):
            return output
        try:
            if self._read is not None:
                output = self._read(output)
            if isinstance(output, self._kind):
                return output
            if isinstance(output, str):
                return msgspec.json.decode(output, type=self._kind)
            return msgspec.convert(output, self._kind, from_attributes=True)
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise RoleFailed(
                f"{name} decided {output!r:.200}, which is no {self._kind.__name__} ({error}): return one, or a dict like it."
            ) from error


def shown(text: str, limit: int = 4_000) -> str:
    """Text as a model is shown it: the beginning and the end of what is too long."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n…\n{text[-half:]}"
