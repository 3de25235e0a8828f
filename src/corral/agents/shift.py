"""One request as a team works on it: who was woken, what each has found, and what all of it took."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from corral.agents.awake import Awake
from corral.agents.board import Board
from corral.agents.event import AgentEvent, Failed, Finished, HandOff, Works
from corral.agents.journal import TAINTED
from corral.agents.relay import Relay
from corral.agents.roles.plan import Result, as_shown
from corral.agents.saying import question_of, said
from corral.agents.tally import Ending, Tally, as_thought, is_end, text_of, unended
from corral.agents.working import variables_of
from corral.messages import Message, closing


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a member is woken for."""

    agent: str
    messages: list[Message]
    task: str = ""
    """In words, where it is not simply what was asked."""
    reason: str = ""


class Shift:
    """Wakes members and gathers what they find."""

    def __init__(
        self,
        tally: Tally,
        members: Mapping[str, Works],
        asked: list[Message],
        *,
        agents_max: int,
        at_once: int,
        variables: Mapping[str, Any],
    ) -> None:
        """`asked` is the conversation, with what was asked as its last message."""
        self.tally = tally
        self.members = members
        self.asked = asked
        self.awake = Awake(agents_max)
        self.results: list[Result] = []
        """What was found, in the order in which members ended."""
        self.last: Ending = unended(tally.name)
        """How the member that ended last did."""
        self.paused: Finished | None = None
        """The end of a member that waits for a person."""
        self.worked: list[dict[str, Any]] = []
        """Who was woken and how it ended, for the notes."""
        self._at_once = at_once
        self._variables = variables
        self._context = contextvars.copy_context()
        self.awake.enter(self._context)
        self.board = Board()
        self.board.enter(self._context)

    @property
    def question(self) -> str:
        """What was asked, as text."""
        return question_of(self.asked)

    @property
    def found(self) -> list[Message]:
        """The conversation, and what others have found since."""
        if not self.results:
            return self.asked
        told = f"Others have worked on this before you:\n\n{as_shown(self.results)}\n\nGo on from there."
        return [*self.asked, self.told(told)]

    def told(self, text: str) -> Message:
        """What a member is told of others' work, with the notes they have written; it carries along whose words are in it."""
        if shown := self.board.shown:
            text += f"\n\n<working_memory>\n{shown}\n</working_memory>"
        return said(text, tainted=(*self.tally.tainted, *self.board.memory.tainted))

    async def work(self, *tasks: Task, answers: bool = False) -> AsyncIterator[AgentEvent]:
        """Wake members, all at the same time, and pass on what happens. Raises `AgentsExceeded` before it wakes any too many.

        `answers`: what they write is the team's answer; else it comes as their thoughts.
        """
        for one in tasks:
            self.awake.wake(one.agent)
        at = dict(enumerate(tasks))
        ends: dict[int, Ending] = {}
        async with Relay(at_once=self._at_once, context=self._context) as relay:
            for number, one in at.items():
                yield HandOff(agent=self.tally.name, to=one.agent, reason=one.reason)
                relay.start(str(number), functools.partial(self._begun, one))
            async with closing(relay.events()) as events:
                async for number_said, event in events:
                    self.board.heard(event)
                    if is_end(event):
                        ends[int(number_said)] = event
                    else:
                        yield event if answers else as_thought(event)
        for number in sorted(ends):  # in the order of the tasks, whoever was quicker: the same answer each time
            self._over(at[number], ends[number])

    def _begun(self, one: Task) -> AsyncIterator[AgentEvent]:
        works = self.members[one.agent]
        return works.stream(one.messages, **variables_of(works, self._variables))

    def _over(self, one: Task, end: Ending) -> None:
        self.last = end
        self.tally.add(end)
        noted: dict[str, Any] = {"agent": one.agent, "steps": end.steps, "cost_usd": end.cost_usd}
        if end.run_id:
            noted["run_id"] = end.run_id
        if isinstance(end, Failed):
            noted["error"] = end.code
            self.results.append(Result(author=one.agent, text=end.message, task=one.task, failed=True))
        elif end.reason == "paused":
            noted["paused"] = True
            self.paused = self.paused or end
        elif "hand_off" in end.notes:
            noted["hand_off"] = end.notes["hand_off"]
        else:
            text = text_of(end)
            self.results.append(
                Result(author=one.agent, text=text, task=one.task, tainted=tuple(end.notes.get(TAINTED, ())))
            )
            self.board.answered(one.agent, text)
        self.worked.append(noted)

    def ended(self, end: Ending) -> Ending:
        """The team ends as this member did."""
        return self.tally.ended_as(end, members=self.worked)


def failures(results: Sequence[Result]) -> list[Result]:
    """Those that are none."""
    return [one for one in results if one.failed]
