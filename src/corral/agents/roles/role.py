"""A role is anything that works: an agent, a team, another role, a bare model, or a function of yours."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from corral.agents.event import AgentEvent, Asked, Finished, HandOff, Text, Works
from corral.agents.saying import messages_of, question_of, said
from corral.agents.tally import Tally, failure_of, text_of
from corral.context import is_asynchronous
from corral.errors import ConfigError, CorralError
from corral.messages import Delta, closing
from corral.models.llm import LLM

Role: TypeAlias = Works | LLM | Callable[..., Any]
"""Who can be a member of a team, or what a role is built on."""


def as_works(role: Role, name: str = "") -> Works:
    """The role as something that works; a function gets its own name, and its docstring as description.

    Raises `ConfigError` for what is neither.
    """
    if isinstance(role, LLM):
        return ModelRole(role, name=name or "model")
    if callable(getattr(role, "stream", None)) and isinstance(getattr(role, "name", None), str):
        return role  # type: ignore[return-value]  # just looked at
    if callable(role) and not inspect.isclass(role):
        return CodeRole(role, name=name)
    raise ConfigError(
        f"{role!r} cannot be a role: pass an Agent, a Team, an LLM, a function, or an object with `name`, `description` and "
        "`stream(prompt, session=…)`."
    )


def by_name(roles: Mapping[str, Role] | Sequence[Role], whose: str) -> dict[str, Works]:
    """Roles by their names. Raises `ConfigError` if two have the same, or there is none."""
    if isinstance(roles, Mapping):
        found = [(name, as_works(role, name)) for name, role in roles.items()]
    else:
        found = [(works.name, works) for works in map(as_works, roles)]
    named = dict(found)
    if len(named) < len(found):
        names = [name for name, _ in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"{whose} has more than one member called {', '.join(twice)}: give each a name of its own.")
    if not named:
        raise ConfigError(f"{whose} has no members: pass at least one agent or function.")
    return named


class HandTo(msgspec.Struct, frozen=True):
    """What a function returns when another member of its team is to go on instead: `return HandTo("billing", "a refund")`."""

    to: str
    reason: str = ""


class CodeRole:
    """A function that answers: asynchronous, plain (called in a thread), or a generator of pieces of text.

    It gets what was asked as text, and those of the variables that its parameters name. What it returns is the output.
    """

    def __init__(self, fn: Callable[..., Any], *, name: str = "", description: str = "") -> None:
        """Looked at once."""
        self._fn = fn
        self.name = name or getattr(fn, "__name__", type(fn).__name__)
        self.description = description or (inspect.getdoc(fn) or "").partition("\n")[0]
        self._variables = _accepted(fn)

    def __repr__(self) -> str:
        return f"CodeRole({self.name!r})"

    async def stream(
        self,
        prompt: Asked,
        *,
        session: str | None = None,  # noqa: ARG002 - as everything that works
        **variables: Any,
    ) -> AsyncIterator[AgentEvent]:
        """Call it. Whatever it raises is the run's failure."""
        given = {name: value for name, value in variables.items() if self._variables is None or name in self._variables}
        said: list[str] = []
        try:
            if inspect.isasyncgenfunction(self._fn):
                async for piece in self._fn(question_of(prompt), **given):
                    said.append(str(piece))
                    yield Text(agent=self.name, text=said[-1])
                output: Any = "".join(said)
            else:
                output = await self._called(question_of(prompt), given)
        except Exception as error:  # noqa: BLE001 - a user's own function may raise anything
            yield failure_of(self.name, error)
            return
        if isinstance(output, HandTo):
            yield HandOff(agent=self.name, to=output.to, reason=output.reason)
            yield Finished(agent=self.name, notes={"hand_off": {"to": output.to, "reason": output.reason}})
            return
        end = Finished(agent=self.name, output=output)
        if not said and (text := text_of(end)):
            yield Text(agent=self.name, text=text)
        yield end

    async def _called(self, question: str, given: dict[str, Any]) -> Any:
        if is_asynchronous(self._fn):
            return await self._fn(question, **given)
        if inspect.isgeneratorfunction(self._fn):
            return await asyncio.to_thread(lambda: "".join(str(piece) for piece in self._fn(question, **given)))
        result = await asyncio.to_thread(self._fn, question, **given)
        return await result if inspect.isawaitable(result) else result


class ModelRole:
    """A model that answers by itself: no tools, one question."""

    def __init__(self, llm: LLM, *, name: str, description: str = "", instructions: str = "") -> None:
        """`instructions` go before the conversation; an `LLM` may have some of its own."""
        self.name = name
        self.description = description
        self._llm = llm
        self._instructions = [said(instructions, "system")] if instructions else []

    def __repr__(self) -> str:
        return f"ModelRole({self.name!r})"

    async def stream(
        self,
        prompt: Asked,
        *,
        session: str | None = None,  # noqa: ARG002 - as everything that works
        **variables: Any,  # noqa: ARG002 - as above
    ) -> AsyncIterator[AgentEvent]:
        """The answer, piece by piece."""
        tally = Tally(self.name)
        pieces: list[str] = []
        try:
            async with closing(self._llm.stream([*self._instructions, *messages_of(prompt)])) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        texts = (event.pieces or (event.text,)) if event.kind == "text" else ()
                    else:
                        yield tally.heard(event)
                        texts = () if pieces else (event.text,)  # an answer that came without pieces
                    for text in filter(None, texts):
                        pieces.append(text)
                        yield Text(agent=self.name, step=1, text=text)
        except CorralError as error:
            yield tally.failed(error)
            return
        yield tally.finished("".join(pieces))


def _accepted(fn: Callable[..., Any]) -> frozenset[str] | None:
    """The names of variables it takes besides the question; none: all of them."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return frozenset()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    keywords = [one.name for one in parameters if one.kind in kinds]
    first = parameters[0] if parameters else None
    return frozenset(keywords[1:] if first is not None and first.kind is kinds[0] else keywords)
