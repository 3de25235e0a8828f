"""The conversation that several agents work in: read once for all of them, and what they answer is appended as one turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import msgspec

from corral.agents.connected import connected
from corral.agents.event import Asked, Finished
from corral.agents.history import History, open_session
from corral.agents.journal import TAINTED, RunState
from corral.agents.saying import messages_of, said
from corral.agents.tally import Ending, text_of
from corral.clock import new_id
from corral.context import find_context
from corral.messages import Message


class Conversation:
    """What was said before, what is asked now, and where the answer goes."""

    def __init__(self, name: str, asked: Asked, history: History) -> None:
        """Use `in_session`."""
        self._name = name
        self._asked = messages_of(asked)
        self._history = history

    @property
    def messages(self) -> list[Message]:
        """All of it, what is asked last: what members are given, who then need no session of their own."""
        before, tainted = self._history.messages, self._history.tainted
        if before and tainted:  # the words of a session carry along where they came from
            before = [msgspec.structs.replace(before[0], metadata={TAINTED: list(tainted)}), *before[1:]]
        return [*before, *self._asked]

    async def ended(self, end: Ending) -> None:
        """Append what was asked and answered. A run that failed, pauses or hands on has answered nothing."""
        if not isinstance(end, Finished) or end.reason == "paused" or "hand_off" in end.notes:
            return
        state = RunState()
        state.tainted = tuple(end.notes.get(TAINTED, ()))
        state.messages = [*self._asked, said(text_of(end), "assistant")]
        context = find_context()
        # A later attempt of the same job answers in the same turn, which is appended once.
        run_id = f"{context.job_id}/{self._name}" if context is not None and context.job_id else new_id()
        await self._history.record(run_id, state, with_tools=False)


@contextmanager
def counted(pattern: str) -> Iterator[list[Ending]]:
    """Count a run of several by how they work together, and by how it ends: what is put into the list, else it was cancelled."""
    ends: list[Ending] = []
    counting = connected().counting
    try:
        yield ends
    finally:
        if counting is not None:
            counting.team(pattern, _outcome(ends[-1]) if ends else "cancelled")


def _outcome(end: Ending) -> str:
    return end.reason if isinstance(end, Finished) else end.code


@asynccontextmanager
async def in_session(name: str, asked: Asked, session: str | None) -> AsyncIterator[Conversation]:
    """The conversation of a session, with its turn for as long as the block lasts; none: one that stands alone."""
    house = connected()
    async with AsyncExitStack() as stack:
        history = History(await open_session(stack, house, find_context(), session or ""))
        await history.load(house.settings.history_max)
        yield Conversation(name, asked, history)
