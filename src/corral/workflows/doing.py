"""Who does what executions want done: what the engine expects of those it hands tasks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias

from corral.workflows.execution import Escalated, ExecutionInfo, Work
from corral.workflows.machine.happening import Message
from corral.workflows.machine.order import StartTask
from corral.workflows.machine.run import Facts

Tell: TypeAlias = Callable[..., None]
"""`tell(run, machine, message, *, now)`: what the machine does when something happens."""

Definitions: TypeAlias = Callable[[str, str], Awaitable[str]]
"""The text of a definition, by tenant and digest."""

CallTask: TypeAlias = Callable[[StartTask, Facts], Awaitable[Message]]
"""Does a task of an express execution here and now, and says how it ended."""


TellEscalated: TypeAlias = Callable[[Escalated], Awaitable[None]]
"""Tells whom a question is put to now, durably. Told twice, it is told once."""


class Doers(Protocol):
    """Those who do tasks of the kind `job`."""

    async def begin(self, tasks: Sequence[Work]) -> None:
        """See to it that these are done, durably. Given the same token twice, it is done once."""
        ...

    async def cancel(self, tenant: str, tokens: Sequence[str]) -> None:
        """Nobody waits for these any more. May be told of tokens that were never begun, or of kinds that others do."""
        ...

    def progress(self, tenant: str, token: str) -> AsyncIterator[Any]:
        """What a task tells while it runs; ends with it."""
        ...


class MapRuns(Protocol):
    """Those who go over the items of distributed Maps."""

    async def begin(self, work: Work) -> None:
        """Begin a map run, durably. Given the same ARN twice, it begins once. It ends with `MapRunEnded`."""
        ...

    async def cancel(self, tenant: str, execution_id: str, frame: str) -> None:
        """Stop the map run of this frame, and its children."""
        ...

    async def child_ended(self, child: ExecutionInfo) -> None:
        """A child is over. Told at least once, after it was written down."""
        ...


class Nobody:
    """Does no task and no map run: for machines without, and for processes that only read."""

    async def begin(self, tasks: object) -> None:
        """Leave it to somebody else."""

    async def cancel(self, tenant: str, *what: object) -> None:
        """There is nothing to stop."""

    async def progress(self, *_task: str) -> AsyncIterator[Any]:
        """Nothing is told."""
        nothing: tuple[Any, ...] = ()
        for one in nothing:
            yield one

    async def child_ended(self, child: ExecutionInfo) -> None:
        """Nobody waits for it."""


__all__ = ["CallTask", "Definitions", "Doers", "MapRuns", "Nobody", "Tell", "TellEscalated"]
