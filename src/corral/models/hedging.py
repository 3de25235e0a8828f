"""Asking twice: when the first one is slower than usual, a second one is asked, and the faster answer is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from corral.errors import ModelFailed, ModelStreamBroken
from corral.messages import ModelEvent, closing

_SAVED_MAX = 10.0
"""So many hedges may have been saved up."""

Ask = Callable[[], AsyncIterator[ModelEvent]]


class HedgeBudget:
    """Never more than `share` of all calls are asked twice: each call earns a share of a hedge."""

    __slots__ = ("_saved", "_share", "asked", "won")

    def __init__(self, share: float) -> None:
        """Starts with one saved, so that a first slow call may be helped."""
        self._share = share
        self._saved = 1.0 if share > 0 else 0.0
        self.asked = 0
        """Calls that were asked twice."""
        self.won = 0
        """Calls where the second one was faster."""

    def earn(self) -> None:
        """A call was made."""
        self._saved = min(_SAVED_MAX, self._saved + self._share)

    def spend(self) -> bool:
        """Whether one may be asked twice; if so, it is paid for."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        self.asked += 1
        return True


async def race(
    first: AsyncIterator[ModelEvent],
    second: Callable[[], AsyncIterator[ModelEvent] | None],
    *,
    after: Callable[[], Awaitable[None]],
    won: Callable[[], None],
) -> AsyncIterator[ModelEvent]:
    """Events of the one that says something first.

    `after` waits until the first one is late; then `second` is asked (none: there is nobody to ask, or it may not be). The
    slower one is closed as soon as the other has said something, and both are when the reader leaves. One that fails is
    out of the race; if both do, the first one's error is raised. `won` is called if the second one was faster.
    """
    async with closing(first) as events:
        leader = asyncio.ensure_future(_begin(events))
        try:
            late = asyncio.ensure_future(after())
            try:
                await asyncio.wait({leader, late}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _dropped(late)
            rival = None if leader.done() else second()
            if rival is None:
                yield await leader
                async for event in events:
                    yield event
                return
            async with closing(rival) as others:
                event, is_rival = await _faster(leader, asyncio.ensure_future(_begin(others)))
                if is_rival:
                    won()
                winner, loser = (others, events) if is_rival else (events, others)
                await loser.aclose()
                yield event
                async for event in winner:
                    yield event
        finally:
            await _dropped(leader)  # over by now, unless this was left before: an iterator that runs cannot be closed


async def _begin(events: AsyncIterator[ModelEvent]) -> ModelEvent:
    try:
        return await anext(events)
    except StopAsyncIteration:
        raise ModelStreamBroken from None


async def _faster(leader: asyncio.Task[ModelEvent], rival: asyncio.Task[ModelEvent]) -> tuple[ModelEvent, bool]:
    """The first event of the first that has one, and whether that is the rival. Both tasks are over when it returns."""
    try:
        waiting = {leader, rival}
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in (leader, rival):
                if task in done and task.exception() is None:
                    return task.result(), task is rival
            # A failure that is none of a model's is nothing to hide behind another answer.
            for task in done:
                error = task.exception()
                if error is not None and not isinstance(error, ModelFailed):
                    raise error
        return leader.result(), False
    finally:
        await _dropped(leader)
        await _dropped(rival)


async def _dropped(task: asyncio.Task[ModelEvent] | asyncio.Future[None]) -> None:
    """Cancel a task and see its end, so that its iterator is at rest and can be closed."""
    interrupted: asyncio.CancelledError | None = None
    if not task.done():
        task.cancel()
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                interrupted = error
    if not task.cancelled():
        task.exception()  # seen: the other one's word counts
    if interrupted is not None:
        raise interrupted
