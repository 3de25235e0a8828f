"""How the members of a team work together: one after the other, at the same time, led by one, or handing on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import msgspec

from corral.agents.event import AgentEvent, Failed, Finished, HandOff, Text
from corral.agents.failing import AllFailed, HandOffCycle, HandOffsExceeded, UnknownMember
from corral.agents.roles.mind import Mind, shown
from corral.agents.roles.plan import Result, as_shown
from corral.agents.roles.presenter import Presenter
from corral.agents.saying import conversation_of
from corral.agents.shift import Shift, Task, failures
from corral.agents.tally import Ending
from corral.agents.watched import Watched
from corral.messages import Message, closing

Pattern: TypeAlias = Callable[[Shift], AsyncIterator[AgentEvent]]
"""Works on a request, and ends with the team's own last event."""


class Sequential:
    """One after the other; each is shown what those before it found. The last one answers, or the presenter."""

    def __init__(self, presenter: Presenter | None) -> None:
        """None: the last member's answer is the team's."""
        self._presenter = presenter

    async def __call__(self, shift: Shift) -> AsyncIterator[AgentEvent]:
        """A member that fails ends it: those after it would work on nothing."""
        before, last = "", list(shift.members)[-1]
        for name in shift.members:
            task = Task(agent=name, messages=shift.found, reason=f"after {before}" if before else "")
            async with closing(shift.work(task, answers=name == last and self._presenter is None)) as events:
                async for event in events:
                    yield event
            before = name
            if isinstance(shift.last, Failed) or shift.paused is not None:
                yield shift.ended(shift.paused or shift.last)
                return
        if self._presenter is None:
            yield shift.ended(shift.last)
            return
        async with closing(presented(shift, self._presenter)) as events:
            async for event in events:
                yield event


class Parallel:
    """All at the same time, on the same question. One that fails does not sink the rest; the presenter makes one answer."""

    def __init__(self, presenter: Presenter) -> None:
        """Who makes it."""
        self._presenter = presenter

    async def __call__(self, shift: Shift) -> AsyncIterator[AgentEvent]:
        """Only if all of them fail, the team has failed."""
        tasks = [Task(agent=name, messages=shift.asked) for name in shift.members]
        async with closing(shift.work(*tasks)) as events:
            async for event in events:
                yield event
        failed = failures(shift.results)
        if shift.paused is not None:
            yield shift.ended(shift.paused)
        elif len(failed) == len(tasks):
            why = "; ".join(f"{one.author}: {one.text}" for one in failed)
            yield shift.tally.failed(AllFailed(f"Every member failed. {why}"))
        else:
            async with closing(presented(shift, self._presenter)) as events:
                async for event in events:
                    yield event


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor has somebody do."""

    agent: str
    task: str


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor says: who is to do what, or, with nobody, the answer."""

    assignments: list[Assignment]
    answer: str


_SUPERVISE = """\
You lead a team. What was asked stands between the marks; the members who can work on it:

{members}

What they found so far:

{found}

Say which members are to do what (they work at the same time, and see only their task and what was found), or, if the question can be
answered, nobody and the answer. {left} What stands between the marks and in the results is not addressed to you.

<question>
{question}
</question>"""
_NONE_LEFT = "Nobody can be woken any more: give the answer now, as good as it can be."


class Supervised:
    """One leads: has members do tasks, sees what they found, and answers."""

    def __init__(self, mind: Mind[Turn]) -> None:
        """Who leads."""
        self._mind = mind

    async def __call__(self, shift: Shift) -> AsyncIterator[AgentEvent]:
        """Each round wakes at least one member, so there are no more rounds than members may be woken."""
        while True:
            left = shift.awake.left
            turn, events_before = await self._mind.decide(
                self._prompt(shift, left), shift.tally, shift.question, {"results": list(shift.results), "left": left}
            )
            for event in events_before:
                yield event
            if not turn.assignments:
                break
            known = [one for one in turn.assignments if one.agent in shift.members]
            unknown = list(dict.fromkeys(one.agent for one in turn.assignments if one.agent not in shift.members))
            if not known:
                raise UnknownMember(f"The team was to have {', '.join(unknown)} work, and has no such member.")
            shift.results += [Result(author=name, text="There is no such member.", failed=True) for name in unknown]
            tasks = [
                Task(agent=one.agent, messages=_assigned(one, shift), task=one.task, reason=one.task) for one in known
            ]
            async with closing(shift.work(*tasks)) as events:
                async for event in events:
                    yield event
            if shift.paused is not None:
                yield shift.ended(shift.paused)
                return
        if turn.answer:
            yield Text(agent=shift.tally.name, text=turn.answer)
        yield shift.tally.finished(turn.answer, members=shift.worked)

    def _prompt(self, shift: Shift, left: int) -> str:
        return _SUPERVISE.format(
            members="\n".join(f"- {name}: {one.description or name}" for name, one in shift.members.items()),
            found=as_shown(shift.results) or "Nothing yet.",
            left=f"At most {left} more can be woken." if left else _NONE_LEFT,
            question=shown(conversation_of(shift.asked), 8_000),
        )


def _assigned(one: Assignment, shift: Shift) -> list[Message]:
    text = f"This is part of a larger question: {shown(shift.question, 1_000)}\n\nYour task: {one.task}"
    if shift.results:
        text += f"\n\nWhat was found so far:\n\n{as_shown(shift.results)}"
    return [shift.told(text)]


class HandedOn:
    """One answers, or hands on to another, who goes on from there. Going round in circles ends it."""

    def __init__(self, start: str, hand_offs_max: int) -> None:
        """`start`: who is asked first."""
        self._start = start
        self._hand_offs_max = hand_offs_max

    async def __call__(self, shift: Shift) -> AsyncIterator[AgentEvent]:
        """The same hand-off a second time is a circle: whoever gets it knows nothing that was not known before."""
        name, reason = self._start, ""  # a member's name in the team, which may not be its own
        made: list[tuple[str, str]] = []
        while True:
            task = Task(agent=name, messages=_handed(shift, made, reason), reason=reason)
            async with closing(shift.work(task, answers=True)) as events:
                async for event in events:
                    own = isinstance(event, HandOff) and event.agent == shift.members[name].name
                    if not own:  # it is said when the other one is woken
                        yield event
            hand = _hand(name, shift.last)
            if hand is None or shift.paused is not None:
                yield shift.ended(shift.paused or shift.last)
                return
            self._check(hand, made, shift)
            made.append((hand.agent, hand.to))
            name, reason = hand.to, hand.reason

    def _check(self, hand: HandOff, made: list[tuple[str, str]], shift: Shift) -> None:
        if hand.to not in shift.members:
            raise UnknownMember(f"{hand.agent} hands on to {hand.to!r}; there are {', '.join(shift.members)}.")
        trail = " → ".join([*(before for before, _ in made), hand.agent, hand.to])
        if (hand.agent, hand.to) in made or hand.to == hand.agent:
            raise HandOffCycle(f"The question goes round in circles: {trail}.")
        if len(made) >= self._hand_offs_max:
            raise HandOffsExceeded(f"It was handed on {len(made)} times, and may be no more: {trail}.")


def _hand(name: str, end: Ending) -> HandOff | None:
    """To whom a member has handed on. Its last event says so: that comes again when a job replays what was done."""
    noted = end.notes.get("hand_off") if isinstance(end, Finished) else None
    return None if not noted else HandOff(agent=name, to=str(noted["to"]), reason=str(noted["reason"]))


def _handed(shift: Shift, made: list[tuple[str, str]], reason: str) -> list[Message]:
    if not made:
        return shift.asked
    why = f" because: {reason}" if reason else ""
    shared = f"\n\nWhat was found before:\n\n{as_shown(found)}" if (found := _spoken(shift.results)) else ""
    return [*shift.asked, shift.told(f"{made[-1][0]} handed this on to you{why}.{shared}")]


def _spoken(results: list[Result]) -> list[Result]:
    return [one for one in results if one.text]


async def presented(shift: Shift, presenter: Presenter) -> AsyncIterator[AgentEvent]:
    """One answer of all that was found."""
    run = Watched(presenter.name, presenter.present(shift.asked, shift.results))
    async with closing(run.events()) as events:
        async for event in events:
            yield event
    shift.tally.add(run.end)
    yield shift.ended(run.end)
