"""Watches executions live: whoever follows one is woken when it moves, in this process or in another one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from corral.jobs.bell import Bell
from corral.workflows.execution import ExecutionInfo, HistoryPage, Progress, Work
from corral.workflows.machine.order import StartTask
from corral.workflows.machine.run import HistoryEvent
from corral.workflows.store import Executions, ExecutionWatch, execution_key

PATIENCE_S = 5.0
"""Wake-ups may be lost: who waits looks by himself this often."""
_PAGE = 200
_HEARD_MAX = 1000


class Following:
    """The bells of all who wait in this process, by what they follow."""

    def __init__(self, store: Executions) -> None:
        """`store` hears what other processes do."""
        self._store = store
        self._bells: dict[str, list[Bell]] = {}
        self._watches: dict[asyncio.AbstractEventLoop, ExecutionWatch] = {}

    @contextmanager
    def bell(self, key: str) -> Iterator[Bell]:
        """A bell that rings whenever what `key` names may have moved."""
        bell = Bell()
        watch = self._watch()
        bells = self._bells.setdefault(key, [])
        bells.append(bell)
        watch.follow(key)
        try:
            yield bell
        finally:
            watch.unfollow(key)
            bells.remove(bell)
            if not bells:
                self._bells.pop(key, None)

    def moved(self, keys: Sequence[str]) -> None:
        """These moved; called on the loop."""
        for key in keys:
            for bell in self._bells.get(key, ()):
                bell.ring()

    def close(self) -> None:
        """Hear nothing more. Calling it again does nothing."""
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()

    def _watch(self) -> ExecutionWatch:
        loop = asyncio.get_running_loop()
        watch = self._watches.get(loop)
        if watch is None:
            watch = self._watches[loop] = self._store.watch(self.moved)
        return watch

    async def ended(self, look: Callable[[], Awaitable[ExecutionInfo]]) -> ExecutionInfo:
        """Wait until an execution is over."""
        info = await look()
        if info.is_over:
            return info
        with self.bell(execution_key(info.tenant, info.id)) as bell:
            while True:
                info = await look()
                if info.is_over:
                    return info
                await bell.wait(PATIENCE_S)


class Followed(Protocol):
    """What following asks of the engine."""

    following: Following

    async def describe(self, tenant: str, execution_id: str) -> ExecutionInfo:
        """One execution."""
        ...

    async def history(self, tenant: str, execution_id: str, *, after: int | None, limit: int) -> HistoryPage:
        """Its history."""
        ...

    async def open_jobs(self, tenant: str, execution_id: str) -> list[Work]:
        """The jobs it waits for."""
        ...


class Told(Protocol):
    """What following asks of those who do tasks."""

    def progress(self, tenant: str, token: str) -> AsyncIterator[Any]:
        """What a task tells while it runs."""
        ...


async def follow(
    engine: Followed, doers: Told, tenant: str, execution_id: str, after: int
) -> AsyncIterator[HistoryEvent | Progress]:
    """Events after `after` as they are written, and what tasks tell between them; ends when the execution is over."""
    info = await engine.describe(tenant, execution_id)
    with engine.following.bell(execution_key(tenant, info.id)) as bell:
        listening = _Listening(doers, tenant, bell)
        try:
            while True:
                while listening.heard:
                    yield listening.heard.popleft()
                info = await engine.describe(tenant, info.id)
                while after < info.events:
                    page = await engine.history(tenant, info.id, after=after, limit=_PAGE)
                    if not page.events:
                        break
                    for event in page.events:
                        after = event.id
                        yield event
                if info.is_over:
                    return
                await listening.listen(await engine.open_jobs(tenant, info.id))
                await bell.wait(PATIENCE_S)
        finally:
            await listening.close()


class _Listening:
    """Hears all tasks of one execution that run."""

    def __init__(self, doers: Told, tenant: str, bell: Bell) -> None:
        self._doers = doers
        self._tenant = tenant
        self._bell = bell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.heard: deque[Progress] = deque(maxlen=_HEARD_MAX)
        """What nobody fetched yet; the oldest goes when it is too much."""

    async def listen(self, works: Sequence[Work]) -> None:
        """These are the ones that run now."""
        open_now = {work.token: work for work in works if isinstance(work.order, StartTask)}
        await self._end([token for token in self._tasks if token not in open_now])
        for token, work in open_now.items():
            if token not in self._tasks:
                self._tasks[token] = asyncio.get_running_loop().create_task(self._hear(work))

    async def close(self) -> None:
        """Hear nothing more."""
        await self._end(list(self._tasks))

    async def _end(self, names: list[str]) -> None:
        tasks = [self._tasks.pop(token) for token in names]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _hear(self, work: Work) -> None:
        state = work.order.state
        async for data in self._doers.progress(self._tenant, work.token):
            self.heard.append(Progress(state=state, token=work.token, data=data))
            self._bell.ring()
