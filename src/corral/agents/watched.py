"""One member's run, watched: its events go on, its end is kept for who asked it to work."""

from __future__ import annotations

from collections.abc import AsyncIterator

from corral.agents.event import AgentEvent
from corral.agents.tally import Ending, failure_of, is_end, unended
from corral.messages import closing


class Watched:
    """A run of somebody who works. Whatever becomes of it, it has an end: one that raises has failed."""

    __slots__ = ("_stream", "end")

    def __init__(self, name: str, stream: AsyncIterator[AgentEvent]) -> None:
        """`stream` has not begun yet."""
        self._stream = stream
        self.end: Ending = unended(name)
        """How it ended, once its events are read."""

    async def events(self) -> AsyncIterator[AgentEvent]:
        """All events but the last. Close it to stop the run."""
        try:
            async with closing(self._stream) as events:
                async for event in events:
                    if is_end(event):
                        self.end = event
                        return
                    yield event
        except Exception as error:  # noqa: BLE001 - members are users' own, and may raise anything
            self.end = failure_of(self.end.agent, error)
