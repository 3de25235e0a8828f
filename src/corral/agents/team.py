"""`Team`: several agents that work on one request together, and are called like one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from corral.agents.conversation import counted, in_session
from corral.agents.event import AgentEvent, Asked, UsageSeen, Works
from corral.agents.handing import hand_off_tool
from corral.agents.limits import Limits, Together
from corral.agents.patterns import HandedOn, Parallel, Pattern, Sequential, Supervised, Turn
from corral.agents.roles.mind import By, Mind
from corral.agents.roles.presenter import Presenter
from corral.agents.roles.role import Role, by_name
from corral.agents.shift import Shift
from corral.agents.tally import Tally, is_end
from corral.agents.working import Working, open_variables
from corral.errors import ConfigError, CorralError
from corral.messages import Message, closing
from corral.observability.traces import span

PatternName: TypeAlias = Literal["sequential", "parallel", "supervisor", "hand_off"]

_AGENTS_MAX = 10
_AT_ONCE = 4


class Team(Working):
    """Members that work together in one of four patterns. A team works like an agent, also as a member of another team.

        desk = Team("desk", pattern="hand_off", members=[triage, billing, shipping])
        desk = Team("desk", pattern="supervisor", by="smart", members=[logs, deployments, runbooks], agents_max=6)

    - `sequential`: one after the other, each shown what those before it found; the last one's answer is the team's
    - `parallel`: all at the same time; one that fails does not sink the rest; `present` makes one answer
    - `supervisor`: `by` has members do tasks until it can answer
    - `hand_off`: the first one answers or hands on; circles are found and end it

    What members write on the way comes as `reasoning`, under their names: `text` is the team's answer alone.
    """

    def __init__(  # noqa: PLR0913 - each is a word of what people say about it
        self,
        name: str,
        *,
        members: Mapping[str, Role] | Sequence[Role],
        pattern: PatternName = "sequential",
        by: By | None = None,
        present: Presenter | By | None = None,
        description: str = "",
        agents_max: int = _AGENTS_MAX,
        hand_offs_max: int = 4,
        at_once: int = _AT_ONCE,
        limits: Limits | None = None,
    ) -> None:
        """`agents_max`: how many one request may wake, teams inside of it included; `at_once`: of these at the same time.

        `limits`: what all members together may take of money (`usd`), tokens and questions to models (`steps`); each of them has its own beside.

        `by` leads a `supervisor` team: a model's name, an `LLM`, an agent, or code. Raises `ConfigError` for what cannot work.
        """
        self.name = name
        named = by_name(members, f"The team {name!r}")
        self.members = _handing(named) if pattern == "hand_off" else named
        self.pattern = pattern
        self.description = description or f"A team of {', '.join(self.members)}."
        self._agents_max = agents_max
        self._at_once = at_once
        self._limits = limits or Limits()
        _check(name, pattern, by, len(self.members), agents_max)
        presenter = present if isinstance(present, Presenter) else None if present is None else Presenter(present)
        self._work = self._pattern(pattern, by, presenter, hand_offs_max)

    def _pattern(self, name: PatternName, by: By | None, presenter: Presenter | None, hand_offs_max: int) -> Pattern:
        if name == "parallel":
            return Parallel(presenter or Presenter(name=self.name))
        if name == "supervisor":
            assert by is not None  # noqa: S101 - checked
            return Supervised(Mind(by, Turn, read=_read))
        if name == "hand_off":
            return HandedOn(next(iter(self.members)), hand_offs_max)
        return Sequential(presenter)

    def __repr__(self) -> str:
        return f"Team({self.name!r}, pattern={self.pattern!r}, members={list(self.members)})"

    @property
    def open_variables(self) -> tuple[str, ...]:
        """The variables that members leave open."""
        return open_variables(self.members.values())

    async def stream(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> AsyncIterator[AgentEvent]:
        """Work, event by event; what happens in members carries their names. Close it to stop all of them.

        With a `session`, all members read what was said in it, and what the team answers is appended as one turn.
        """
        tally = Tally(self.name)
        with (
            counted(self.pattern) as ends,
            span(f"invoke_team {self.name}", **{"corral.team.pattern": self.pattern}) as attributes,
        ):
            try:
                async with in_session(self.name, prompt, session) as conversation:
                    shift = self._shift(tally, conversation.messages, variables)
                    together = Together(self.name, self._limits)
                    try:
                        async with closing(self._work(shift)) as events:
                            async for event in events:
                                if type(event) is UsageSeen:
                                    together.add(event)
                                if is_end(event):
                                    ends.append(event)
                                    await conversation.ended(event)
                                yield event
                    finally:
                        shift.board.end()
                        attributes["corral.team.woken"] = shift.awake.count
            except CorralError as error:
                ends.append(tally.failed(error))
                yield ends[-1]

    def _shift(self, tally: Tally, asked: list[Message], variables: Mapping[str, Any]) -> Shift:
        return Shift(
            tally, self.members, asked, agents_max=self._agents_max, at_once=self._at_once, variables=variables
        )


def _handing(members: dict[str, Works]) -> dict[str, Works]:
    """Agents get a tool to hand on with; code returns `HandTo`, and whoever else says so in its last event."""
    described = {name: one.description for name, one in members.items()}
    return {
        name: adds(hand_off_tool({other: what for other, what in described.items() if other != name}))
        if (adds := getattr(one, "with_tools", None)) is not None and len(members) > 1
        else one
        for name, one in members.items()
    }


def _check(name: str, pattern: str, by: object, members: int, agents_max: int) -> None:
    if pattern not in get_args(PatternName):
        raise ConfigError(
            f"The team {name!r} has the pattern {pattern!r}; there are {', '.join(get_args(PatternName))}."
        )
    if pattern == "supervisor" and by is None:
        raise ConfigError(f"The team {name!r} has nobody who leads: say `by=` with a model, an agent or a function.")
    if pattern != "supervisor" and by is not None:
        raise ConfigError(f"The team {name!r} works by the pattern {pattern!r}, which nobody leads: leave `by` away.")
    least = members if pattern in {"sequential", "parallel"} else 1
    if agents_max < least:
        raise ConfigError(
            f"The team {name!r} wakes all of its {members} members, and may wake {agents_max}: raise `agents_max`."
        )


def _read(said: Any) -> Any:
    """Code may return the answer, or pairs of member and task."""
    if isinstance(said, str):
        return Turn(assignments=[], answer=said)
    if isinstance(said, list):
        return {
            "assignments": [
                {"agent": one[0], "task": one[1]} if isinstance(one, tuple | list) else one for one in said
            ],
            "answer": "",
        }
    return said
