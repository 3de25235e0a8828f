"""Many small writes as few large ones: while one call to the store is under way, collect what the next one takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from corral.jobs.bell import Bell
from corral.jobs.outage import Outage

_log = logging.getLogger("corral.jobs")

_GATHER_S = 0.003
"""Who knows that more is about to come has what is there wait for it, at most so long."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Grouping(Generic[Item, Answer]):
    """Writes items in the order they came, all that are there in one call, one call at a time.

    A lone item goes out at once, unless whoever hands it in knows that more will follow in a moment. While the store does
    not answer, the same items are offered again and nobody is told anything: an answer always means that the store has it.
    What one item is refused for does not hit its neighbours: they are then written one by one.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[Item]], Awaitable[Sequence[Answer]]],
        outage: Outage,
        *,
        batch_max: int = 500,
        enough: Callable[[], int] = lambda: 1,
    ) -> None:
        """`write` answers for each item, in order; `name` is for the log. `enough` says how many are worth a call now."""
        self._name = name
        self._write = write
        self._outage = outage
        self._batch_max = batch_max
        self._enough = enough
        self._bell = Bell()
        self._waiting: list[tuple[Item, Callable[[Answer | Exception], None]]] = []
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Item, answered: Callable[[Answer | Exception], None]) -> None:
        """Have the item written, and `answered` called with what the store said, or with why it refused."""
        self._waiting.append((item, answered))
        if self._task is None:
            # In nobody's context: what it says in the log is about all whose items it writes, not about who came first.
            self._task = asyncio.get_running_loop().create_task(self._work(), context=Context())
        elif len(self._waiting) >= self._enough():
            self._bell.ring()

    async def add(self, item: Item) -> Answer:
        """Write the item and return what the store said. It is written even when the caller is cancelled meanwhile."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def answered(answer: Answer | Exception) -> None:
            if not future.done():
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

        self.put(item, answered)
        return await future

    async def finish(self, within_s: float) -> bool:
        """Wait until all is written; what is not by then is given up. True: all is written."""
        if self._task is None:
            return True
        task = self._task
        done, _ = await asyncio.wait([task], timeout=within_s)
        if not done:
            task.cancel()
            await asyncio.wait([task])
            _log.warning("Gave up writing %s: the store did not answer in time.", self._name)
        return bool(done)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch = self._waiting[: self._batch_max]
                del self._waiting[: self._batch_max]
                await self._flush(batch)
        finally:
            self._task = None

    async def _gather(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _GATHER_S
        self._bell.hush()
        while len(self._waiting) < self._enough() and (rest := until - loop.time()) > 0:
            await self._bell.wait(rest)

    async def _flush(self, batch: list[tuple[Item, Callable[[Answer | Exception], None]]]) -> None:
        items = [item for item, _ in batch]
        try:
            answers = await self._outage.outlast(self._name, lambda: self._write(items))
        except Exception as error:  # noqa: BLE001 - whatever the store has against it is told to whom it concerns
            if len(batch) == 1:
                _tell(batch[0][1], error)
                return
            for one in batch:
                await self._flush([one])
            return
        for (_, answered), answer in zip(batch, answers, strict=True):
            _tell(answered, answer)


def _tell(answered: Callable[[Answer | Exception], None], answer: Answer | Exception) -> None:
    try:
        answered(answer)
    except Exception:  # noqa: BLE001 - one that fails must not keep the others from hearing
        _log.exception("What comes after a write failed.")
