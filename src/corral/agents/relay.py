"""Members at work at the same time: their events as one stream, each from a task of its own."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from corral.agents.event import AgentEvent
from corral.agents.places import enter_place
from corral.agents.tally import Ending, failure_of, is_end, unended
from corral.messages import closing

Begin = Callable[[], AsyncIterator[AgentEvent]]
"""Begin a member's run."""

_AHEAD_MAX = 64
"""Events that members may be ahead of who reads them."""


class Relay:
    """Runs members and passes on what happens in them; leaving the block stops those that are not done, and waits for it.

    The last event of each is a `Finished` or a `Failed`, whatever it did: one that raises fails alone. Only what must end the
    whole invocation (a job that lets its worker go) is raised here, once the others have come to their ends.
    """

    def __init__(self, *, at_once: int, context: contextvars.Context | None = None) -> None:
        """No more than `at_once` work at any time; `context` holds the context variables they see (none: ours, as it is)."""
        self._places = asyncio.Semaphore(at_once)
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self._events: asyncio.Queue[tuple[str, AgentEvent | None]] = asyncio.Queue(_AHEAD_MAX)
        self._open = 0
        self._started = 0
        self._raised: BaseException | None = None

    def start(self, name: str, begin: Begin, place: int | None = None) -> None:
        """Have one more work, as soon as there is a place for it.

        `place` tells it from the others where the order in which they start is not always the same.
        """
        context = contextvars.copy_context() if self._context is None else self._context.copy()
        enter_place(context, self._started if place is None else place)
        self._started += 1
        task = asyncio.get_running_loop().create_task(self._pump(name, begin), context=context)
        self._tasks.add(task)
        self._open += 1

    async def _pump(self, name: str, begin: Begin) -> None:
        async with self._places:
            end: Ending | None = None
            try:
                async with closing(begin()) as events:
                    async for event in events:
                        if is_end(event):
                            end = event
                            break
                        await self._events.put((name, event))
            except Exception as error:  # noqa: BLE001 - members are users' own, and one that fails must not sink the rest
                end = failure_of(name, error)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - raised to who reads, see above
                self._raised = self._raised or error
                await self._events.put((name, None))
                return
        await self._events.put((name, end or unended(name)))

    async def events(self) -> AsyncIterator[tuple[str, AgentEvent]]:
        """What happens, and in whom, until all that were started are over; more may be started meanwhile."""
        while self._open:
            name, event = await self._events.get()
            if event is None or is_end(event):
                self._open -= 1
            if event is not None:
                yield name, event
        if self._raised is not None:
            raise self._raised

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop those that still work. Returns once they have given back what they held."""
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._open = 0
