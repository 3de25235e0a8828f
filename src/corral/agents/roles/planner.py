"""The planner: divides a task into steps for its members, has them done, and plans anew where one fails."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from corral.agents.conversation import counted, in_session
from corral.agents.event import AgentEvent, Asked, Failed, Finished, HandOff, Works
from corral.agents.failing import PlanFailed
from corral.agents.journal import TAINTED
from corral.agents.relay import Relay
from corral.agents.roles.mind import By, Mind, shown
from corral.agents.roles.plan import Plan, Result, Step, as_shown, tainted_of
from corral.agents.roles.presenter import Presenter
from corral.agents.roles.role import Role, by_name
from corral.agents.saying import conversation_of, question_of, said
from corral.agents.tally import Ending, Tally, as_thought, is_end, text_of
from corral.agents.watched import Watched
from corral.agents.working import Working, open_variables, variables_of
from corral.errors import CorralError
from corral.messages import closing

_PROMPT = """\
Divide the task between the marks into at most {steps_max} steps for these agents:

{members}

A step has an id (s1, s2, …), the agent who does it, the task in words that can be understood alone, and the ids of the steps whose
results it needs. Steps that need nothing of each other are done at the same time. Plan as few steps as will do.

<task>
{question}
</task>"""
_AGAIN = """\


An earlier plan did not work out.
{faults}

What is done and stays done (name these ids where a step needs them):

{done}

Plan only what is still to be done, with new ids and in another way."""


class Planner(Working):
    """Works by a typed plan. Each step is a run of one member; steps that need nothing of each other run at the same time.

    A step that fails, or a plan that cannot be carried out, is planned anew: with what is done, and with what went wrong.
    That happens at most `replans_max` times.
    """

    def __init__(
        self,
        members: Mapping[str, Role] | Sequence[Role],
        *,
        by: By,
        present: Presenter | By | None = None,
        steps_max: int = 12,
        replans_max: int = 2,
        at_once: int = 4,
        name: str = "planner",
        description: str = "",
    ) -> None:
        """`by`: who plans; code gets the question, and `members`, `done` and `faults` where it has such parameters.

        `present` makes the answer of the results of the last steps; none: they are put below each other.
        """
        self.name = name
        self._members = by_name(members, f"The planner {name!r}")
        self.description = description or f"Plans tasks for {', '.join(self._members)}."
        self._mind = Mind(by, Plan, read=_read)
        self._presenter = present if isinstance(present, Presenter) else Presenter(present)
        self._steps_max = steps_max
        self._replans_max = replans_max
        self._at_once = at_once

    @property
    def members(self) -> dict[str, Works]:
        """Who does the steps."""
        return self._members

    @property
    def open_variables(self) -> tuple[str, ...]:
        """The variables that members leave open."""
        return open_variables(self._members.values())

    async def stream(self, prompt: Asked, *, session: str | None = None, **variables: Any) -> AsyncIterator[AgentEvent]:
        """Plan, act, and present. What members write comes as their thoughts; the answer is the presenter's.

        With a `session`, what was said in it is there for who presents, and the answer is appended as one turn.
        """
        with counted("plan") as ends:
            async with in_session(self.name, prompt, session) as conversation:
                work = _Work(conversation.messages, Tally(self.name), variables)
                async with closing(self._worked(work)) as events:
                    async for event in events:
                        if is_end(event):
                            ends.append(event)
                            await conversation.ended(event)
                        yield event

    async def _worked(self, work: _Work) -> AsyncIterator[AgentEvent]:
        while True:
            try:
                plan, events = await self._planned(work)
            except CorralError as error:
                yield work.tally.failed(error)
                return
            for event in events:
                yield event
            if plan is not None:
                async with closing(self._carried_out(plan, work)) as happenings:
                    async for event in happenings:
                        yield event
            if work.paused is not None:
                yield work.tally.ended_as(work.paused)
                return
            if plan is not None and not work.faults:
                break
            if work.replans >= self._replans_max:
                yield work.tally.failed(PlanFailed(" ".join(work.faults)))
                return
            work.replans += 1
        async with closing(self._presented(plan, work)) as happenings:
            async for event in happenings:
                yield event

    # -- plan ----------------------------------------------------------------------------------------------------------

    async def _planned(self, work: _Work) -> tuple[Plan | None, list[AgentEvent]]:
        """A plan that can be carried out; none: it cannot, and `work.faults` says why."""
        question = question_of(work.asked)
        listed = "\n".join(f"- {name}: {one.description or name}" for name, one in self._members.items())
        prompt = _PROMPT.format(
            steps_max=self._steps_max, members=listed, question=shown(conversation_of(work.asked), 8_000)
        )
        if work.faults:
            done = as_shown(list(work.done.values())) or "Nothing."
            prompt += _AGAIN.format(faults="\n".join(work.faults), done=done)
        about = {"members": list(self._members), "done": dict(work.done), "faults": list(work.faults)}
        plan, events = await self._mind.decide(prompt, work.tally, question, about)
        work.faults = plan.faults(list(self._members), steps_max=self._steps_max, done=list(work.done))
        return (None if work.faults else plan), events

    # -- act -----------------------------------------------------------------------------------------------------------

    async def _carried_out(self, plan: Plan, work: _Work) -> AsyncIterator[AgentEvent]:
        steps = {step.id: step for step in plan.steps}
        begun: set[str] = set()
        async with Relay(at_once=self._at_once) as relay:
            for event in self._begin(plan, begun, relay, work):
                yield event
            async with closing(relay.events()) as happenings:
                async for step, event in happenings:
                    if not is_end(event):
                        yield as_thought(event)
                        continue
                    work.over(steps[step], event)
                    if (
                        not work.faults and work.paused is None
                    ):  # else what runs comes to its end and nothing new begins
                        for started in self._begin(plan, begun, relay, work):
                            yield started

    def _begin(self, plan: Plan, begun: set[str], relay: Relay, work: _Work) -> list[AgentEvent]:
        events: list[AgentEvent] = []
        for step in plan.ready(list(work.done), begun):
            begun.add(step.id)
            works = self._members[step.agent]
            asked = [said(work.task(step), tainted=tainted_of([work.done[need] for need in step.needs]))]
            given = variables_of(works, work.variables)
            relay.start(step.id, functools.partial(works.stream, asked, **given), place=plan.steps.index(step))
            events.append(HandOff(agent=self.name, to=step.agent, reason=f"{step.id}: {step.task}"))
        return events

    # -- present -------------------------------------------------------------------------------------------------------

    async def _presented(self, plan: Plan, work: _Work) -> AsyncIterator[AgentEvent]:
        results = [work.done[step.id] for step in plan.last]
        presented = Watched(self._presenter.name, self._presenter.present(work.asked, results))
        async with closing(presented.events()) as happenings:
            async for event in happenings:
                yield event
        work.tally.add(presented.end)
        yield work.tally.ended_as(presented.end, plan=msgspec.to_builtins(plan), replans=work.replans)


class _Work:
    """What is done of a task, and what went wrong."""

    def __init__(self, asked: Asked, tally: Tally, variables: dict[str, Any]) -> None:
        self.asked = asked
        self.tally = tally
        self.variables = variables
        self.done: dict[str, Result] = {}
        self.faults: list[str] = []
        self.replans = 0
        self.paused: Finished | None = None
        """The end of a step that waits for a person."""

    def task(self, step: Step) -> str:
        """A step as its agent is asked it."""
        whole = f"This is one step of a larger task: {shown(question_of(self.asked), 1_000)}\n\nYour step: {step.task}"
        needed = [self.done[need] for need in step.needs]
        return f"{whole}\n\nWhat you need for it:\n\n{as_shown(needed)}" if needed else whole

    def over(self, step: Step, end: Ending) -> None:
        """A step has ended."""
        self.tally.add(end)
        if isinstance(end, Failed):
            self.faults.append(f"Step {step.id} ({step.agent}: {step.task}) failed: {end.message}")
        elif end.reason == "paused":
            self.paused = self.paused or end
        else:
            self.done[step.id] = Result(
                author=step.agent,
                text=text_of(end),
                task=step.task,
                step=step.id,
                tainted=tuple(end.notes.get(TAINTED, ())),
            )


def _read(given: Any) -> Any:
    """Code may return steps alone, as dicts or as pairs of agent and task that are done one after the other."""
    if not isinstance(given, list):
        return given
    steps = []
    for number, one in enumerate(given, 1):
        if isinstance(one, tuple | list):
            before = [f"s{number - 1}"] if number > 1 else []
            one = {"id": f"s{number}", "agent": one[0], "task": one[1], "needs": before}  # noqa: PLW2901 - the longer form
        elif isinstance(one, dict):
            one = {"id": f"s{number}", "needs": [], **one}  # noqa: PLW2901 - as above
        steps.append(one)
    return {"steps": steps}
