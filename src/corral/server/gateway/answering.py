"""The questions that the gateway answers just now: each ends when its client leaves, or when an operator stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self, TypeVar

from corral.context import enter_context
from corral.errors import Cancelled, CorralError
from corral.messages import EmbedCall, ModelCall
from corral.runtime.board import Item
from corral.runtime.invocation import CancelReason
from corral.server.answer import write_error
from corral.server.disconnect import ClientWatch
from corral.server.gateway.dialect import OPENAI
from corral.server.http import ClientGone, Request

T = TypeVar("T")
Spent = Callable[[ModelCall | EmbedCall], float | None]
"""What a question has cost for certain before its answer is there."""


class Questions:
    """Those of this worker."""

    def __init__(self, spent: Spent = lambda _: None) -> None:
        """`spent` is asked when somebody looks."""
        self._running: dict[Answering, None] = {}
        self._spent = spent

    def __iter__(self) -> Iterator[Answering]:
        return iter(list(self._running))

    def answering(self, request: Request, call: ModelCall | EmbedCall) -> Answering:
        """One more, for as long as the block."""
        return Answering(request, call, self._running, self._spent)


class Answering:
    """One of them. Nobody pays for what nobody reads: it is cancelled when its client has gone."""

    __slots__ = ("_call", "_cost_usd", "_is_asking", "_running", "_spent", "_task", "_watch", "is_stopped", "request")

    def __init__(
        self, request: Request, call: ModelCall | EmbedCall, running: dict[Answering, None], spent: Spent
    ) -> None:
        """Made by `Questions`."""
        self.request = request
        self.is_stopped = False
        """Whether an operator stopped it."""
        self._call = call
        self._running = running
        self._spent = spent
        self._cost_usd: float | None = None
        self._is_asking = False
        self._watch: ClientWatch | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is run by a task
        self._task: asyncio.Task[Any] = task
        enter_context(self.request.context)  # of this request's task: spans of the call find their place
        self._watch = ClientWatch(self.request, self._left)
        self._running[self] = None
        return self

    def __exit__(self, *_: object) -> None:
        del self._running[self]
        if self._watch is not None:
            self._watch.close()

    async def unless_over(self, work: Awaitable[T]) -> T | None:
        """The result; none if the client left meanwhile, or somebody stopped it, which the client is told."""
        assert self._watch is not None  # noqa: S101 - entered
        self._is_asking = True
        try:
            return await work
        except asyncio.CancelledError:
            if self._watch.gone:
                self.request.failure = ClientGone()
                return None
            if not self.is_stopped:
                raise
            await self._fail(self.stopped())
            return None
        except CorralError as error:
            await self._fail(error)
            return None
        finally:
            self._is_asking = False

    async def _fail(self, error: CorralError) -> None:
        self.request.failure = error
        if self._watch is not None and not self._watch.gone:
            await write_error(self.request, error, OPENAI)

    # -- for who looks, and stops

    @property
    def started_at(self) -> float:
        """On the monotonic clock."""
        return self.request.started_at

    def item(self, now: float) -> Item:
        """What it is, for lists."""
        caller = self._call.caller
        if self._cost_usd is None:
            self._cost_usd = self._spent(self._call)
        return Item(
            kind="call",
            tenant=caller.tenant,
            id=caller.run_id,
            agent="",
            user=caller.user_id,
            session=caller.session_id,
            model=self._call.model,
            age_s=max(0.0, now - self.started_at),
            cost_usd=self._cost_usd,
        )

    def cancel(self, _reason: CancelReason) -> None:
        """Ask no more. What is answered already is written to its end."""
        if self._is_asking and not self.is_stopped:
            self.is_stopped = True
            self._task.cancel()

    def stopped(self) -> Cancelled:
        """What its client is told."""
        self._task.uncancel()
        return Cancelled("The question was stopped by an operator.")

    def _left(self) -> None:
        self._task.cancel()
